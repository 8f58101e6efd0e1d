"""A disk that is full, for real: a small file system (51; DESIGN, "Crash safety")."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import QuotaExceededError
from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.full_disk import fill, small_disk
from tests.support.resuming import offset
from tests.support.site import body

MiB = 1024 * 1024
BIG = 16 * MiB


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "12m") as path:
        yield path


@pytest.fixture
def crawl_on(disk, site, settings):
    """Run ``go(spider, response)`` with the state and the files on the small disk."""

    async def start(go, **more):
        values = settings(BGFETCH_DIR=str(disk / "bgfetch"), **more)
        return await run(Probe, values, page=site.url("/page"), go=go)

    return start


def check_state(disk):
    with closing(sqlite3.connect(disk / "bgfetch" / "state.sqlite")) as con:
        assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        summed = "SELECT coalesce(sum(stored), 0) FROM records WHERE uid = r.uid"
        wrong = f"SELECT id FROM registrations r WHERE downloaded != ({summed})"
        assert con.execute(wrong).fetchall() == []


def part_sizes(disk):
    return [path.stat().st_size for path in (disk / "bgfetch" / "parts").iterdir()]


async def test_a_full_disk_is_quota_exceeded_and_keeps_the_bytes(disk, crawl_on):
    """Behaviours 51, 213."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", f"/file/x?size={BIG}", base_url=response)
        spider.handle = await handle.settled()

    spider = await crawl_on(go)
    (record,) = spider.handle.records
    assert spider.handle.failure_reason == record.failure_reason == "quota-exceeded"
    assert "No space left" in record.error
    assert part_sizes(disk) == [record.downloaded] == [spider.handle.downloaded]
    assert record.downloaded > 2 * MiB
    check_state(disk)


async def test_the_next_fetch_of_the_id_goes_on_with_the_bytes(disk, site, crawl_on):
    """Also in another run, and the bytes are not stored twice meanwhile."""
    filler = fill_but(disk, 3 * MiB)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", f"/file/x?size={4 * MiB}", base_url=response)
        spider.handle = await handle.settled()

    first = (await crawl_on(go)).handle
    assert first.failure_reason == "quota-exceeded"
    filler.unlink()
    second = (await crawl_on(go)).handle
    assert second.result == "success"
    assert second.records[0].path.read_bytes() == body("x", 4 * MiB)
    assert offset(site.of("/file/x")[-1]) == first.downloaded > MiB
    assert part_sizes(disk) == []
    check_state(disk)


async def test_pause_waits_until_there_is_room(disk, crawl_on, site):
    """BGFETCH_ON_FULL: the crawl itself goes on meanwhile."""
    filler = fill_but(disk, 4 * MiB)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        urls = [f"/file/{name}?size={2 * MiB}" for name in "xyz"]
        handle = await fetch("a", urls, base_url=response)
        await until(lambda: handle.downloaded > MiB)
        await asyncio.sleep(0.5)
        assert not handle.result
        filler.unlink()
        spider.handle = await handle.settled()

    spider = await crawl_on(go, BGFETCH_ON_FULL="pause")
    assert spider.handle.result == "success"
    for record, name in zip(spider.handle.records, "xyz", strict=True):
        assert record.path.read_bytes() == body(name, 2 * MiB)
    assert "quota-exceeded" not in [one.failure_reason for one in spider.handle.records]
    check_state(disk)


async def test_a_disk_full_to_the_last_byte_pauses_and_goes_on(disk, crawl_on):
    """Even the state cannot be written until there is room again."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        path = "/slow/x?size=1000000&rate=400000"
        handle = await fetch("a", path, base_url=response)
        await until(lambda: handle.records[0].downloaded > 100_000)
        filler = fill(disk)
        await asyncio.sleep(1.0)
        assert not handle.result
        filler.unlink()
        spider.handle = await handle.settled()

    spider = await crawl_on(go, BGFETCH_ON_FULL="pause")
    assert spider.handle.records[0].path.read_bytes() == body("x", 1_000_000)
    check_state(disk)


async def test_a_pause_for_room_can_be_aborted_and_closed(disk, crawl_on):
    """B3: every wait listens to abort."""
    fill_but(disk, 3 * MiB)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", f"/file/x?size={BIG}", base_url=response)
        await until(lambda: handle.records[0].downloaded > MiB // 2)
        assert await handle.abort()
        spider.handle = await handle.settled()

    spider = await crawl_on(go, BGFETCH_ON_FULL="pause")
    assert spider.handle.failure_reason == "aborted"
    assert part_sizes(disk) == []


async def test_the_reserve_is_never_touched(disk, crawl_on):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        path = f"/slow/x?size={BIG}&rate=50000000&chunked"
        handle = await fetch("a", path, base_url=response)
        spider.handle = await handle.settled()

    spider = await crawl_on(go, BGFETCH_DISK_RESERVE=8 * MiB)
    (record,) = spider.handle.records
    assert record.failure_reason == "quota-exceeded"
    assert "BGFETCH_DISK_RESERVE" in record.error
    assert 2 * MiB < record.downloaded < 4 * MiB
    assert sum(part_sizes(disk)) == record.downloaded


async def test_a_download_total_that_the_reserve_forbids_is_refused(disk, crawl_on):
    async def go(spider, response):
        with pytest.raises(QuotaExceededError, match="BGFETCH_DISK_RESERVE"):
            await spider.background_fetch.fetch(
                "a", response.url, download_total=5 * MiB
            )

    await crawl_on(go, BGFETCH_DISK_RESERVE=8 * MiB)


async def test_requests_that_the_state_has_no_room_for_are_refused(disk, crawl_on):
    """Behaviour 19: nothing is registered, and the id is free."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        filler = fill(disk)
        big = Request(response.url, method="POST", body=bytes(MiB))
        with pytest.raises(QuotaExceededError, match="full"):
            await fetch("a", big)
        assert await spider.background_fetch.get_ids() == []
        filler.unlink()
        await (await fetch("a", "/file/x", base_url=response)).settled()

    spider = await crawl_on(go)
    assert spider.names("progress", "record_settled") == ["registered", "success"]
    check_state(disk)


def fill_but(disk, room):
    """Fill the disk but for so many bytes; return the file to delete."""
    filler = fill(disk)
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - room)
    return filler
