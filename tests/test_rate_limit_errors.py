"""Rate limits hold for the pages of errors too: they come from the network."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.crawl_process import until
from tests.support.raw import answer

OVERALL = "BGFETCH_RATE_LIMIT"
PAGE = bytes(range(256)) * 200
RATE = 40_000


def says(raw, *lines, status="404 Not Found", path="/x"):
    return raw.says(path, answer(PAGE, *lines, status=status))


LIMITS = pytest.mark.parametrize(
    ("options", "settings"),
    [({"rate_limit": RATE}, {}), ({}, {OVERALL: RATE})],
    ids=["own", "overall"],
)


@LIMITS
async def test_the_page_of_an_error_comes_no_faster_than_it_may(
    fetched, raw, options, settings
):
    """Behaviour 54: its body is read, at the pace of any other."""
    url, started = says(raw), time.monotonic()
    handle = await fetched(url, options=options, **settings)
    assert time.monotonic() - started >= len(PAGE) / RATE - 0.1
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].path.read_bytes() == PAGE


@LIMITS
async def test_the_page_of_a_redirect_counts_too(fetched, raw, options, settings):
    there = raw.says("/there", answer(b"there"))
    url = says(raw, f"Location: {there}", status="302 Found")
    started = time.monotonic()
    handle = await fetched(url, options=options, **settings)
    assert time.monotonic() - started >= len(PAGE) / RATE - 0.1
    assert handle.result == "success"


async def test_a_page_that_a_limit_makes_drip_is_cut(fetched, raw):
    """Behaviour 54: the status has decided; the record does not wait for hours."""
    handle = await fetched(
        says(raw), options={"rate_limit": 2000}, BGFETCH_STALL_TIMEOUT=0.5
    )
    assert handle.failure_reason == "bad-status"
    page = handle.records[0].path.read_bytes()
    assert 0 < len(page) < len(PAGE)
    assert PAGE.startswith(page)


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_nobody_waits_for_pages_that_are_not_wanted_any_more(probe, raw, how):
    """One after the other they would wait for a second each, for one byte."""
    urls = [says(raw, path=f"/{number}") for number in range(20)]

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", urls)
        await until(lambda: len(raw.heads) == len(urls))
        spider.began = time.monotonic()
        if how == "abort":
            await handle.abort()
        closing = spider.crawler.engine.close_spider_async(reason="enough")
        spider.closing = asyncio.ensure_future(closing)

    names = ("BGFETCH_CONCURRENT_RECORDS", "CONCURRENT_REQUESTS_PER_DOMAIN")
    spider = await probe(go, **{OVERALL: 1}, **dict.fromkeys(names, len(urls)))
    assert time.monotonic() - spider.began < len(urls) / 2
