"""The bare spider with what lets its downloads go on after a crash, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy import Request

from benchmarks.bare_spiders import BareSpider
from benchmarks.downloader import in_turns
from benchmarks.state import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class BareStateSpider(BareSpider):
    """Writes down that each file is begun, and how it ended, then gives it its name."""

    name = "scrapy-aiohttp-state"

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:
        """Return the same, with a folder for what has not ended."""
        return BareSpider.settings_for(out / "parts", concurrency)

    async def start(self) -> AsyncIterator[Any]:
        """Download all, as many at a time as the downloader takes."""
        at_once = self.settings.getint("CONCURRENT_REQUESTS")
        parts = Path(self.settings["BENCHMARK_OUT"])
        parts.mkdir()
        state = await State.begin_all(self.stamp.with_suffix(".sqlite"), self.urls)
        download = self.crawler.engine.download_async

        async def one(index: int) -> None:
            attempt = await state.begin(index)
            await download(Request(self.urls[index]))
            await state.end(index, attempt)
            name = self.urls[index].rpartition("/")[2]
            (parts / name).replace(parts.parent / name)

        await in_turns(one, range(len(self.urls)), at_once=at_once)
        await state.end_all()
        self.finished()
        return
        yield  # Scrapy wants a generator
