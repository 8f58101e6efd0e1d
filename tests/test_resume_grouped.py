"""Grouped requests after a kill: their records and callbacks are found again."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.crawl_process import until
from tests.support.grouped import Grouped
from tests.support.resuming import SIZE, SLOW, half_way, offset, read
from tests.support.site import body


@pytest.mark.parametrize("jobdir", [False, True])
@pytest.mark.parametrize("count", [{"requests": 3}, {}])
async def test_grouped_requests_rejoin_their_records_after_a_kill(
    process, site, jobdir, count
):
    """A spider yields the same requests again: no duplicates, callbacks called."""
    it = process(jobdir=jobdir)
    group = {"id": "a", **count}
    urls = [
        site.url("/file/x"),
        site.url(f"/slow/y?{SLOW}"),
        site.url(f"/slow/z?{SLOW}"),
    ]
    grouped = [(url, group) for url in urls]
    it.start(grouped=grouped)
    await until(lambda: it.events("callback"))
    await half_way(it, records=2)
    await it.kill()
    await it.run(grouped=grouped)
    assert it.ends() == [("success", "a", "")]
    assert it.events("registered") == []
    assert sorted(read(it.events("success"))) == sorted(
        [body("x", 1000), body("y", SIZE), body("z", SIZE)]
    )
    called = [one["url"] for one in it.events("callback")]
    assert sorted(called) == sorted(set(called))
    assert set(called) >= set(urls[1:])
    assert it.events("errback") == []
    assert len(site.of("/file/x")) == 1
    assert all(len(site.of(f"/slow/{name}")) == 2 for name in "yz")
    assert it.parts() == {}


@pytest.mark.parametrize("count", [{"requests": 2}, {}])
async def test_callbacks_are_called_though_the_spider_yields_nothing_again(
    process, site, count
):
    it = process()
    group = {"id": "a", **count}
    urls = [site.url(f"/slow/{name}?{SLOW}") for name in "xy"]
    it.start(grouped=[(url, group) for url in urls])
    await half_way(it, records=2)
    await it.kill()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert sorted(one["url"] for one in it.events("callback")) == urls


async def test_errbacks_are_called_after_a_kill_too(process, site):
    it = process()
    group = {"id": "a", "requests": 2, "download_total": SIZE + 1000}
    urls = [site.url(f"/slow/{name}?{SLOW}&chunked") for name in "xy"]
    grouped = [(url, group) for url in urls]
    it.start(grouped=grouped)
    await half_way(it, records=2)
    await it.kill()
    await it.run(grouped=grouped)
    assert it.ends() == [("fail", "a", "download-total-exceeded")]
    errors = sorted(one["error"] for one in it.events("errback"))
    assert errors == ["AbortError", "DownloadTotalExceeded"]


@pytest.mark.parametrize(
    "at", ["record_settled signal", "record_settled hook", "success signal"]
)
async def test_a_group_that_ends_at_the_next_start_is_not_fetched_again(
    process, site, at
):
    """The spider yields its request again after the group has left its id."""
    it = process()
    url = site.url("/file/x")
    grouped = [(url, {"id": "a", "requests": 1})]
    it.start(grouped=grouped, die_at=at)
    await it.ended()
    await it.run(grouped=grouped)
    assert len(site.of("/file/x")) == 1
    assert it.events("registered") == []
    assert [one["url"] for one in it.events("callback")] == [url]
    assert it.ends() == [("success", "a", "")]


async def test_that_a_body_was_decoded_is_kept_when_it_settles_at_once(process, site):
    """B12: before any checkpoint; its response hides the coding in a later run."""
    it = process()
    url = site.url("/gzip/x?size=1000")
    grouped = [(url, {"id": "a", "requests": 1})]
    it.start(grouped=grouped, die_at="success signal")
    await it.ended()
    assert it.rows("SELECT encoded FROM records") == [(1,)]
    await it.run(grouped=grouped)
    assert [one["url"] for one in it.events("callback")] == [url]


async def test_a_request_with_another_callback_rejoins_its_record(crawl, site):
    """The spider's code has changed in between: the new callback is called."""
    path = f"/slow/x?{SLOW}"
    group = {"id": "a", "requests": 1}

    class Before(Grouped):
        def old(self, response):
            raise AssertionError("the spider was closed before")

    async def first(spider, response):
        spider.closing = asyncio.ensure_future(close_half_way(spider, site))
        return [spider.request(response, path, group, callback=spider.old)]

    async def second(spider, response):
        return [spider.request(response, path, group)]

    await crawl(first, Before)
    spider = await crawl(second)
    assert [one.path.read_bytes() for one in spider.results] == [body("x", SIZE)]
    assert spider.ends() == [("success", "a", "")]
    assert [offset(request) > 0 for request in site.of("/slow/x")] == [False, True]


async def close_half_way(spider, site):
    await until(lambda: site.sent["/slow/x"] > 100_000)
    await spider.crawler.engine.close_spider_async(reason="early")
