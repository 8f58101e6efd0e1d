"""A crawl that only starts: ``python -m benchmarks.starting FOLDER UNFINISHED``.

Prints one line of JSON: when what happened, in seconds since the epoch, and what it
took.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import signals
from scrapy.crawler import AsyncCrawlerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler
    from typing_extensions import Self

    from scrapy_bgfetch.manager import BackgroundFetchManager

_BEAT = 0.002  # seconds between two looks whether the event loop answers


class StartingSpider(scrapy.Spider):
    """Waits until all that an earlier run has left is there, then closes.

    :ivar unfinished: how many background fetches there are.
    """

    name = "starting"
    unfinished = 0
    background_fetch: BackgroundFetchManager

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Ask to be told of the steps of the start, before anybody else is."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.said: dict[str, float] = {}
        spider.blocked = 0.0
        crawler.signals.connect(spider.opened, signals.spider_opened)
        crawler.signals.connect(spider.engine_started, signals.engine_started)
        return spider

    def opened(self) -> None:
        """Take note of the time, and watch the event loop from now on."""
        self.said["opened"], self.cpu = time.time(), time.process_time()
        self.pulse = asyncio.ensure_future(self.watch())

    def engine_started(self) -> None:
        """Take note of the time."""
        self.said["started"] = time.time()

    async def watch(self) -> None:
        """Take note of the longest time in which the event loop did nothing else."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_BEAT)
            self.blocked = max(self.blocked, time.perf_counter() - before - _BEAT)

    async def start(self) -> AsyncIterator[Any]:
        """Wait for all, and close."""
        while len(await self.background_fetch.get_ids()) < self.unfinished:
            await asyncio.sleep(_BEAT)
        self.said["listed"] = time.time()
        self.said["cpu"] = time.process_time() - self.cpu
        await asyncio.sleep(0.3)  # seconds for the first transfers
        self.said["blocked"] = self.blocked
        self.said["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(self.said), flush=True)
        closing = self.crawler.engine.close_spider_async(reason="measured")
        self.closing = asyncio.ensure_future(closing)
        return
        yield  # Scrapy wants a generator


def main() -> None:
    """Start a crawl on the folder that the command line names."""
    folder, unfinished = Path(sys.argv[1]), int(sys.argv[2])
    settings = {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_DIR": str(folder),
        "BGFETCH_HISTORY": 0,  # nothing is forgotten: the next run finds the same
        "LOG_LEVEL": "ERROR",
        "TELNETCONSOLE_ENABLED": False,
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(StartingSpider, unfinished=unfinished)
    process.start()


if __name__ == "__main__":
    main()
