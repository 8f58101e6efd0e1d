"""Stored bytes at the edges: complete, few, without a validator, without room."""

from __future__ import annotations

import asyncio
import resource
import time
from email.utils import formatdate

import pytest

from scrapy_bgfetch import hookimpl
from tests.support.crawl import Probe, run, settings_of
from tests.support.crawl_process import until
from tests.support.full_disk import small_disk
from tests.support.misbehaving import (
    FAST,
    honest,
    misbehaving,
    part,
    sends,
    whole,
)
from tests.support.site import body

DATA = body("x", 300_000)
OTHER = body("y", 300_000)


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


# -- validators --------------------------------------------------------------------


async def test_a_last_modified_without_a_date_does_not_vouch_for_stored_bytes(
    fetched, wrong
):
    """RFC 9110 section 8.8.2.2: it may have changed twice in that second."""
    modified = "Last-Modified: Wed, 25 Nov 2026 00:00:00 GMT"

    def changed(peer):
        rest = OTHER[peer.offset :]
        peer.send(part(rest, peer.offset, len(OTHER), modified))

    cut = sends(whole(DATA, modified)[:-100_000])
    handle = await fetched(wrong.at("/x", cut, changed), **FAST)
    assert handle.records[0].path.read_bytes() == OTHER


async def test_few_bytes_are_compared_from_the_first_and_cost_no_restart(
    fetched, wrong
):
    """Each connection brings 20 kB beyond the range that repeats what is stored."""
    small = body("s", 60_000)

    def serve(peer):
        ranged = peer.field("Range") is not None
        said = part(small, 0, len(small)) if ranged else whole(small)
        length = said.index(b"\r\n\r\n") + 4
        peer.send(said[: length + 20_000 * len(wrong.peers)])

    handle = await fetched(wrong.at("/x", serve), **FAST | {"BGFETCH_RESTARTS": 0})
    assert handle.result == "success", handle.records[0].error
    assert handle.records[0].path.read_bytes() == small
    assert [peer.field("Range") for peer in wrong.peers] == [
        None,
        "bytes=0-",
        "bytes=0-",
    ]


# -- complete bodies ---------------------------------------------------------------


class Waits:
    """Looks at a complete body until it is told that that is enough."""

    def __init__(self):
        self.enough = asyncio.Event()

    def __deepcopy__(self, memo):
        return self

    @hookimpl
    async def bgfetch_body_complete(self, record):
        await self.enough.wait()


ANSWERS = {
    "without ranges": sends(whole(OTHER, 'ETag: "other"')),
    "403": sends(whole(b"no", status="403 Forbidden")),
    "416 that says nothing": sends(whole(b"", status="416 Range Not Satisfiable")),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_complete_body_is_not_asked_for_again(probe, wrong, tmp_path, answer):
    """It was complete, and being looked at, when the spider closed."""
    url = wrong.at("/x", honest(DATA), ANSWERS[answer])

    async def first(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        (record,) = handle.records
        await until(lambda: record.downloaded == len(DATA))
        engine = spider.crawler.engine
        spider.closing = asyncio.ensure_future(engine.close_spider_async(reason="x"))

    async def second(spider, response):
        """It may have ended before the page was there."""

    await probe(first, BGFETCH_PLUGINS=[Waits()])
    (kept,) = (tmp_path / "bgfetch" / "parts").iterdir()
    assert kept.read_bytes() == DATA
    spider = await probe(second)
    (handle,) = [one for name, one, _ in spider.events if name == "success"]
    assert handle.records[0].path.read_bytes() == DATA
    assert len(wrong.peers) == 1


async def test_bytes_are_recorded_while_a_hook_looks_at_the_body(probe, wrong):
    """So that a kill in the meantime loses none of them."""
    url, hook = wrong.at("/x", honest(DATA)), Waits()

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        store = handle._workshop.store
        while (await store.records(handle.uid))[0].stored != len(DATA):
            await asyncio.sleep(0.01)
        assert handle.records[0].state == "active"
        hook.enough.set()
        assert (await handle.settled()).result == "success"

    await probe(go, BGFETCH_PLUGINS=[hook])


# -- Retry-After -------------------------------------------------------------------


def busy(after, *lines):
    page = whole(b"later", f"Retry-After: {after}", *lines, status="503 Busy")
    return sends(page)


def long_ago(seconds):
    return formatdate(time.time() - seconds, usegmt=True)


@pytest.mark.parametrize("after", ["0", "-5", "Wed, 25 Nov 2026 00:00:00 GMT"])
async def test_a_server_that_asks_for_no_wait_is_not_asked_at_once(probe, wrong, after):
    """Otherwise all tries would be used up before it could recover."""
    url = wrong.at("/x", busy(after))

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        (live,) = handle._group.records
        await until(lambda: live.timer is not None)
        assert live.timer.when() - asyncio.get_running_loop().time() > 20
        await handle.abort()

    await probe(go, BGFETCH_RETRY_DELAY=60)
    assert len(wrong.peers) == 1


async def test_the_date_of_retry_after_is_read_by_the_server_s_clock(probe, wrong):
    """It is five minutes behind, and wants to be asked in 100 seconds."""
    url = wrong.at("/x", busy(long_ago(200), f"Date: {long_ago(300)}"))

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        (live,) = handle._group.records
        await until(lambda: live.timer is not None)
        left = live.timer.when() - asyncio.get_running_loop().time()
        assert 80 < left < 102
        await handle.abort()

    await probe(go)


async def test_pause_and_resume_do_not_shorten_the_wait(probe, wrong):
    url = wrong.at("/x", busy("60"), honest(DATA))

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        (live,) = handle._group.records
        await until(lambda: live.timer is not None)
        await handle.pause()
        assert live.timer is None
        await handle.resume()
        assert live.timer.when() - asyncio.get_running_loop().time() > 30
        await handle.abort()

    await probe(go)
    assert len(wrong.peers) == 1


def touch_all(paths):
    for path in paths:
        path.touch()


# -- room --------------------------------------------------------------------------


async def test_error_pages_keep_to_the_quota(fetched, wrong, tmp_path):
    page = sends(whole(b"e" * 90_000, status="404 Not Found"))
    urls = [wrong.at(f"/{n}", page) for n in range(5)]
    handle = await fetched(urls, BGFETCH_QUOTA=100_000)
    assert {record.failure_reason for record in handle.records} == {"bad-status"}
    files = (tmp_path / "bgfetch" / "files").rglob("*")
    assert sum(path.stat().st_size for path in files if path.is_file()) <= 100_000


async def test_a_file_that_is_too_large_for_the_process_is_not_tried_again(
    fetched, wrong
):
    data = body("x", 4_000_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
    try:
        handle = await fetched(wrong.at("/x", honest(data)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert handle.failure_reason == "quota-exceeded"
    assert "ulimit -f" in handle.records[0].error
    assert len(wrong.peers) == 1


async def test_a_disk_without_inodes_is_full(tmp_path, site, caplog):
    """It pauses, and goes on when there are some again."""
    with small_disk(tmp_path / "disk", "12m", inodes=40) as disk:

        async def go(spider, response):
            with pytest.raises(OSError, match="No space left"):
                touch_all(disk / f"i{number}" for number in range(100))
            fetch = spider.background_fetch.fetch
            handle = await fetch("a", "/file/x?size=1000", base_url=response)
            await until(lambda: "All background fetches pause" in caplog.text)
            for path in disk.glob("i*"):
                path.unlink()
            spider.handle = await handle.settled()

        values = settings_of(
            tmp_path, BGFETCH_DIR=str(disk / "bgfetch"), BGFETCH_ON_FULL="pause"
        )
        spider = await run(Probe, values, page=site.url("/page"), go=go)
        assert spider.handle.result == "success"
        assert len(site.of("/file/x")) == 2
