"""The bare spider with what lets its downloads go on after a crash, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scrapy import Request

from benchmarks.bare_spiders import BareSpider
from benchmarks.downloader import in_turns
from benchmarks.peers import name_of
from benchmarks.state import State


class BareStateSpider(BareSpider):
    """Writes down that each file is begun, and how it ended, then gives it its name."""

    name = "scrapy-aiohttp-state"

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:
        """Return the same, with a folder for what has not ended."""
        return BareSpider.settings_for(out / "parts", concurrency)

    async def download_all(self, at_once: int) -> None:
        """Do so, with the state."""
        parts = Path(self.settings["BENCHMARK_OUT"])
        parts.mkdir()
        state = await State.begin_all(self.stamp.with_suffix(".sqlite"), self.urls)
        download = self.crawler.engine.download_async

        async def one(index: int) -> None:
            attempt = await state.begin(index)
            await download(Request(self.urls[index]))
            await state.end(index, attempt)
            name = name_of(self.urls[index])
            (parts / name).replace(parts.parent / name)

        await in_turns(one, range(len(self.urls)), at_once=at_once)
        await state.end_all()
