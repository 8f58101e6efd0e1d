"""Pause, abort, budget, quota, rate and hosts hold for all connections of a record."""

from __future__ import annotations

from errno import ENOSPC
from unittest.mock import Mock

import pytest
from scrapy import Request

from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.segmented import (
    FOUR,
    HOLD,
    SIZE,
    KiB,
    held,
    whole,
)


@pytest.mark.parametrize("again", [1, 4])
async def test_pause_cuts_all_and_each_part_goes_on_where_it_was(
    crawled, server, again
):
    """Whatever the number of connections then; nothing stored is asked for again."""
    server.hold = HOLD
    stored = set()

    async def meanwhile(spider, handle):
        await held(server, handle)
        await handle.pause()
        await until(lambda: not server.active)
        assert handle.records[0].downloaded == 4 * HOLD
        for one in server.parts:
            stored.update(range(one.first, one.first + HOLD, KiB))
        server.hold, server.most = None, 0
        handle._group.options = handle._group.options.__class__(
            connections_per_record=again
        )
        await handle.resume()

    spider = await crawled(meanwhile)
    assert whole(spider)
    later = server.parts[4:]
    assert {one.status for one in later} == {206}
    for one in later:
        assert not stored & set(range(one.first, one.end, KiB))
    if again == 1:
        assert server.most == 1
        assert len(later) == 4


async def test_a_file_that_has_changed_starts_over(crawled, server):
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        await handle.pause()
        await until(lambda: not server.active)
        server.hold, server.versions["f"] = None, "new"
        await handle.resume()

    spider = await crawled(meanwhile)
    assert whole(spider, "new")
    assert server.parts[4].status == 200


async def test_abort_cuts_all(crawled, server):
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        assert await handle.abort()
        await until(lambda: not server.active)

    spider = await crawled(meanwhile)
    assert spider.handle.failure_reason == "aborted"
    assert spider.handle.downloaded == 0
    assert not list((spider.handle.bodies.parts).iterdir())


@pytest.mark.parametrize("limit", ["download_total", "BGFETCH_QUOTA"])
async def test_budget_and_quota_hold_over_all_connections(server, settings, limit):
    """50, 51: never one byte more is stored, and all of them are cut."""
    total = SIZE + 100 * KiB
    budget = limit == "download_total"

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch(
            "a",
            [server.url("f", SIZE), server.url("small", 150 * KiB)],
            download_total=total if budget else 0,
            **FOUR,
        )
        large, small = handle.records
        await until(lambda: large.downloaded == 4 * HOLD and small.state == "settled")
        server.go_on()
        await handle.settled()

    def edit(request, headers):
        if request.path == "/small":
            headers["Transfer-Encoding"] = "chunked"

    server.hold, server.edit = HOLD, edit
    more = {} if budget else {limit: total}
    spider = await run(Probe, settings(**more), page=server.url("page", 0), go=go)
    reason = "download-total-exceeded" if budget else "quota-exceeded"
    assert spider.handle.failure_reason == reason
    assert spider.handle.downloaded <= total
    await until(lambda: not server.active)


async def test_the_limit_of_a_host_holds_for_all_connections(crawled, server):
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle, 2)
        server.go_on()

    assert whole(await crawled(meanwhile, CONCURRENT_REQUESTS_PER_DOMAIN=2))
    assert server.most == 2


async def test_a_connection_makes_way_for_a_record_of_its_host(server, settings):
    """The host has room for four: the second record need not wait for the first."""
    server.hold = HOLD

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        spider.handle = handle = await fetch("a", server.url("f", SIZE), **FOUR)
        await held(server, handle)
        other = await fetch("b", server.url("small", KiB), connections_per_record=1)
        await other.settled()
        assert handle.records[0].state == "active"
        server.go_on()
        await handle.settled()

    more = {"CONCURRENT_REQUESTS_PER_DOMAIN": 4}
    spider = await run(Probe, settings(**more), page=server.url("page", 0), go=go)
    assert whole(spider)
    assert server.most == 4


async def test_connections_that_wait_for_an_answer_leave_the_crawl_its_slots(
    server, settings
):
    """Scrapy's downloader has all of them until the answer is there."""
    server.hold, server.silent = HOLD, {1, 2, 3}

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        spider.handle = await fetch("a", server.url("f", SIZE), **FOUR)
        await until(lambda: len(server.requests) >= 3)
        return [Request(server.url("page", 1), callback=go_on)]

    def go_on(response):
        assert len(server.requests) == 3
        server.go_on()

    more = {"CONCURRENT_REQUESTS": 1, "BGFETCH_CONCURRENT_RECORDS": 2}
    assert whole(await run(Probe, settings(**more), page=server.url("page", 0), go=go))


async def test_rate_limits_hold_over_all_connections(crawled, server):
    """The limit is never exceeded: what came in all is no more than time allows."""
    rate = 2 * SIZE
    spider = await crawled(options={**FOUR, "rate_limit": rate})
    assert whole(spider)
    took = spider.handle.settled_at - spider.handle.created_at
    assert rate * (took + 0.2) + 512 * KiB >= SIZE


async def test_a_slow_disk_is_written_in_threads(crawled, server, monkeypatch):
    """Whoever takes the end of what is being written meanwhile, no byte is lost."""
    monkeypatch.setattr("scrapy_bgfetch.bodies.writing.Writing.slow", True)
    monkeypatch.setattr("scrapy_bgfetch.perform.segments.LEAST", KiB)
    server.rate = 2 * SIZE

    async def meanwhile(spider, handle):
        await until(lambda: handle.records[0].downloaded > SIZE // 2)
        await handle.pause()
        await handle.resume()

    assert whole(await crawled(meanwhile))


async def test_a_disk_that_is_full_cuts_all(crawled, server, monkeypatch):
    """What was stored until then is kept, each part where it is."""
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        error = OSError(ENOSPC, "No space left on device")
        monkeypatch.setattr("os.pwrite", Mock(side_effect=error))
        server.go_on()

    spider = await crawled(meanwhile, BGFETCH_RESUMPTIONS=0)
    assert spider.handle.failure_reason == "quota-exceeded"
    assert spider.handle.downloaded == 4 * HOLD
    await until(lambda: not server.active)
