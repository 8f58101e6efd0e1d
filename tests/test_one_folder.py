"""Several crawls with one BGFETCH_DIR: one after another, never two at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

import pytest
from scrapy.exceptions import CloseSpider

from tests.support.crawl import Probe, run
from tests.support.crawl_process import Crawl, until
from tests.support.site import body

SIZE = 400_000
SLOW = f"/slow/x?size={SIZE}&rate=400000"


class Second(Probe):
    """Another spider."""

    name = "second"


async def nothing(spider, response):
    pass


async def half_way_then_close(spider, response):
    spider.handle = await spider.background_fetch.fetch("a", SLOW, base_url=response)
    await until(lambda: spider.handle.records[0].downloaded > 100_000)
    engine = spider.crawler.engine
    spider.closing = asyncio.ensure_future(engine.close_spider_async(reason="enough"))


async def wait_for_a(spider, response):
    spider.handle = await spider.background_fetch.get("a")
    await spider.handle.settled()


@pytest.fixture
def crawl(site, settings):
    """Run ``go(spider, response)`` in a spider of this class, all in one folder."""

    async def start(go, spidercls=Probe, **more):
        return await run(spidercls, settings(**more), page=site.url("/page"), go=go)

    return start


@pytest.fixture
def other(tmp_path):
    """A crawl in a process of its own, in the same folder."""
    started = Crawl(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def parts(folder):
    return {
        path.name: path.stat().st_size
        for path in (folder / "bgfetch" / "parts").iterdir()
    }


async def test_another_spider_leaves_the_part_files_of_the_first_alone(
    crawl, site, tmp_path
):
    """Behaviours 1, 22, 186."""
    await crawl(half_way_then_close)
    kept = parts(tmp_path)
    (length,) = kept.values()

    async def fetch(spider, response):
        assert await spider.background_fetch.get("a") is None
        handle = await spider.background_fetch.fetch("a", "/file/y", base_url=response)
        await handle.settled()

    second = await crawl(fetch, Second)
    assert second.names("progress")[-1] == "success"
    assert parts(tmp_path) == kept
    handle = (await crawl(wait_for_a)).handle
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == body("x", SIZE)
    assert site.of("/slow/x")[1].headers["Range"] == f"bytes={length}-"


@pytest.mark.parametrize("spidercls", [Probe, Second])
async def test_of_two_crawls_at_once_the_second_says_why_it_ends(
    crawl, site, tmp_path, caplog, spidercls
):
    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", SLOW, base_url=response
        )
        await until(lambda: spider.handle.records[0].downloaded > 50_000)
        spider.second = await crawl(nothing, spidercls)
        await spider.handle.settled()

    spider = await crawl(go)
    stats = spider.second.crawler.stats
    assert stats.get_value("finish_reason") == "bgfetch_error"
    assert spider.second.events == []
    (error,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    for said in ("in use by another crawl", str(tmp_path / "bgfetch"), "BGFETCH_DIR"):
        assert said in error.getMessage()
    assert error.exc_info is None
    assert spider.crawler.stats.get_value("finish_reason") == "finished"
    assert spider.handle.records[0].path.read_bytes() == body("x", SIZE)
    assert len(site.of("/slow/x")) == 1


async def test_a_crawl_in_another_process_has_the_folder_for_itself(
    crawl, site, other, caplog
):
    """Until it is killed: its lock ends with it."""
    other.start(fetch=[{"id": "a", "requests": site.url("/slow/y?rate=1&size=100")}])
    await until(lambda: other.events("registered"))
    second = await crawl(nothing)
    assert second.crawler.stats.get_value("finish_reason") == "bgfetch_error"
    assert "in use by another crawl" in caplog.text
    await other.kill(signal.SIGKILL)
    caplog.clear()

    async def fetch(spider, response):
        handle = await spider.background_fetch.fetch("b", "/file/x", base_url=response)
        await handle.settled()

    third = await crawl(fetch)
    assert third.crawler.stats.get_value("finish_reason") == "finished"
    assert third.names("progress")[-1] == "success"
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("how", ["finished", "closed early", "refused"])
async def test_the_folder_is_free_when_a_crawl_has_ended(crawl, how):
    async def go(spider, response):
        if how == "closed early":
            raise CloseSpider("enough")

    if how == "refused":
        spider = await crawl(nothing, BGFETCH_RETRY_DELAY=-1)
        assert spider.crawler.stats.get_value("finish_reason") == "bgfetch_error"
    else:
        with contextlib.suppress(CloseSpider):
            await crawl(go)
    spider = await crawl(nothing)
    assert spider.crawler.stats.get_value("finish_reason") == "finished"
