"""Room that is given back, and who waits for it (51; BGFETCH_ON_FULL)."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from scrapy import Request

from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.perform.space import Space
from tests.support.crawl_process import until
from tests.support.grouped import Grouped
from tests.support.raw import answer
from tests.support.site import body

MiB = 1024 * 1024


@pytest.mark.parametrize("quota", [0, 2 * MiB])
async def test_bytes_that_a_new_body_replaces_give_their_room_back(probe, raw, quota):
    """Behaviour 218: without a validator all of it is fetched again."""
    whole = body("x", 2 * MiB - 1000)
    cut = answer(whole[: MiB + MiB // 2], length=len(whole))
    url = raw.says("/x", cut, answer(whole))

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        spider.handle = await handle.settled()

    spider = await probe(go, BGFETCH_QUOTA=quota)
    (record,) = spider.handle.records
    assert record.error == ""
    assert record.path.read_bytes() == whole
    assert len(raw.of("/x")) == 2


async def test_bytes_that_were_kept_do_not_forbid_their_own_fetch(probe):
    """They are adopted by it: they need no room a second time."""
    big = f"/slow/x?size={4 * MiB}&rate=50000000&chunked"

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        other = await fetch("b", f"/file/y?size={2 * MiB}", base_url=response)
        await other.settled()
        first = await (await fetch("a", big, base_url=response)).settled()
        assert first.failure_reason == "quota-exceeded"
        assert first.downloaded > 2 * MiB
        other.records[0].path.unlink()
        again = await fetch("a", big, base_url=response, download_total=4 * MiB)
        spider.handle = await again.settled()

    spider = await probe(go, BGFETCH_QUOTA=5 * MiB)
    assert spider.handle.result == "success"
    assert spider.handle.records[0].path.read_bytes() == body("x", 4 * MiB)


async def test_a_record_that_waits_for_room_and_its_abort_let_the_others_go_on(
    probe, caplog
):
    caplog.set_level("INFO", "scrapy_bgfetch")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("f", f"/file/f?size={MiB}", base_url=response)).settled()
        big = await fetch("big", f"/file/x?size={2 * MiB}", base_url=response)
        await until(lambda: "room" in caplog.text)
        small = await fetch("small", "/file/y", base_url=response)
        beside = await settled_soon(small, big)
        assert not big.result
        assert await big.abort()
        small = await fetch("small", "/file/z", base_url=response)
        after = await settled_soon(small)
        spider.handles = [await big.settled(), beside, after]

    spider = await probe(go, BGFETCH_QUOTA=2 * MiB + 5000, BGFETCH_ON_FULL="pause")
    reasons = [handle.failure_reason for handle in spider.handles]
    assert reasons == ["aborted", "", ""]
    assert "waits for room" in caplog.text
    assert "All background fetches pause" not in caplog.text


async def test_many_looks_at_once_count_the_free_bytes_once(tmp_path):
    bodies = LocalBodies(tmp_path / "parts", tmp_path / "files")
    bodies.prepare()
    space = Space(bodies, SimpleNamespace(quota=0, disk_reserve=1), lambda: 0)
    await space.start(0)
    space.left = 0  # it was full a moment ago
    await asyncio.gather(*(space.look() for _ in range(8)))
    free, _ = bodies.free_bytes()
    assert free / 2 < space.left < free * 1.5


async def test_what_settles_while_the_folders_are_measured_counts(tmp_path):
    go_on = threading.Event()

    class Slow(LocalBodies):
        def used_bytes(self):
            used = super().used_bytes()
            go_on.wait(10)
            return used

    bodies = Slow(tmp_path / "parts", tmp_path / "files")
    bodies.prepare()
    (tmp_path / "files" / "a").write_bytes(bytes(1000))
    live = [1000]
    limits = SimpleNamespace(quota=1000, disk_reserve=0)
    space = Space(bodies, limits, lambda: sum(live))
    await space.start(1000)
    looking = asyncio.ensure_future(space.room_for(1))
    await asyncio.sleep(0.05)
    space.settled(live.pop())
    go_on.set()
    assert (await looking).left == 0


async def test_a_post_without_room_fails_and_is_sent_once(probe, raw, caplog):
    """BGFETCH_ON_FULL: only a GET can be sent again."""
    caplog.set_level("INFO", "scrapy_bgfetch")
    url = raw.says("/p", answer(body("p", 2 * MiB)))

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("f", f"/file/f?size={MiB}", base_url=response)).settled()
        handle = await fetch("a", Request(url, method="POST", body=b"x=1"))
        spider.handle = await settled_soon(handle)

    spider = await probe(go, BGFETCH_QUOTA=2 * MiB + 10, BGFETCH_ON_FULL="pause")
    assert spider.handle.failure_reason == "quota-exceeded"
    assert "waits for room" not in caplog.text
    assert "pause" not in caplog.text
    assert len(raw.of("/p")) == 1


async def test_bytes_that_a_group_has_need_no_room_for_its_download_total(crawl):
    class Late(Grouped):
        async def after(self, response):
            self.results.append(response)
            group = {"id": "a", "download_total": 950}
            yield self.request(response, "/file/y?size=100", group)

    async def go(spider, response):
        group = {"id": "a", "requests": 2}
        path = "/file/x?size=800"
        return [spider.request(response, path, group, callback=spider.after)]

    spider = await crawl(go, Late, BGFETCH_QUOTA=1000)
    assert spider.failures == []
    assert len(spider.results) == 2
    assert spider.ends() == [("success", "a", "")]


async def settled_soon(handle, *others):
    """Wait for a background fetch; abort what would keep a failing test from ending."""
    try:
        return await asyncio.wait_for(handle.settled(), 5)
    except asyncio.TimeoutError:
        for one in (handle, *others):
            await one.abort()
        raise
