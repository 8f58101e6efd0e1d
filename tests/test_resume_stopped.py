"""A crawl that is stopped suspends its fetches: DESIGN section 2, "Close"."""

from __future__ import annotations

import asyncio
import time

import pytest
from scrapy import Request, signals
from scrapy.exceptions import CloseSpider

from scrapy_bgfetch.exceptions import SuspendedError
from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.resuming import SIZE, SLOW, offset
from tests.support.site import body


class Closer(Probe):
    """Closes the spider when the background fetch is half-way."""

    async def close_it(self, response):
        await until(lambda: self.handle.records[0].downloaded > 50_000)
        raise CloseSpider("enough")


@pytest.mark.slow  # by the clock
async def test_close_spider_suspends_what_is_unfinished(site, settings):
    heard = {}

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a",
            [f"/slow/x?size={SIZE}&rate=200000", "/silent"],
            base_url=response,
        )
        flowing, silent = spider.handle.records

        async def read():
            return [chunk async for chunk in (await flowing.response_ready).iter_body()]

        async def ready():
            await silent.response_ready

        spider.waiting = {
            name: asyncio.ensure_future(waiting)
            for name, waiting in (
                ("settled", spider.handle.settled()),
                ("response_ready", ready()),
                ("iter_body", read()),
            )
        }
        return [Request(response.urljoin("/page2"), callback=spider.close_it)]

    at = time.monotonic()
    spider = await run(Closer, settings(), page=site.url("/page"), go=go)
    assert time.monotonic() - at < 5
    for name, task in spider.waiting.items():
        with pytest.raises(SuspendedError, match="closing") as caught:
            await task
        heard[name] = str(caught.value)
    assert len(heard) == 3
    assert spider.crawler.stats.get_value("finish_reason") == "enough"
    assert spider.names("progress") == ["registered"]
    assert spider.handle.result == ""
    assert len(site.closed) == 1

    async def nothing(spider, response):
        spider.handle = await spider.background_fetch.get("a")
        assert spider.handle is not None
        while spider.handle.records[0].state != "settled":
            await asyncio.sleep(0.01)
        await spider.handle.abort()

    spider = await run(Probe, settings(), page=site.url("/page"), go=nothing)
    assert spider.handle.records[0].path.read_bytes() == body("x", SIZE)
    assert offset(site.of("/slow/x")[1]) > 50_000
    assert spider.names("progress")[-1] == "abort"


async def test_closespider_timeout_suspends_it_too(probe, site):
    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000&rate=100000", base_url=response
        )
        with pytest.raises(SuspendedError):
            await spider.handle.settled()
        spider.suspended = True

    spider = await probe(go, CLOSESPIDER_TIMEOUT=1)
    assert spider.suspended
    assert spider.crawler.stats.get_value("finish_reason") == "closespider_timeout"
    assert spider.names("progress") == ["registered"]


async def test_the_next_run_of_a_suspended_fetch_ends_it(probe, site):
    async def go(spider, response):
        await spider.background_fetch.fetch(
            "a", f"/slow/x?size={SIZE}&rate=200000", base_url=response
        )

    async def nothing(spider, response):
        pass

    spider = await probe(go, CLOSESPIDER_TIMEOUT=1)
    assert spider.names("progress") == ["registered"]
    spider = await probe(nothing)
    assert spider.names("progress") == ["record_settled", "success"]
    assert spider.events[-1][1].records[0].path.read_bytes() == body("x", SIZE)
    assert offset(site.of("/slow/x")[1]) > 0


# -- idle --------------------------------------------------------------------------


class Clock(Probe):
    """Notes when the last byte had come and when the spider closed."""

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.note_closed, signals.spider_closed)
        return spider

    def note(self, signal, registration, **kwargs):
        super().note(signal, registration, **kwargs)
        if self.names()[-1] in ("success", "fail", "abort"):
            self.settled_at = time.monotonic()

    def note_closed(self):
        self.closed_at = time.monotonic()


@pytest.mark.slow  # by the clock
@pytest.mark.parametrize("grouped", [False, True])
async def test_an_idle_spider_waits_for_background_fetches_then_closes_at_once(
    site, settings, grouped
):
    """The engine looks by itself only every 5 seconds."""
    url = site.url("/slow/x?size=300000&rate=300000")

    async def go(spider, response):
        if grouped:
            return [Request(url, spider.keep, meta={"bgfetch": "a"})]
        await spider.background_fetch.fetch("a", url)
        return None

    spider = await run(Clock, settings(), page=site.url("/page"), go=go)
    assert spider.names("progress")[-1] == "success"
    assert spider.closed_at - spider.settled_at < 2
    assert spider.crawler.stats.get_value("finish_reason") == "finished"


async def test_an_idle_spider_does_not_wait_for_a_paused_fetch(site, settings):
    """Behaviours 228, 305."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", f"/slow/x?{SLOW}", base_url=response
        )
        await handle.records[0].response_ready
        await handle.pause()

    spider = await run(Clock, settings(), page=site.url("/page"), go=go)
    assert spider.names("progress") == ["registered"]

    async def resume(spider, response):
        handle = await spider.background_fetch.get("a")
        assert handle.paused
        await handle.resume()

    spider = await run(Clock, settings(), page=site.url("/page"), go=resume)
    assert spider.names("progress")[-1] == "success"
