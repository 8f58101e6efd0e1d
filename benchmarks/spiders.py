"""The two spiders that are compared, run as ``python -m benchmarks.spiders``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import signals
from scrapy.crawler import CrawlerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self

    from scrapy_bgfetch.manager import BackgroundFetchManager

_NO_LIMIT = 0
_GENEROUS = 24 * 60 * 60  # seconds


class Downloader(scrapy.Spider):
    """Downloads URLs.

    :ivar stamp: a file to make when all others are there.
    """

    urls: tuple[str, ...] = ()
    stamp: Path

    def finished(self) -> None:
        """Tell who measures from outside."""
        self.stamp.touch()


class BgfetchSpider(Downloader):
    """Downloads all URLs as one background fetch."""

    name = "bgfetch"
    background_fetch: BackgroundFetchManager

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:
        """Return what turns the add-on on."""
        return {
            "ADDONS": {"scrapy_bgfetch.Addon": 500},
            "BGFETCH_DIR": str(out),
            "BGFETCH_CONCURRENT_RECORDS": concurrency,
        }

    async def start(self) -> AsyncIterator[Any]:
        """Register them, when there are any."""
        if self.urls:
            bg_fetch = await self.background_fetch.fetch("benchmark", self.urls)
            await bg_fetch.settled()
            if bg_fetch.failure_reason:
                first = next(r for r in bg_fetch.records if r.failure_reason)
                self.logger.error("%s: %s", bg_fetch.failure_reason, first.error)
        self.finished()
        return
        yield  # Scrapy wants a generator


class FilesPipelineSpider(Downloader):
    """Downloads all URLs as the files of one item."""

    name = "files-pipeline"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Ask to be told when the item has left the pipeline."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.finished, signals.item_scraped)
        return spider

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:  # noqa: ARG004
        """Return what turns Scrapy's files pipeline on."""
        return {
            "ITEM_PIPELINES": {"scrapy.pipelines.files.FilesPipeline": 1},
            "FILES_STORE": str(out),
            "DOWNLOAD_MAXSIZE": _NO_LIMIT,
            "DOWNLOAD_WARNSIZE": _NO_LIMIT,
            "DOWNLOAD_TIMEOUT": _GENEROUS,
        }

    async def start(self) -> AsyncIterator[Any]:
        """Yield a request without network: old Scrapys lose items of ``start``."""
        yield scrapy.Request("data:,")

    def parse(self, response: Response) -> Iterator[Any]:  # noqa: ARG002
        """Yield the item."""
        yield {"file_urls": list(self.urls)}


SPIDERS: dict[str, Any] = {s.name: s for s in (BgfetchSpider, FilesPipelineSpider)}


def common_settings(concurrency: int) -> dict[str, Any]:
    """Return the settings that are the same for both."""
    return {
        "CONCURRENT_REQUESTS": concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": concurrency,
        "LOG_LEVEL": "WARNING",
        "TELNETCONSOLE_ENABLED": False,
    }


def main() -> None:
    """Crawl with the spider that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spider", choices=SPIDERS)
    parser.add_argument("urls", type=Path, help="a file with one URL a line")
    parser.add_argument("out", type=Path)
    parser.add_argument("stamp", type=Path, help="a file to make when done")
    parser.add_argument("concurrency", type=int)
    given = parser.parse_args()
    spider = SPIDERS[given.spider]
    settings = {
        **common_settings(given.concurrency),
        **spider.settings_for(given.out, given.concurrency),
    }
    process = CrawlerProcess(settings)
    urls = tuple(given.urls.read_text().split())
    process.crawl(spider, urls=urls, stamp=given.stamp)
    process.start()


if __name__ == "__main__":
    main()
