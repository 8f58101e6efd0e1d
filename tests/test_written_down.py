"""What waits until it is written down, or flushed, and what does not (issue 5)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.perform.slots import ENDS
from scrapy_bgfetch.store.sqlite import SQLiteStore

MiB = 1024 * 1024


async def test_bytes_are_recorded_while_they_come_however_rare_progress_is(
    probe, monkeypatch
):
    """BGFETCH_CHECKPOINT_INTERVAL says alone what a killed crawl fetches again."""
    recorded = []
    checkpoint = SQLiteStore.checkpoint

    async def noted(store, marks):
        recorded.extend(mark.stored for mark in marks)
        return await checkpoint(store, marks)

    monkeypatch.setattr(SQLiteStore, "checkpoint", noted)

    async def go(spider, response):
        url = f"/slow/x?size={MiB}&rate={MiB}"
        fetch = spider.background_fetch.fetch
        await (await fetch("a", url, base_url=response)).settled()

    await probe(go, BGFETCH_CHECKPOINT_INTERVAL=0.05, BGFETCH_PROGRESS_INTERVAL=3600)
    assert len(set(recorded)) > 5


async def test_a_new_body_comes_while_another_one_is_flushed(probe, monkeypatch):
    """A flush takes as long as the disk likes."""
    flushing, go_on = threading.Event(), threading.Event()
    flush = LocalBodies.flush_parts

    def held(bodies, names):
        flushing.set()
        assert go_on.wait(60)
        return flush(bodies, names)

    monkeypatch.setattr(LocalBodies, "flush_parts", held)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        try:
            url = f"/slow/x?size={MiB}&rate={MiB}"
            first = await fetch("a", url, base_url=response)
            assert await asyncio.to_thread(flushing.wait, 30)
            second = await fetch("b", "/file/y?size=1000", base_url=response)
            while second.downloaded < 1000:
                await asyncio.sleep(0.01)
        finally:
            go_on.set()
        spider.results = [await one.settled() for one in (first, second)]

    spider = await probe(go, BGFETCH_DURABILITY="power")
    assert [one.result for one in spider.results] == ["success", "success"]


@pytest.mark.parametrize(("durability", "sent"), [("process", 1), ("power", 1 + ENDS)])
async def test_others_come_while_an_end_waits_for_the_disk_but_not_all(
    probe, site, monkeypatch, durability, sent
):
    """With one slot. Without ``power`` it is the hook that makes the others wait."""
    go_on = threading.Event()

    class Holds:
        @hookimpl
        async def bgfetch_record_settled(self):
            assert await asyncio.to_thread(go_on.wait, 60)

    def flush(bodies, names):
        assert go_on.wait(60)
        return {}

    monkeypatch.setattr(LocalBodies, "flush_parts", flush)

    async def go(spider, response):
        paths = [f"/file/{n}" for n in range(8)]
        handle = await spider.background_fetch.fetch("a", paths, base_url=response)
        try:
            while sum(len(site.of(path)) for path in paths) < sent:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # for what must not happen
            spider.sent = sum(len(site.of(path)) for path in paths)
        finally:
            go_on.set()
        spider.result = (await handle.settled()).result

    settings = {"BGFETCH_CONCURRENT_RECORDS": 1, "BGFETCH_CHECKPOINT_INTERVAL": 3600}
    plugins = [Holds()] if durability == "process" else []
    spider = await probe(
        go, BGFETCH_DURABILITY=durability, BGFETCH_PLUGINS=plugins, **settings
    )
    assert (spider.sent, spider.result) == (sent, "success")
