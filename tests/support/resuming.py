"""How far a crawl in a process has come, and what a later one asks for."""

from __future__ import annotations

from pathlib import Path

from tests.support.crawl_process import until

SIZE = 400_000
SLOW = f"size={SIZE}&rate=400000"


async def half_way(crawl, least=100_000, records=1):
    """Wait until the state has so many unfinished records with so many bytes."""

    def reached():
        assert crawl.process.poll() is None, crawl.output.read_text()
        return sum(stored >= least for stored in crawl.unfinished()) >= records

    await until(reached)


def offset(request):
    """Return from which byte a request asks, 0 for a request of everything."""
    value = request.headers.get("Range", "bytes=0-")
    return int(value.removeprefix("bytes=").removesuffix("-"))


def read(events):
    """Return the bodies of what a terminal event lists."""
    (end,) = events
    return [Path(path).read_bytes() for path in end["paths"]]
