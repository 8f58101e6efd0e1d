"""Closing while the state waits for room on a full disk (BGFETCH_ON_FULL pause)."""

from __future__ import annotations

import asyncio
import time

import pytest

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BackgroundFetchError
from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.full_disk import fill, small_disk

FULL_FOR = 20  # seconds, at most
WAITS = "It is waited for."

pytestmark = pytest.mark.slow  # it is measured by the clock


@pytest.fixture
def crawl_on(tmp_path, site, settings):
    """Run ``go(spider, response)`` with all on a small disk; return the disk."""
    with small_disk(tmp_path / "disk", "12m") as disk:

        async def start(go, **more):
            values = settings(BGFETCH_DIR=str(disk / "bgfetch"), **more)
            values["BGFETCH_ON_FULL"] = "pause"
            return await run(Probe, values, page=site.url("/page"), go=go)

        yield disk, start


async def test_closing_ends_a_fetch_that_waits_for_room_in_the_state(crawl_on, caplog):
    disk, start = crawl_on

    async def go(spider, response):
        fetch = spider.background_fetch.fetch

        async def fetch_many():
            n = 0
            while spider.closed_at is None:
                n += 1
                path = f"/file/x?{'q' * 5000}"
                await fetch(str(n), path, base_url=response, title="t" * 5000)

        spider.closed_at = None
        await (await fetch("w", "/file/w", base_url=response)).settled()
        spider.emptied = fill_all(disk)
        many = asyncio.ensure_future(fetch_many())
        await until(lambda: WAITS in caplog.text, 10)
        close(spider)
        with pytest.raises(BackgroundFetchError):
            await many

    spider = await start(go)
    took = time.monotonic() - spider.closed_at
    spider.emptied.cancel()
    assert took < 3.5


class FillsUp:
    """Fills the disk as soon as a record has settled."""

    emptied = None

    def __init__(self, disk):
        self.disk = disk

    def __deepcopy__(self, memo):
        return self

    @hookimpl
    def bgfetch_record_settled(self, record):
        if self.emptied is None:
            self.emptied = fill_all(self.disk)


async def test_closing_does_not_wait_for_ends_that_wait_for_room(crawl_on, caplog):
    disk, start = crawl_on
    hook = FillsUp(disk)

    async def go(spider, response):
        slow = [f"/slow/{name}?size=1000000&rate=200000" for name in "yz"]
        fetch = spider.background_fetch.fetch
        await fetch("a", ["/file/x", *slow], base_url=response)
        await until(lambda: hook.emptied is not None)
        await until(lambda: WAITS in caplog.text or "pause" in caplog.text, 10)
        close(spider)

    spider = await start(go, BGFETCH_PLUGINS=[hook])
    took = time.monotonic() - spider.closed_at
    hook.emptied.cancel()
    assert took < 3.5


def fill_all(disk):
    """Fill the disk, and what the reserve gives up; return what empties it later."""
    fill(disk).rename(disk / "first")
    (disk / "bgfetch" / "state.reserve").unlink(missing_ok=True)
    fill(disk)
    return asyncio.ensure_future(empty(disk))


async def empty(disk):
    """So that the test ends, though closing waits."""
    await asyncio.sleep(FULL_FOR)
    for name in ("first", "filler"):
        (disk / name).unlink(missing_ok=True)


def close(spider):
    spider.closed_at = time.monotonic()
    engine = spider.crawler.engine
    spider.closing = asyncio.ensure_future(engine.close_spider_async(reason="early"))
