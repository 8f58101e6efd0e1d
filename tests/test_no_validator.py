"""Bodies without a validator: BGFETCH_RESUME_WITHOUT_VALIDATOR (issue: 66, 215)."""

from __future__ import annotations

import pytest

from tests.support.raw import answer
from tests.support.resuming import half_way, offset, read
from tests.support.site import body

TAIL = 64 * 1024
WHOLE = body("x", 300_000)
CUT = answer(WHOLE[:200_000], length=len(WHOLE))


def rest(first, data=WHOLE):
    """Return the part from that byte."""
    span = f"Content-Range: bytes {first}-{len(data) - 1}/{len(data)}"
    return answer(data[first:], span, status="206 Partial Content")


def ranges(raw):
    lines = [head.decode().split("\r\n") for head in raw.of("/x")]
    return [
        next((one.partition(": ")[2] for one in head if one.startswith("Range:")), "")
        for head in lines
    ]


async def test_the_tail_is_fetched_again_and_compared(fetched, raw):
    url = raw.says("/x", CUT, rest(200_000 - TAIL))
    handle = await fetched(url)
    (record,) = handle.records
    assert record.path.read_bytes() == WHOLE
    assert ranges(raw) == ["", f"bytes={200_000 - TAIL}-"]
    assert b"If-Range" not in raw.of("/x")[1]


async def test_a_tail_that_differs_starts_again_from_the_first_byte(fetched, raw):
    new = body("y", 300_000)
    url = raw.says("/x", CUT, rest(200_000 - TAIL, new), answer(new))
    handle = await fetched(url)
    assert handle.records[0].path.read_bytes() == new
    assert ranges(raw) == ["", f"bytes={200_000 - TAIL}-", ""]


@pytest.mark.parametrize("different", [0, TAIL - 1])
async def test_one_different_byte_in_the_tail_is_enough(fetched, raw, different):
    new = bytearray(WHOLE)
    new[200_000 - TAIL + different] ^= 1
    url = raw.says("/x", CUT, rest(200_000 - TAIL, bytes(new)), answer(bytes(new)))
    handle = await fetched(url)
    assert handle.records[0].path.read_bytes() == new
    assert len(ranges(raw)) == 3


async def test_a_part_that_breaks_off_inside_the_tail_loses_nothing(fetched, raw):
    first = 200_000 - TAIL
    broken = rest(first)[: -(len(WHOLE) - first) + 1000]
    url = raw.says("/x", CUT, broken, rest(first))
    handle = await fetched(url)
    assert handle.records[0].path.read_bytes() == WHOLE
    assert ranges(raw) == ["", f"bytes={first}-", f"bytes={first}-"]


async def test_restart_asks_for_all_of_it_again(fetched, raw):
    url = raw.says("/x", CUT, answer(WHOLE))
    handle = await fetched(url, BGFETCH_RESUME_WITHOUT_VALIDATOR="restart")
    assert handle.records[0].path.read_bytes() == WHOLE
    assert ranges(raw) == ["", ""]


async def test_trust_appends_what_the_server_sends(fetched, raw):
    url = raw.says("/x", CUT, rest(200_000))
    handle = await fetched(url, BGFETCH_RESUME_WITHOUT_VALIDATOR="trust")
    assert handle.records[0].path.read_bytes() == WHOLE
    assert ranges(raw) == ["", "bytes=200000-"]


async def test_it_holds_for_a_killed_crawl_too(process, site):
    it = process()
    url = site.url("/slow/x?size=400000&rate=400000&unvalidated")
    it.start(fetch=[{"id": "a", "requests": url}])
    await half_way(it)
    await it.kill()
    await it.run()
    assert read(it.events("success")) == [body("x", 400_000)]
    assert offset(site.of("/slow/x")[1]) >= 100_000 - TAIL
