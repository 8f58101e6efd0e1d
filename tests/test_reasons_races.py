"""Races of reasons, each by its name (31-36, 50, 51, 57, 69, 71-73, B1-B3, B8)."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
from scrapy import signals as scrapy_signals

from scrapy_bgfetch import hookimpl, signals
from scrapy_bgfetch.exceptions import NotAllowedError, SuspendedError
from scrapy_bgfetch.model import RecordState
from tests.support.crawl_process import until
from tests.support.stepped import Stepped

ENDS = ("success", "fail", "abort")
SIZE = 20_000


@pytest.fixture
def server():
    stepped = Stepped().start()
    yield stepped
    stepped.stop()


def ends(spider):
    return [name for name in spider.names() if name in ENDS]


def in_state(folder, uid):
    with closing(sqlite3.connect(folder / "bgfetch" / "state.sqlite")) as con:
        query = "SELECT failure_reason, downloaded FROM registrations WHERE uid = ?"
        return con.execute(query, [uid]).fetchone()


def same_everywhere(spider, folder):
    """Return the reason, which the handle, the state and the event must share."""
    handle = spider.handle
    reason = handle.failure_reason
    assert in_state(folder, handle.uid) == (reason, handle.downloaded)
    names = {"": "success", "aborted": "abort"}
    assert ends(spider) == [names.get(reason, "fail")]
    return reason


async def quickly(work):
    return await asyncio.wait_for(work, 10)


async def as_soon_as(condition):
    """Return in the very turn of the loop in which a condition comes true."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0)


class Hook:
    def __deepcopy__(self, memo):
        return self  # a crawler copies its settings, and the objects in them


# -- abort against success ----------------------------------------------------------


@pytest.mark.parametrize("turns", range(8))
async def test_abort_some_turns_after_the_last_byte(probe, server, tmp_path, turns):
    url = server.at("/x", SIZE)
    server.open("/x")

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch("a", url)
        (record,) = handle.records
        await as_soon_as(lambda: record.downloaded == SIZE)
        for _ in range(turns):
            await asyncio.sleep(0)
        spider.said = await handle.abort()
        assert await spider.background_fetch.get("a") is None
        await quickly(handle.settled())

    spider = await probe(go)
    reason = same_everywhere(spider, tmp_path)
    assert reason == ("aborted" if spider.said else "")
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_of_two_aborts_at_once_one_is_true_and_both_free_the_id(
    probe, server, tmp_path
):
    """Behaviours 71, 72, 204."""
    url = server.at("/x", SIZE)

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch("a", url)

        async def abort():
            said = await handle.abort()
            return said, await spider.background_fetch.get("a")

        spider.said = await quickly(asyncio.gather(abort(), abort(), abort()))
        await quickly(handle.settled())

    spider = await probe(go)
    assert spider.said == [(True, None), (False, None), (False, None)]
    assert same_everywhere(spider, tmp_path) == "aborted"


async def test_an_abort_that_comes_while_it_ends_is_false_when_the_id_is_free(
    probe, server, tmp_path
):
    """Behaviours 71, 72: who hears False can fetch the id again at once."""
    urls = [server.at("/x", SIZE, length=False), server.at("/y", SIZE)]

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        spider.handle = await fetch("a", urls, download_total=SIZE // 2)
        await as_soon_as(lambda: spider.handle._group.ending)
        assert not await spider.handle.abort()
        server.open("/y")
        again = await fetch("a", urls[1])
        await quickly(again.settled())
        assert again.result == "success"

    server.open("/x")
    spider = await probe(go)
    assert spider.handle.failure_reason == "download-total-exceeded"
    assert in_state(tmp_path, spider.handle.uid) == ("download-total-exceeded", 0)


@pytest.mark.parametrize("signal", ["registered", "progress", "record_settled"])
async def test_abort_inside_of_a_handler(probe, server, tmp_path, signal):
    urls = [server.at("/x", SIZE), server.at("/y", SIZE)]
    server.open("/x")
    said = []

    async def abort(registration):
        if not registration.result:
            said.append(await registration.abort())

    async def go(spider, response):
        spider.handler = abort
        wanted = getattr(signals, f"bgfetch_{signal}")
        spider.crawler.signals.connect(abort, wanted)
        spider.handle = await spider.background_fetch.fetch("a", urls)
        await quickly(spider.handle.settled())

    spider = await probe(go, BGFETCH_PROGRESS_INTERVAL=0.01)
    assert said == [True]
    assert same_everywhere(spider, tmp_path) == "aborted"


class AbortsTooEarly(Hook):
    @hookimpl
    async def bgfetch_register(self, registration):
        await registration.abort()


async def test_abort_before_it_is_registered_refuses_it(probe, server, tmp_path):
    url = server.at("/x", SIZE)

    async def go(spider, response):
        with pytest.raises(NotAllowedError, match="raise to refuse it"):
            await spider.background_fetch.fetch("a", url)
        assert await spider.background_fetch.get_ids() == []
        spider.crawled = True

    spider = await probe(go, BGFETCH_PLUGINS=[AbortsTooEarly()])
    assert spider.crawled
    assert spider.crawler.stats.get_value("finish_reason") == "finished"
    assert spider.events == []


async def test_an_old_handle_does_not_abort_the_next_fetch_of_its_id(probe, server):
    """Behaviour 73, while the handlers of the old one still run."""
    urls = [server.at("/x", SIZE), server.at("/y", SIZE)]
    server.open("/x")
    ended = asyncio.Event()

    async def slow(registration):
        if registration.records[0].url == urls[0]:
            await asyncio.wait_for(ended.wait(), 10)

    async def go(spider, response):
        spider.slow = slow
        spider.crawler.signals.connect(slow, signals.bgfetch_success)
        fetch = spider.background_fetch.fetch
        old = await fetch("a", urls[0])
        await quickly(old.settled())
        new = await fetch("a", urls[1])
        assert old.records_available
        assert not await old.abort()
        assert await spider.background_fetch.get("a") is new
        ended.set()
        server.open("/y")
        await quickly(new.settled())
        assert new.result == "success"

    spider = await probe(go)
    assert ends(spider) == ["success", "success"]


# -- abort while nothing moves --------------------------------------------------------


async def paused(spider, handle, server):
    await handle.pause()


async def backing_off(spider, handle, server):
    server.step("/x", ("status", 503, "Retry-After: 3600"))
    await until(lambda: handle._group.records[0].timer is not None, 10)


async def waiting_for_a_slot(spider, handle, server):
    assert handle.records[0].state == RecordState.PENDING


async def unanswered(spider, handle, server):
    await until(lambda: server.waits("/x"), 10)


async def half_way(spider, handle, server):
    server.step("/x", ("send", 700))
    await until(lambda: handle.records[0].downloaded == 700, 10)


@pytest.mark.parametrize(
    "where", [paused, backing_off, waiting_for_a_slot, unanswered, half_way]
)
async def test_abort_ends_every_wait(probe, server, tmp_path, where):
    """B3."""
    other, url = server.at("/other", SIZE), server.at("/x", SIZE)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        if where is waiting_for_a_slot:
            before = await fetch("other", other)
            await until(lambda: server.waits("/other"), 10)
        spider.handle = await fetch("a", url)
        await where(spider, spider.handle, server)
        assert await quickly(spider.handle.abort())
        await quickly(spider.handle.settled())
        if where is waiting_for_a_slot:
            await before.abort()

    spider = await probe(go, BGFETCH_CONCURRENT_RECORDS=1)
    assert spider.handle.failure_reason == "aborted"
    assert in_state(tmp_path, spider.handle.uid) == ("aborted", 0)
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_abort_while_the_server_refuses_connections(probe, server, tmp_path):
    """B3: the network is away, the next try is far off."""
    gone = Stepped().start()
    url = gone.at("/x", SIZE)
    gone.stop()

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch("a", url)
        await until(lambda: handle._group.records[0].timer is not None, 10)
        assert await quickly(handle.abort())
        await quickly(handle.settled())

    spider = await probe(go, BGFETCH_RETRY_DELAY=3600, BGFETCH_RETRY_MAX_DELAY=3600)
    assert same_everywhere(spider, tmp_path) == "aborted"


# -- failures against failures --------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_of_two_failures_the_first_is_the_reason(probe, server, tmp_path, order):
    """B1, 31: the other records go on."""
    urls = [server.at("/0", SIZE), server.at("/1", SIZE), server.at("/2", SIZE)]
    steps = [("status", 404), ("end",)]
    reasons = ["bad-status", "fetch-error"]

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch("a", urls)
        for index in order:
            server.step(f"/{index}", steps[index])
            await until(lambda i=index: handle.records[i].state == "settled", 10)
        assert not handle.result
        server.open("/2")
        await quickly(handle.settled())
        assert handle.records[2].failure_reason == ""

    spider = await probe(go, BGFETCH_PLUGINS=[RefusesOne()])
    assert same_everywhere(spider, tmp_path) == reasons[order[0]]


class RefusesOne(Hook):
    @hookimpl
    def bgfetch_body_complete(self, record):
        if record.url.endswith("/1"):
            raise ValueError("it is not good")


async def test_after_a_restart_the_first_failure_is_still_the_reason(
    probe, server, tmp_path
):
    """B1: it is the first that failed, not the first in the order of requests."""
    urls = [server.at(f"/{n}", SIZE) for n in range(3)]

    async def first(spider, response):
        handle = await spider.background_fetch.fetch("a", urls)
        server.step("/1", ("end",))
        await until(lambda: handle.records[1].state == "settled", 10)
        server.step("/0", ("status", 404))
        await until(lambda: handle.records[0].state == "settled", 10)
        assert (handle.result, handle.failure_reason) == ("", "")
        close(spider)

    async def second(spider, response):
        spider.handle = await spider.background_fetch.get("a")
        assert (spider.handle.result, spider.handle.failure_reason) == ("", "")
        server.open("/2")
        await quickly(spider.handle.settled())

    await probe(first, BGFETCH_PLUGINS=[RefusesOne()])
    spider = await probe(second)
    assert same_everywhere(spider, tmp_path) == "fetch-error"


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize(
    "limits", [{"BGFETCH_QUOTA": 10_000}, {"BGFETCH_RECORD_MAXSIZE": 10_000}]
)
async def test_bytes_that_break_budget_and_quota_break_the_budget(
    probe, server, tmp_path, length, limits
):
    """Behaviour 51: the quota is looked at after the cap."""
    url = server.at("/x", SIZE, length=length)

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", url, download_total=10_000
        )
        server.step("/x", ("send", SIZE))
        await quickly(spider.handle.settled())

    spider = await probe(go, **limits)
    assert same_everywhere(spider, tmp_path) == "download-total-exceeded"


async def test_a_body_without_room_for_its_first_byte_leaves_no_part_file(
    probe, server, tmp_path
):
    url = server.at("/x", SIZE, length=False)

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch("a", url)
        server.step("/x", ("send", SIZE))
        await quickly(spider.handle.settled())

    spider = await probe(go, BGFETCH_QUOTA=10)
    assert same_everywhere(spider, tmp_path) == "quota-exceeded"
    assert spider.handle.downloaded == 0
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_the_budget_dominates_the_aborts_that_it_causes(probe, server, tmp_path):
    """Behaviours 32, B2: also with fail_fast, and with an abort that is too late."""
    urls = [server.at(f"/{n}", SIZE, length=False) for n in range(4)]

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch(
            "a", urls, download_total=SIZE, fail_fast=True
        )
        server.step("/0", ("send", 700))
        server.step("/1", ("send", SIZE))
        await quickly(handle.settled())
        assert not await handle.abort()

    spider = await probe(go)
    assert same_everywhere(spider, tmp_path) == "download-total-exceeded"
    reasons = sorted(one.failure_reason for one in spider.handle.records)
    assert reasons == ["aborted"] * 3 + ["download-total-exceeded"]
    assert spider.names().count("record_settled") == 4


async def test_fail_fast_ends_with_the_failure_and_not_with_its_aborts(
    probe, server, tmp_path
):
    urls = [server.at(f"/{n}", SIZE) for n in range(3)]

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", urls, download_total=3 * SIZE, fail_fast=True
        )
        server.step("/0", ("status", 404))
        await quickly(spider.handle.settled())

    spider = await probe(go)
    assert same_everywhere(spider, tmp_path) == "bad-status"
    reasons = [record.failure_reason for record in spider.handle.records]
    assert reasons == ["bad-status", "aborted", "aborted"]


# -- progress against the end ---------------------------------------------------------


async def test_a_progress_event_that_the_end_overtakes_is_not_sent(probe, server):
    """Behaviour 69: a listener is slow, and the end comes meanwhile."""
    url = server.at("/x", SIZE)
    told = []

    async def slow(event):
        told.append(("slow", event.registration.result))
        if not event.registration.result:
            server.open("/x")
            await quickly(event.registration.settled())

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        spider.signalled = lambda registration: told.append(
            ("signal", registration.result)
        )
        spider.crawler.signals.connect(spider.signalled, signals.bgfetch_progress)
        handle.add_event_listener("progress", slow)
        handle.onprogress = lambda event: told.append(
            ("after", event.registration.result)
        )
        server.step("/x", ("send", 700))
        await quickly(handle.settled())

    await probe(go, BGFETCH_PROGRESS_INTERVAL=0.01)
    assert told == [
        ("slow", ""),
        ("slow", "success"),
        ("after", "success"),
        ("signal", "success"),
    ]


# -- the spider closes ----------------------------------------------------------------


def close(spider):
    engine = spider.crawler.engine
    spider.closing = asyncio.ensure_future(engine.close_spider_async(reason="early"))


async def test_an_abort_while_the_spider_closes_says_that_it_goes_on(
    probe, server, tmp_path
):
    url = server.at("/x", SIZE)
    said = []

    async def closed(spider):
        try:
            said.append(await spider.handle.abort())
        except SuspendedError as error:
            said.append(type(error))

    async def first(spider, response):
        spider.closed_too = closed
        spider.crawler.signals.connect(closed, scrapy_signals.spider_closed)
        spider.handle = await spider.background_fetch.fetch("a", url)
        close(spider)

    async def second(spider, response):
        server.open("/x")
        spider.handle = await spider.background_fetch.get("a")
        await quickly(spider.handle.settled())

    await probe(first)
    assert said == [SuspendedError]
    spider = await probe(second)
    assert same_everywhere(spider, tmp_path) == ""


async def test_who_waits_for_an_end_that_a_closing_spider_cuts_is_told(probe, server):
    """A handler of an aborted record outlives the patience of the close."""
    urls = [server.at("/x", SIZE), server.at("/y", SIZE)]
    server.open("/x")
    reached = []

    async def stuck(record):
        reached.append(record)
        await asyncio.sleep(3600)

    async def go(spider, response):
        spider.stuck = stuck
        spider.crawler.signals.connect(stuck, signals.bgfetch_record_settled)
        handle = await spider.background_fetch.fetch("a", urls)
        await until(lambda: reached, 10)
        assert await handle.abort()
        close(spider)
        with pytest.raises(SuspendedError):
            await quickly(handle.settled())
        spider.told = True

    assert (await probe(go)).told
