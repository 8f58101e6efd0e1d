"""What many large transfers hold in memory: ``python -m benchmarks.memory``.

Downloads one file of a local nginx many times at once, by HTTP and by HTTPS, each in a
crawl of its own, and prints by how much its peak of resident memory is above that of
an empty crawl with the same settings.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cases import MiB
from benchmarks.local_file import many, served
from benchmarks.measure import environment, run

if TYPE_CHECKING:
    from benchmarks.measure import Usage

_TIMES = ("cpu", "wall")


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--transfers", type=int, default=64, metavar="N")
    parser.add_argument("--size", type=int, default=64, help="of the file, in MiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--slow-disk", action="store_true", help="begin one by one; let writes wait"
    )
    given = parser.parse_args()
    spider = "bgfetch-slow-disk" if given.slow_disk else "bgfetch"
    with served(given.size) as (work, urls):
        for scheme, url in urls.items():
            _compare(scheme, many(url, given.transfers), given.runs, work, spider)


def _compare(scheme: str, urls: list[str], runs: int, work: Path, spider: str) -> None:
    empty, full = [], []
    for _ in range(runs):
        empty.append(_crawl([], len(urls), work, spider))
        full.append(_crawl(urls, len(urls), work, spider))
    peak, base = (statistics.median(u.peak for u in many) for many in (full, empty))
    cpu, wall = (statistics.median(getattr(u, m) for u in full) for m in _TIMES)
    print(
        f"{scheme}: {len(urls)} transfers, {(peak - base) / MiB:.1f} MiB above the "
        f"{base / MiB:.1f} MiB of an empty crawl; CPU {cpu:.2f} s, wall {wall:.2f} s",
        flush=True,
    )


def _crawl(urls: list[str], concurrency: int, work: Path, spider: str) -> Usage:
    """Download them all at once, in a process of its own; nothing of it is left."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        place = Path(folder)
        listed = place / "urls.txt"
        listed.write_text("\n".join(urls))
        crawl = [sys.executable, "-m", "benchmarks.spiders", spider, str(listed)]
        command = [*crawl, str(place / "out"), str(place / "done"), str(concurrency)]
        return run(command, env=environment(), cwd=place, timeout=600)


if __name__ == "__main__":
    main()
