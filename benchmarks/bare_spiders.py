"""A spider that downloads as a plugin of Scrapy on aiohttp has to, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from scrapy import Request
from scrapy.http import Response

from benchmarks.downloader import Downloader, in_turns
from benchmarks.peers import name_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrapy.crawler import Crawler
    from typing_extensions import Self


class BareHandler:
    """Writes the body of each answer to a file, and returns its head."""

    lazy = False

    def __init__(self, out: Path) -> None:
        self._out = out
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make it; the files go to ``BENCHMARK_OUT``."""
        return cls(Path(crawler.settings["BENCHMARK_OUT"]))

    async def download_request(self, request: Request) -> Response:
        """Download."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ssl=False)
            self._session = aiohttp.ClientSession(connector=connector)
        fields = request.headers.to_unicode_dict()
        async with self._session.get(request.url, headers=fields) as answer:
            path = self._out / name_of(request.url)
            with path.open("wb", buffering=0) as file:
                while data := await answer.content.readany():
                    file.write(data)
            head = dict(answer.headers)
        return Response(request.url, answer.status, headers=head, request=request)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


class BareSpider(Downloader):
    """Sends all URLs through Scrapy's downloader to that handler."""

    name = "scrapy-aiohttp"

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:  # noqa: ARG004
        """Return the handler, and where the files go."""
        handlers = dict.fromkeys(("http", "https"), BareHandler)
        return {"BENCHMARK_OUT": str(out), "DOWNLOAD_HANDLERS": handlers}

    async def start(self) -> AsyncIterator[Any]:
        """Download all."""
        await self.download_all(self.settings.getint("CONCURRENT_REQUESTS"))
        self.finished()
        return
        yield  # Scrapy wants a generator

    async def download_all(self, at_once: int) -> None:
        """Download all, as many at a time as the downloader takes."""
        download = self.crawler.engine.download_async
        await in_turns(download, map(Request, self.urls), at_once=at_once)
