"""Real crawls, in both modes of Scrapy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.utils.reactor import is_reactor_installed

from scrapy_bgfetch import signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NAMES = {
    getattr(signals, name): name.removeprefix("bgfetch_")
    for name in vars(signals)
    if name.startswith("bgfetch_")
}


class Probe(Spider):
    """Fetches one page, then does what the test asks for."""

    name = "probe"

    def __init__(self, page: str, go: Callable[..., Awaitable[Any]], **kwargs) -> None:
        super().__init__(**kwargs)
        self.page = page
        self.go = go
        self.events: list[tuple[str, Any, dict[str, Any]]] = []
        self.results: list[Any] = []
        self.failures: list[Any] = []
        self.error: BaseException | None = None

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        for signal in NAMES:
            crawler.signals.connect(spider.note, signal)
        return spider

    def note(self, signal, registration, **kwargs):
        self.events.append((NAMES[signal], registration, kwargs))

    def names(self, *leave_out: str) -> list[str]:
        return [name for name, _, _ in self.events if name not in leave_out]

    async def start(self):
        yield Request(self.page, callback=self.parse, dont_filter=True)

    async def parse(self, response):
        try:
            made = await self.go(self, response)
        except Exception as error:
            self.error = error
            raise
        except pytest.fail.Exception as failed:  # raised on, Scrapy never ends
            self.error = failed
            return
        for request in made or ():
            yield request

    def keep(self, response):
        self.results.append(response)

    def keep_failure(self, failure):
        self.failures.append(failure.value)


def settings_of(folder, **settings: Any) -> dict[str, Any]:
    return {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_DIR": str(folder / "bgfetch"),
        "BGFETCH_RETRY_DELAY": 0.01,
        "TWISTED_REACTOR_ENABLED": is_reactor_installed(),
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        **settings,
    }


async def run(spidercls, settings: dict[str, Any], **kwargs: Any):
    """Run a spider to its end and return it."""
    crawler = Crawler(spidercls, settings)
    await crawler.crawl_async(**kwargs)
    spider = crawler.spider
    if getattr(spider, "error", None) is not None:
        raise spider.error
    return spider
