"""Spiders that download with scrapy-bgfetch, in several ways."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import scrapy

from benchmarks.downloader import Downloader, in_turns
from benchmarks.plain_spiders import PlainSpider
from scrapy_bgfetch import signals
from scrapy_bgfetch.bodies.local import PartFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self

    from scrapy_bgfetch import BackgroundFetchManager, BackgroundFetchRegistration

_NEVER = 24 * 60 * 60  # seconds
_BETWEEN = 0.05  # seconds
_SEEK = 0.03  # seconds
_SLOW = 16 * 1024 * 1024  # bytes a second, in each of several threads


class BgfetchSpider(Downloader):
    """Downloads all URLs as one background fetch."""

    name = "bgfetch"
    background_fetch: BackgroundFetchManager
    more: ClassVar[dict[str, Any]] = {}  # settings

    @classmethod
    def settings_for(cls, out: Path, concurrency: int) -> dict[str, Any]:
        """Return what turns the add-on on."""
        return {
            "ADDONS": {"scrapy_bgfetch.Addon": 500},
            "BGFETCH_DIR": str(out),
            "BGFETCH_CONCURRENT_RECORDS": concurrency,
            **cls.more,
        }

    async def start(self) -> AsyncIterator[Any]:
        """Register them, when there are any, and wait."""
        for bg_fetch in await self.registered():
            await bg_fetch.settled()
            if bg_fetch.failure_reason:
                first = next(r for r in bg_fetch.records if r.failure_reason)
                self.logger.error("%s: %s", bg_fetch.failure_reason, first.error)
        self.finished()
        return
        yield  # Scrapy wants a generator

    async def registered(self) -> list[BackgroundFetchRegistration]:
        """Register them and return what is to be awaited."""
        return [await self.registered_at_once()] if self.urls else []

    async def registered_at_once(self, **options: Any) -> BackgroundFetchRegistration:
        """Register all of them as one."""
        return await self.background_fetch.fetch("benchmark", self.urls, **options)


class BgfetchEachSpider(BgfetchSpider):
    """Downloads each URL as a background fetch of its own."""

    name = "bgfetch-each"

    async def registered(self) -> list[BackgroundFetchRegistration]:
        """Register as many at a time as callbacks of a crawl would."""

        async def register(url: str) -> BackgroundFetchRegistration:
            return await self.background_fetch.fetch(url, url)

        callbacks = self.settings.getint("CONCURRENT_REQUESTS")
        return await in_turns(register, self.urls, at_once=callbacks)


class BgfetchLoopSpider(BgfetchSpider):
    """The same, by a loop in one callback."""

    name = "bgfetch-loop"

    async def registered(self) -> list[BackgroundFetchRegistration]:
        """Register them one after another."""
        return [await self.background_fetch.fetch(url, url) for url in self.urls]


class BgfetchGroupedSpider(PlainSpider):
    """Downloads all URLs as ordinary requests of one group, with a callback each."""

    name = "bgfetch-grouped"
    settings_for = BgfetchSpider.settings_for

    async def start(self) -> AsyncIterator[Any]:
        """Yield one request for each URL."""
        group = {"id": "benchmark", "requests": len(self.urls)}
        for url in self.urls:
            yield scrapy.Request(url, meta={"bgfetch": group})

    def parse(self, response: Response) -> None:
        """Count, and do nothing with the body, like the plain spider."""
        self.came += response.status == HTTPStatus.OK


class BgfetchChecksumSpider(BgfetchSpider):
    """The same as the first, and computes the SHA-256 of every file."""

    name = "bgfetch-checksum"
    more: ClassVar = {"BGFETCH_CHECKSUM": "sha256"}


class BgfetchPowerSpider(BgfetchSpider):
    """The same as the first, with files that survive a loss of power."""

    name = "bgfetch-power"
    more: ClassVar = {"BGFETCH_DURABILITY": "power"}


class BgfetchSlowDiskSpider(BgfetchSpider):
    """The same as the first, begun one after another, on a disk that is slow.

    What arrives is held longest then: each transfer begins while those before it wait
    for their writes.
    """

    name = "bgfetch-slow-disk"

    async def registered(self) -> list[BackgroundFetchRegistration]:
        """Register them one after another."""
        found = []
        with _slow_writes():
            for url in self.urls:
                found.append(await self.background_fetch.fetch(url, url))
                await asyncio.sleep(_BETWEEN)
            for bg_fetch in found:
                await bg_fetch.settled()
        return found


@contextmanager
def _slow_writes() -> Iterator[None]:
    """Let each write wait for a disk meanwhile; there is no slow one at hand."""
    write = PartFile.write

    def slowly(part: PartFile, data: bytes | memoryview) -> None:
        time.sleep(_SEEK + len(data) / _SLOW)
        write(part, data)

    PartFile.write = slowly  # type: ignore[method-assign]
    try:
        yield
    finally:
        PartFile.write = write  # type: ignore[method-assign]


class BgfetchProgressSpider(BgfetchSpider):
    """The same as the first, and somebody looks at every progress event."""

    name = "bgfetch-progress"
    shown = ""

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Ask for the signal."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.progress, signals.bgfetch_progress)
        return spider

    def progress(self, registration: BackgroundFetchRegistration) -> None:
        """Make the text that a bar would have."""
        self.shown = f"{registration.id}: {registration.downloaded:,} bytes"


class BgfetchQuietSpider(BgfetchSpider):
    """The same as the first, without progress events and stats."""

    name = "bgfetch-quiet"
    more: ClassVar = {
        "BGFETCH_PROGRESS_INTERVAL": _NEVER,
        "STATS_CLASS": "scrapy.statscollectors.DummyStatsCollector",
    }


class Bgfetch4Spider(BgfetchSpider):
    """The same as the first, with four connections to each file."""

    name = "bgfetch-4"

    async def registered(self) -> list[BackgroundFetchRegistration]:
        """Register them as one."""
        return [await self.registered_at_once(connections_per_record=4)]
