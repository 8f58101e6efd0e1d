"""How long downloads keep the event loop from others: ``python -m benchmarks.lag``.

Downloads one file of a local nginx, or many times at once, in a crawl of its own, onto
any disk: a slow one, for example. A task that sleeps for 2 ms all the time notes by how
much it came late. It prints that, and what a digest costs with ``--checksum sha256``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.crawler import AsyncCrawlerProcess

from benchmarks.bgfetch_spiders import BgfetchSpider
from benchmarks.local_file import many, served
from benchmarks.measure import environment
from benchmarks.spiders import common_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_BEAT = 0.002  # seconds
_LONG = 0.05  # seconds


class Heartbeat(BgfetchSpider):
    """Prints how late its heartbeat was while it downloaded."""

    async def start(self) -> AsyncIterator[Any]:
        """Download them."""
        late: list[float] = []
        beating = asyncio.ensure_future(_beat(late))
        began, before = time.monotonic(), os.times()
        async for request in super().start():
            yield request
        beating.cancel()
        wall, after = time.monotonic() - began, os.times()
        cpu = after.user + after.system - before.user - before.system
        print(
            f"{wall:.2f} s, CPU {cpu:.2f} s; the loop was late by {max(late):.3f} s at "
            f"most, {sum(x > _LONG for x in late)} times by more than {_LONG} s",
            flush=True,
        )


async def _beat(late: list[float]) -> None:
    while True:
        began = time.monotonic()
        await asyncio.sleep(_BEAT)
        late.append(time.monotonic() - began - _BEAT)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lag")
    parser.add_argument("--transfers", type=int, default=1, metavar="N")
    parser.add_argument("--size", type=int, default=1024, help="of the file, in MiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--checksum", help="name of a digest to compute")
    parser.add_argument("--folder", type=Path, help="of the disk to write to")
    parser.add_argument("--urls", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.urls is not None:
        _crawl(given.urls, given.folder, given.checksum)
        return
    with served(given.size) as (work, urls):
        listed = work / "urls.txt"
        listed.write_text("\n".join(many(urls["http"], given.transfers)))
        options = ["--checksum", given.checksum] if given.checksum else []
        for _ in range(given.runs):
            with tempfile.TemporaryDirectory(dir=given.folder or work) as out:
                command = [sys.executable, "-m", "benchmarks.lag", *options]
                places = ["--urls", str(listed), "--folder", str(Path(out).resolve())]
                subprocess.run([*command, *places], env=environment(), check=True)


def _crawl(listed: Path, folder: Path, checksum: str | None) -> None:
    urls = tuple(listed.read_text().split())
    settings = {
        **common_settings(len(urls)),
        **Heartbeat.settings_for(folder, len(urls)),
        "BGFETCH_CHECKSUM": checksum,
    }
    process = AsyncCrawlerProcess(settings)
    process.crawl(Heartbeat, urls=urls, stamp=folder / "done")
    process.start()


if __name__ == "__main__":
    main()
