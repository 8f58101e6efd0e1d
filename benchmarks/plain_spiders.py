"""Spiders without any plug-in: what a request costs in Scrapy itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import scrapy

from benchmarks.downloader import Downloader
from benchmarks.peers import name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.http import Response


class PlainSpider(Downloader):
    """Requests all URLs and forgets the bodies."""

    name = "plain-scrapy"
    came = 0

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:  # noqa: ARG004
        """Return nothing but where files go, for those that save them."""
        return {"BENCHMARK_OUT": str(out)}

    async def start(self) -> AsyncIterator[Any]:
        """Yield one request for each URL."""
        for url in self.urls:
            yield scrapy.Request(url)

    def parse(self, response: Response) -> None:
        """Count."""
        self.came += bool(response.body)

    def closed(self, reason: str) -> None:  # noqa: ARG002
        """Tell that everything came, when it has."""
        if self.came == len(self.urls):
            self.finished()


class PlainSavingSpider(PlainSpider):
    """The same, writing each body to a file."""

    name = "plain-saving"

    def parse(self, response: Response) -> None:
        """Write the file, as a spider without plug-ins would."""
        out = Path(self.settings["BENCHMARK_OUT"])
        (out / name_of(response.url)).write_bytes(response.body)
        super().parse(response)
