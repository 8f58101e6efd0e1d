"""Attempts that are under way while the state is told of them (issue 5)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from scrapy import Request
from scrapy.exceptions import CloseSpider

from scrapy_bgfetch.exceptions import StoreError, SuspendedError
from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.crawl_process import until
from tests.support.resuming import offset
from tests.support.site import body

SIZE = 300_000
URL = f"/slow/x?size={SIZE}&rate={SIZE}"


async def flowing(spider, response):
    """Fetch URL until a third has come."""
    handle = await spider.background_fetch.fetch("a", URL, base_url=response)
    await until(lambda: handle.downloaded > SIZE // 3)
    return handle


async def go_on(spider, response):
    """Await what an earlier run has begun."""
    handle = await spider.background_fetch.get("a")
    spider.result = (await handle.settled()).result


@pytest.fixture
def claims(monkeypatch):
    """Let claims wait for this event."""
    go_on, claim = asyncio.Event(), SQLiteStore.claim

    async def held(store, uid, index):
        await go_on.wait()
        return await claim(store, uid, index)

    monkeypatch.setattr(SQLiteStore, "claim", held)
    return go_on


@pytest.mark.parametrize(
    ("method", "path", "sent"), [("GET", "/file/x", 1), ("POST", "/echo", 0)]
)
async def test_only_what_may_not_be_sent_twice_waits_until_it_is_claimed(
    probe, site, claims, method, path, sent
):
    """A claim waits for the disk."""

    async def go(spider, response):
        request = Request(response.urljoin(path), method=method)
        handle = await spider.background_fetch.fetch("a", request)
        try:
            with suppress(asyncio.TimeoutError):
                waits = until(lambda: site.of(path))
                await asyncio.wait_for(waits, 10 if sent else 0.3)
            spider.sent, spider.state = len(site.of(path)), handle.records[0].state
        finally:
            claims.set()
        spider.result = (await handle.settled()).result

    spider = await probe(go)
    assert (spider.sent, spider.result) == (sent, "success")
    assert spider.state == ("active" if sent else "pending")


async def test_a_record_that_somebody_else_has_begun_stops_the_crawl_at_once(
    probe, monkeypatch, caplog
):
    """Its body would come for two minutes."""
    claim = SQLiteStore.claim

    async def second(store, uid, index):
        await claim(store, uid, index)
        return await claim(store, uid, index)

    monkeypatch.setattr(SQLiteStore, "claim", second)

    async def go(spider, response):
        url = "/slow/x?size=1200000&rate=10000"
        handle = await spider.background_fetch.fetch("a", url, base_url=response)
        with pytest.raises(SuspendedError):
            await handle.settled()

    spider = await asyncio.wait_for(probe(go), 30)
    assert spider.crawler.stats.get_value("finish_reason") == "bgfetch_error"
    assert "begun or ended in the state by somebody else" in caplog.text


async def test_no_bytes_are_dropped_before_the_attempt_is_claimed(
    probe, site, claims, tmp_path
):
    """The state would go on speaking of those that were there before."""

    def kept():
        (part,) = (tmp_path / "bgfetch" / "parts").iterdir()
        return part.stat().st_size

    async def first(spider, response):
        await flowing(spider, response)
        raise CloseSpider("enough")

    async def second(spider, response):
        spider.before = kept()
        await until(lambda: len(site.of("/slow/x")) == 2)
        await asyncio.sleep(0.3)  # for what must not happen
        spider.kept = kept()
        claims.set()
        await go_on(spider, response)

    claims.set()
    with suppress(CloseSpider):
        await probe(first)
    claims.clear()
    site.etags["x"] = '"another"'
    spider = await probe(second)
    assert spider.kept == spider.before > SIZE // 3
    assert spider.result == "success"


async def test_what_is_aborted_before_its_attempt_is_claimed_is_aborted(probe, claims):
    async def go(spider, response):
        handle = await flowing(spider, response)
        await handle.abort()
        claims.set()
        await handle.settled()
        spider.end = handle.failure_reason, handle.records[0].state

    assert (await probe(go)).end == ("aborted", "settled")


async def test_what_is_paused_before_its_attempt_is_claimed_goes_on(
    probe, site, claims
):
    async def go(spider, response):
        handle = await flowing(spider, response)
        await handle.pause()
        await asyncio.sleep(0.1)
        await handle.resume()
        claims.set()
        (record,) = (await handle.settled()).records
        spider.body = record.path.read_bytes()

    assert (await probe(go)).body == body("x", SIZE)
    first, second = site.of("/slow/x")
    assert offset(first) == 0 < offset(second)


@pytest.mark.parametrize("granted", [True, False])
async def test_a_spider_that_closes_before_an_attempt_is_claimed_can_go_on(
    probe, site, claims, granted
):
    """Its bytes are there as well when the state knew of the attempt in time."""

    async def first(spider, response):
        await flowing(spider, response)
        if granted:
            asyncio.get_running_loop().call_later(0.3, claims.set)
        raise CloseSpider("enough")

    with suppress(CloseSpider):
        await probe(first)
    claims.set()
    assert (await probe(go_on)).result == "success"
    assert (offset(site.of("/slow/x")[1]) > 0) == granted


async def test_a_claim_that_fails_closes_the_spider_and_the_next_run_begins_anew(
    probe, site, claims, monkeypatch
):
    held = SQLiteStore.claim

    async def failing(store, uid, index):
        await claims.wait()
        raise StoreError("no state")

    async def first(spider, response):
        monkeypatch.setattr(SQLiteStore, "claim", failing)
        handle = await flowing(spider, response)
        claims.set()
        with pytest.raises(SuspendedError):
            await handle.settled()
        monkeypatch.setattr(SQLiteStore, "claim", held)

    spider = await probe(first)
    assert spider.crawler.stats.get_value("finish_reason") == "bgfetch_error"
    assert (await probe(go_on)).result == "success"
    assert offset(site.of("/slow/x")[1]) == 0
