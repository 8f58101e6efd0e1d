"""What the specification and browsers say of records and events, in real crawls."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
from contextlib import closing

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl, signals
from scrapy_bgfetch.exceptions import FetchError, InvalidStateError
from tests.support.crawl_process import until
from tests.support.raw import answer
from tests.support.resuming import SIZE, SLOW
from tests.support.site import Site, body

QUICK = {"BGFETCH_RETRY_DELAY": 0.01, "BGFETCH_RETRY_MAX_DELAY": 0.1}


async def nothing(spider, response):
    pass


@pytest.fixture
def suspended(probe):
    """Suspend the background fetch ``a`` half-way."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", f"/slow/x?{SLOW}", base_url=response, title="An album"
        )
        await until(lambda: handle.records[0].downloaded > 100_000)

    async def start():
        await probe(go, BGFETCH_ON_CLOSE="suspend")

    return start


async def test_a_reader_of_a_body_that_starts_again_is_told(probe, site):
    """Behaviours 5, 49: what it has read is redundant, and the next part another's."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", f"/slow/x?{SLOW}", base_url=response
        )
        record = handle.records[0]
        chunks = (await record.response_ready).iter_body()
        await anext(chunks)
        await until(lambda: record.downloaded > 100_000)
        await handle.pause()
        await until(lambda: record.state == "pending")
        site.etags["x"] = '"changed"'
        await handle.resume()
        with pytest.raises(FetchError, match="has started again from its first byte"):
            async for _ in chunks:
                pass
        await handle.settled()
        answer = await record.response_ready
        spider.read = b"".join([chunk async for chunk in answer.iter_body()])

    assert (await probe(go)).read == body("x", SIZE)


@pytest.mark.parametrize(("method", "times"), [("GET", 3), ("POST", 1), ("PUT", 1)])
async def test_only_get_is_tried_again_after_a_network_error(
    fetched, raw, method, times
):
    """Behaviours 43, 307: two tries are left."""
    url = raw.says("/cut", answer(b"", length=10))
    handle = await fetched(Request(url, method=method), BGFETCH_RESUMPTIONS=2, **QUICK)
    assert handle.failure_reason == "fetch-error"
    assert len(raw.of("/cut")) == times


class Counting:
    """A downloader middleware that adds a field line to what passes it."""

    def process_request(self, request):
        request.headers.appendlist("X-Pass", "1")
        request.meta["passed"] = request.meta.get("passed", 0) + 1


async def test_every_attempt_begins_with_the_request_as_it_was_given(probe, site):
    """Behaviours 41, 78: what middlewares make of one attempt is not in the next."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", "/once/503/x?times=2", base_url=response
        )

    middlewares = {"DOWNLOADER_MIDDLEWARES": {Counting: 950}}
    spider = await probe(go, **middlewares)
    requests = site.of("/once/503/x")
    assert [one.headers.getall("X-Pass") for one in requests] == [["1"]] * 3
    kept = spider.handle.records[0].request
    assert "X-Pass" not in kept.headers
    assert "passed" not in kept.meta


async def test_the_head_of_the_first_part_is_the_one_that_is_kept(fetched, raw):
    """Behaviour 48."""
    data = body("x", 20_000)
    first = answer(data[:9000], 'ETag: "e"', "X-Part: 1", length=20_000)
    rest = answer(
        data[9000:],
        *('ETag: "e"', "X-Part: 2", "Content-Range: bytes 9000-19999/20000"),
        status="206 Partial Content",
    )
    handle = await fetched(raw.says("/x", first, rest), **QUICK)
    response = await handle.records[0].response_ready
    assert handle.records[0].path.read_bytes() == data
    assert (response.status, response.headers["X-Part"]) == (200, b"1")
    assert len(raw.of("/x")) == 2


async def test_a_server_that_is_not_there_yet_is_waited_for(probe, caplog):
    """Behaviours 94, 309: it is registered, and begins once there is a connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    caplog.set_level(logging.INFO, "scrapy_bgfetch")

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", f"http://127.0.0.1:{port}/file/x"
        )
        await until(lambda: caplog.text.count("is tried again") > 2)
        assert handle.result == ""
        late = Site().start(port=port)
        try:
            spider.handle = await handle.settled()
        finally:
            late.stop()

    spider = await probe(go, BGFETCH_RESUMPTIONS=1000, **QUICK)
    assert spider.handle.records[0].path.read_bytes() == body("x", 1000)


async def test_who_waits_for_a_head_that_never_comes_is_told(probe, raw):
    """Behaviours 82, B13: the record ends without a head."""

    async def go(spider, response):
        url = raw.says("/gone", b"")
        handle = await spider.background_fetch.fetch("a", url)
        assert handle.records[0].status is None
        with pytest.raises(FetchError, match="without an answer"):
            await asyncio.wait_for(handle.records[0].response(), 10)

    await probe(go, BGFETCH_RESUMPTIONS=0)


class Unwanted:
    """A plug-in that wants no body."""

    @hookimpl
    def bgfetch_response_started(self, response):
        raise ValueError("not this one")


FAILURES = {
    "a status": ("/status/404", {}, {}, "bad-status"),
    "a status that does not pass": ("/status/503", {}, {}, "bad-status"),
    "no connection": ("http://127.0.0.1:1/", {}, {}, "fetch-error"),
    "robots.txt": ("/file/x", {}, {"ROBOTSTXT_OBEY": True}, "fetch-error"),
    "a plug-in": ("/file/x", {}, {"BGFETCH_PLUGINS": [Unwanted]}, "fetch-error"),
    "a checksum": ("/file/x", {"integrity": {"md5": "0" * 32}}, {}, "fetch-error"),
    "a loop": ("/loop", {}, {"REDIRECT_MAX_TIMES": 2}, "fetch-error"),
    "its size": ("/file/x", {}, {"BGFETCH_RECORD_MAXSIZE": 999}, "quota-exceeded"),
    "the quota": ("/file/x", {}, {"BGFETCH_QUOTA": 999}, "quota-exceeded"),
    "the budget": ("/file/x", {"download_total": 999}, {}, "download-total-exceeded"),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_whatever_goes_wrong_has_a_reason_of_the_specification(
    fetched, site, what
):
    """Behaviour 241: what it was exactly is said by the record."""
    site.robots = "User-agent: *\nDisallow: /file/"
    url, options, settings, reason = FAILURES[what]
    few = {"BGFETCH_RESUMPTIONS": 1, **QUICK, **settings}
    handle = await fetched(url, options=options, **few)
    assert handle.failure_reason == handle.records[0].failure_reason == reason
    assert len(handle.records[0].error) > 20


async def test_update_ui_without_anything_changes_nothing(probe):
    """Behaviours 85, 240, B15."""

    async def go(spider, response):
        async def on_success(registration, event):
            await event.update_ui()
            spider.updated = True

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        spider.handle = await spider.background_fetch.fetch(
            "a", "/file/x", base_url=response, title="An album"
        )

    spider = await probe(go)
    assert spider.updated
    assert spider.handle.title == "An album"


async def test_pause_and_abort_come_too_late_after_the_end(probe):
    """Behaviour 230."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        await handle.settled()
        assert not await handle.abort()
        for late in (handle.pause, handle.resume):
            with pytest.raises(InvalidStateError, match="has ended already"):
                await late()

    spider = await probe(go)
    assert spider.names("progress")[-1] == "success"


async def test_a_progress_listener_may_fetch_and_abort(probe):
    """Behaviour 315: whatever it does, nothing is entered twice."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        slow = await fetch("a", f"/slow/x?{SLOW}", base_url=response)

        async def listener(event):
            if not hasattr(spider, "other"):
                spider.other = asyncio.ensure_future(
                    fetch("b", "/file/y", base_url=response)
                )
                await (await spider.other).settled()
                assert await event.registration.abort()

        slow.onprogress = listener
        await slow.settled()
        spider.slow = slow

    spider = await probe(go)
    assert spider.slow.failure_reason == "aborted"
    assert spider.other.result().result == "success"
    ends = spider.names("progress", "record_settled")
    assert sorted(ends) == ["abort", "registered", "registered", "success"]


async def test_after_a_restart_it_is_listed_and_first_in_the_queue(
    suspended, probe, site
):
    """Behaviours 192, 201, 311."""
    await suspended()

    async def go(spider, response):
        manager = spider.background_fetch
        assert await manager.get_ids() == ["a"]
        spider.handle = await manager.get("a")
        assert spider.handle.title == "An album"
        assert spider.handle.downloaded > 100_000
        await manager.fetch("b", "/file/y", base_url=response)

    spider = await probe(go, BGFETCH_CONCURRENT_RECORDS=1)
    assert spider.handle.records[0].path.read_bytes() == body("x", SIZE)
    paths = [path for path in site.paths() if path != "/page"]
    assert paths == ["/slow/x", "/slow/x", "/file/y"]


async def test_a_reason_that_nobody_knows_is_a_damaged_state(
    suspended, probe, tmp_path, caplog
):
    """Behaviour 194: it is said, and the state is left as it is."""
    await suspended()
    state = tmp_path / "bgfetch" / "state.sqlite"
    with closing(sqlite3.connect(state)) as con, con:
        con.execute("UPDATE records SET failure_reason = 'bad-weather'")
    spider = await probe(nothing)
    assert spider.crawler.stats.get_value("finish_reason") == "bgfetch_error"
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert any("bad-weather" in error for error in errors)
    with closing(sqlite3.connect(state)) as con:
        assert con.execute("SELECT failure_reason FROM records").fetchall() == [
            ("bad-weather",)
        ]
