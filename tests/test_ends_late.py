"""Ends that come late: complete bodies not settled yet, hashing, callers that left."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import time
from contextlib import closing

import pytest

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import SuspendedError
from scrapy_bgfetch.rules.file_names import folder_name
from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.crawl_process import until
from tests.support.raw import answer
from tests.support.resuming import offset
from tests.support.site import body

GOOD = hashlib.sha256(body("x", 1000)).hexdigest()
GiB = 2**30
OLD = 8 * GiB
NEW = 1000
HEAD = 100_000
SLOWEST = "sha3_512"  # seconds for each GiB
TAG = 'ETag: "x"'


class Hook:
    """A crawler copies its settings, and the objects in them."""

    def __deepcopy__(self, memo):
        return self


class Stuck(Hook):
    """Never lets go of a complete body."""

    def __init__(self):
        self.reached = False

    @hookimpl
    async def bgfetch_body_complete(self, record):
        self.reached = True
        await asyncio.sleep(3600)


@pytest.mark.parametrize(
    ("options", "settings"),
    [({"integrity": {"sha256": GOOD}}, {}), ({}, {"BGFETCH_CHECKSUM": "sha256"})],
)
async def test_a_body_that_was_complete_when_the_spider_closed_has_its_digest(
    probe, site, options, settings
):
    stuck = Stuck()

    async def first(spider, response):
        await spider.background_fetch.fetch(
            "a", "/file/x", base_url=response, **options
        )
        await until(lambda: stuck.reached)
        close(spider)

    async def second(spider, response):
        spider.crawled = True

    await probe(first, BGFETCH_PLUGINS=[stuck], **settings)
    spider = await probe(second, **settings)
    (handle,) = [one for name, one, _ in spider.events if name == "success"]
    (record,) = handle.records
    assert (record.error, record.checksums) == ("", {"sha256": GOOD})
    assert [offset(request) for request in site.of("/file/x")] == [0]


class InTheWay(Hook):
    """Puts a folder where the file is to appear."""

    def __init__(self, files):
        self.files = files
        self.settled = []

    @hookimpl
    def bgfetch_body_complete(self, registration, response):
        uid = response.path.stem.rpartition("-")[0]
        self.folder = self.files / folder_name(registration.id, uid) / "x"
        (self.folder / "inner").mkdir(parents=True)

    @hookimpl
    def bgfetch_settled(self, registration):
        self.settled.append(registration.result)


async def test_a_rename_that_fails_is_tried_again_at_the_next_start(probe, tmp_path):
    hook = InTheWay(tmp_path / "bgfetch" / "files")

    async def first(spider, response):
        await spider.background_fetch.fetch("a", "/file/x", base_url=response)

    async def second(spider, response):
        spider.crawled = True

    await probe(first, BGFETCH_PLUGINS=[hook])
    assert hook.settled == []
    (hook.folder / "inner").rmdir()
    hook.folder.rmdir()
    spider = await probe(second)
    assert hook.folder.read_bytes() == body("x", 1000)
    (handle,) = [one for name, one, _ in spider.events if name == "success"]
    assert handle.records[0].path == hook.folder


def cut_short(raw):
    """Let the head of a body come, and its connection stay open; return its URL."""
    raw.may_close.clear()
    return raw.says("/x", answer(b"y" * HEAD, TAG, length=OLD + NEW))


def grow(folder, raw):
    """Let the state and the part file have OLD bytes; the NEW ones follow."""
    (part,) = (folder / "bgfetch" / "parts").glob("*.part")
    os.truncate(part, OLD)  # it has holes: it takes no room
    with closing(sqlite3.connect(folder / "bgfetch" / "state.sqlite")) as con:
        con.execute("UPDATE records SET stored = ?", (OLD,))
        con.commit()
    span = f"Content-Range: bytes {OLD}-{OLD + NEW - 1}/{OLD + NEW}"
    status = "206 Partial Content"
    raw.says("/x", answer(b"y" * NEW, TAG, span, status=status))


@pytest.mark.slow
async def test_abort_does_not_wait_for_hashing(probe, raw, tmp_path):
    """B3: a body of some GiB is complete, its digest is not."""
    url = cut_short(raw)

    async def first(spider, response):
        options = {"integrity": {SLOWEST: "0" * 128}}
        handle = await spider.background_fetch.fetch("a", url, **options)
        await until(lambda: handle.downloaded == HEAD)
        close(spider)

    async def second(spider, response):
        handle = await spider.background_fetch.get("a")
        await until(lambda: handle.records[0].downloaded == OLD + NEW)
        start = time.monotonic()
        assert await handle.abort()
        spider.handle = await handle.settled()
        spider.took = time.monotonic() - start

    await probe(first)
    grow(tmp_path, raw)
    raw.may_close.set()
    spider = await probe(second)
    assert spider.handle.failure_reason == "aborted"
    assert spider.took < 2


@pytest.mark.slow
async def test_a_signal_does_not_wait_for_hashing(process, raw, tmp_path):
    it = process()
    integrity = {SLOWEST: "0" * 128}
    url = cut_short(raw)
    it.start(fetch=[{"id": "a", "requests": url, "integrity": integrity}])
    await until(lambda: HEAD in it.unfinished())
    await it.kill()
    grow(tmp_path, raw)
    it.start()
    await until(lambda: list(it.parts().values()) == [OLD + NEW])
    start = time.monotonic()
    await it.kill(signal.SIGINT)
    took = time.monotonic() - start
    assert it.events("closed")[0]["reason"] == "shutdown"
    assert it.ends() == []
    assert took < 2.5


class GivesUp(Hook):
    """Lets the caller of the first ``fetch`` be cancelled while it registers."""

    task = None

    @hookimpl
    def bgfetch_register(self, registration):
        if self.task is not None:
            task, self.task = self.task, None
            asyncio.get_running_loop().call_soon(task.cancel)


async def test_a_fetch_whose_caller_gave_up_does_not_block_its_id(probe):
    hook = GivesUp()

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        task = asyncio.ensure_future(fetch("a", "/file/x", base_url=response))
        hook.task = task
        await asyncio.wait({task})
        assert task.cancelled()
        await until(lambda: "success" in spider.names(), 5)
        again = await fetch("a", "/file/y", base_url=response)
        spider.handle = await again.settled()

    spider = await probe(go, BGFETCH_PLUGINS=[hook])
    assert spider.handle.result == "success"
    assert spider.names("progress").count("registered") == 2


def close(spider):
    engine = spider.crawler.engine
    spider.closing = asyncio.ensure_future(engine.close_spider_async(reason="early"))


async def test_an_end_that_meets_the_unforeseen_is_left_to_the_next_run(
    probe, monkeypatch
):
    """Nobody waits for it for ever."""
    settle = SQLiteStore.settle

    async def broken(*args, **kwargs):
        monkeypatch.setattr(SQLiteStore, "settle", settle)
        raise RuntimeError("unforeseen")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", "/file/x", base_url=response)
        with pytest.raises(SuspendedError):
            await handle.settled()

    async def wait(spider, response):
        await until(lambda: "success" in spider.names())

    monkeypatch.setattr(SQLiteStore, "settle", broken)
    first = await asyncio.wait_for(probe(go), 30)
    assert "success" not in first.names()
    assert (await probe(wait)).names().count("success") == 1
