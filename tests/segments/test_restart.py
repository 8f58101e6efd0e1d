"""Each part of a body goes on where it was, also after the process has died (194)."""

from __future__ import annotations

import json
import signal

import pytest

from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.resuming import read
from tests.support.site import body

KiB = 1024
MiB = 1024 * KiB
SIZE = 8 * MiB
HOLD = 1000 * KiB
BLOCK = 50 * KiB  # what the server sends at once


def known(it):
    """Return what the state says of the one record: stored bytes, and where."""
    rows = it.rows("SELECT stored, segments FROM records")
    return [(stored, json.loads(text or "[]")) for stored, text in rows]


def inside(parts, stretches):
    """Return the answers that would repeat what was stored."""
    return [
        part
        for part in parts
        if any(part.first < end and start < part.end for start, end in stretches)
    ]


@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGKILL, 4), (signal.SIGKILL, 1), (signal.SIGTERM, 4)],
)
async def test_nothing_that_was_stored_is_fetched_again(process, server, number, again):
    it = process(BGFETCH_CONNECTIONS_PER_RECORD=4, BGFETCH_CHECKSUM="sha256")
    server.hold = HOLD
    it.start(fetch=[{"id": "a", "requests": server.url("f", SIZE)}])
    await until(lambda: [stored for stored, _ in known(it)] == [4 * HOLD])
    await it.kill(number)
    ((_, stretches),) = known(it)
    quarter = SIZE // 4
    assert stretches == [[n * quarter, n * quarter + HOLD] for n in range(4)]
    await until(lambda: not server.active)
    server.hold, before = None, len(server.parts)
    server.most = 0
    it.settings["BGFETCH_CONNECTIONS_PER_RECORD"] = again
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("f", SIZE)]
    later = server.parts[before:]
    assert inside(later, stretches) == []
    assert {part.status for part in later} == {206}
    if again == 1:
        assert server.most == 1
        gaps = [(n * quarter + HOLD, (n + 1) * quarter) for n in range(4)]
        assert [(part.first, part.end) for part in later] == gaps


async def test_the_next_fetch_of_the_id_goes_on_with_each_part(server, settings):
    """Its bytes were kept when the tries had run out; the numbers are right, too."""
    server.cuts = dict.fromkeys(range(4), HOLD // BLOCK * BLOCK)
    server.hold = HOLD

    async def go(spider, response):
        fetch, url = spider.background_fetch.fetch, server.url("f", SIZE)
        first = await fetch("a", url, connections_per_record=4)
        await until(lambda: first.records[0].downloaded == 4 * HOLD)
        server.refuse = lambda request, wanted: server.lost()
        server.go_on()
        await first.settled()
        assert first.failure_reason == "fetch-error"
        assert first.downloaded == 4 * HOLD
        server.refuse = lambda request, wanted: None
        spider.handle = handle = await fetch("a", url, connections_per_record=1)
        assert handle.records[0].downloaded >= 4 * HOLD
        await handle.settled()

    more = {"BGFETCH_RESUMPTIONS": 0}
    spider = await run(Probe, settings(**more), page=server.url("page", 0), go=go)
    (record,) = spider.handle.records
    assert (spider.handle.result, record.error) == ("success", "")
    assert record.path.read_bytes() == body("f", SIZE)
    assert spider.handle.downloaded == SIZE
    stretches = [[n * SIZE // 4, n * SIZE // 4 + HOLD] for n in range(4)]
    assert inside(server.parts[-4:], stretches) == []
    assert sum(part.sent for part in server.parts[-4:]) == SIZE - 4 * HOLD
