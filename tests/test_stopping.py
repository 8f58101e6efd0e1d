"""Ctrl-C and SIGTERM with many transfers in flight: DESIGN section 2, "Close"."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.support.resuming import half_way, offset
from tests.support.site import body

MANY = 32
SIZE = 200_000
RATE = 60_000  # bytes a second
LIMIT = 2.0  # seconds, the interpreter's exit among them

pytestmark = pytest.mark.slow  # it is measured by the clock


@pytest.fixture
def flowing(process, site):
    """Return a starter of a crawl with 32 slow transfers in flight."""

    async def start():
        it = process(
            BGFETCH_CONCURRENT_RECORDS=MANY, CONCURRENT_REQUESTS_PER_DOMAIN=MANY
        )
        slow = f"size={SIZE}&rate={RATE}"
        urls = [site.url(f"/slow/{n}?{slow}") for n in range(MANY)]
        it.start(fetch=[{"id": "a", "requests": urls}])
        await half_way(it, 30_000, records=MANY)
        assert site.streaming == MANY
        return it

    return start


async def stop(it, first, second=None, after=0.0):
    """Send one signal, or two with a pause between; return the seconds to the end."""
    at = time.monotonic()
    it.process.send_signal(first)
    if second is not None:
        await asyncio.sleep(after)
        it.process.send_signal(second)
    await it.ended()
    return time.monotonic() - at


def kept(it):
    """Return how many bytes each part file has, by the number of the record."""
    sizes = {name: size for name, size in it.parts().items() if size}
    return {int(name[:-5].rpartition("-")[2]): size for name, size in sizes.items()}


def asked(site, number):
    """Return from which byte each file was asked for, the given time it was."""
    return {n: offset(site.of(f"/slow/{n}")[number]) for n in range(MANY)}


async def finish(it, site):
    """Start it again and check every file."""
    site.hurried = True
    await it.run()
    assert it.ends() == [("success", "a", "")]
    (end,) = it.events("success")
    contents = {int(Path(path).name): Path(path).read_bytes() for path in end["paths"]}
    assert contents == {n: body(str(n), SIZE) for n in range(MANY)}
    assert it.parts() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_32_transfers_in_two_seconds_and_no_byte_is_asked_twice(
    flowing, site, number
):
    it = await flowing()
    seconds = await stop(it, number)
    assert seconds < LIMIT
    assert it.process.returncode == 0
    assert [one["event"] for one in it.events()] == ["registered", "closed"]
    assert it.events("closed")[0]["reason"] == "shutdown"
    have = kept(it)
    assert len(have) == MANY
    assert sorted(have.values()) == sorted(it.unfinished())
    await finish(it, site)
    assert asked(site, 1) == have
    assert sum(site.sent.values()) - MANY * SIZE < MANY * RATE  # what was on the wire


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.0, 0.05, 0.3])
async def test_a_second_signal_is_safe_too(flowing, site, number, after):
    """The state may then lack what came since its last checkpoint, and no more."""
    it = await flowing()
    before = min(it.unfinished())
    assert await stop(it, number, number, after) < LIMIT
    recorded = sorted(it.unfinished())
    assert len(recorded) == MANY
    assert before <= recorded[0]
    await finish(it, site)
    assert sorted(asked(site, 1).values()) == recorded
