"""What a small file costs at least, in Scrapy: ``python -m benchmarks.least``.

It takes the way of a background fetch apart: the same URLs go through Scrapy's
downloader and all its middlewares to a handler that answers at once, without a network;
they are fetched and written by aiohttp alone, without Scrapy; what a download of each
begins and ends with is written to a state, without any download; and they are a
background fetch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from scrapy import Request
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.http import Response

from benchmarks.bgfetch_spiders import BgfetchSpider
from benchmarks.cases import CASES, folder_of, make_source, scaled
from benchmarks.downloader import in_turns
from benchmarks.peers import name_of
from benchmarks.plan import MissingProgramError, programs
from benchmarks.running import at_least_one
from benchmarks.server import ServerError, nginx
from benchmarks.spiders import common_settings
from benchmarks.state import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

_AT_ONCE = 16


class InstantHandler:
    """Answers every request of the scheme ``instant`` with an empty body."""

    lazy = False

    async def download_request(self, request: Request) -> Response:
        """Answer."""
        return Response(request.url, request=request)

    async def close(self) -> None:
        """Do nothing."""


class LeastSpider(BgfetchSpider):
    """Prints what each part costs."""

    name = "least"
    out: Path

    async def start(self) -> AsyncIterator[Any]:
        """Measure one part after another."""
        await self._part("Scrapy's downloader, no network", self._through_scrapy)
        await self._part("aiohttp and a file, no Scrapy", self._by_aiohttp)
        await self._part("the state of each, no download", self._to_the_state)
        await self._part("a background fetch of all", self._in_the_background)
        return
        yield  # Scrapy wants a generator

    async def _part(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        before = os.times()
        await work()
        after = os.times()
        cpu = after.user + after.system - before.user - before.system
        print(f"{name:<34} {1000 * cpu / len(self.urls):6.2f} ms", flush=True)

    async def _through_scrapy(self) -> None:
        async def one(url: str) -> None:
            instant = url.replace("http:", "instant:", 1)
            await self.crawler.engine.download_async(Request(instant))

        await in_turns(one, self.urls, at_once=_AT_ONCE)

    async def _by_aiohttp(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(url: str) -> None:
                async with session.get(url) as response:
                    path = self.out / name_of(url)
                    with path.open("wb", buffering=0) as file:
                        async for data in response.content.iter_any():
                            file.write(data)

            await in_turns(one, self.urls, at_once=_AT_ONCE)

    async def _to_the_state(self) -> None:
        """Write down that each was begun, how it ended, and that it was announced."""
        state = await State.begin_all(self.out / "state.sqlite", self.urls)

        async def one(index: int) -> None:
            await state.end(index, await state.begin(index))

        await in_turns(one, range(len(self.urls)), at_once=_AT_ONCE)
        await state.end_all()

    async def _in_the_background(self) -> None:
        await (await self.registered_at_once()).settled()


def main() -> int:
    """Crawl once, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.least")
    parser.add_argument("--files", type=at_least_one, default=5000, metavar="N")
    given = parser.parse_args()
    (case,) = (case for case in CASES if case.name == "small")
    case = scaled(case, given.files / case.count)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("out", "nginx"):
            (work / name).mkdir()
        make_source(case, work)
        try:
            program = programs()["nginx"]
            with nginx(program, work / "sources", work / "nginx") as served:
                base = f"{served.urls['http']}/{folder_of(case, work).name}"
                _crawl([f"{base}/{name}" for name in case.names()], work / "out")
        except (MissingProgramError, ServerError) as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 1
    return 0


def _crawl(urls: Sequence[str], out: Path) -> None:
    settings = {
        **common_settings(_AT_ONCE),
        **BgfetchSpider.settings_for(out / "bgfetch", _AT_ONCE),
        "DOWNLOAD_HANDLERS": {"instant": InstantHandler},
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(LeastSpider, urls=tuple(urls), out=out)
    process.start()


if __name__ == "__main__":
    sys.exit(main())
