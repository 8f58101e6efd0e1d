"""Grouped requests around the end of their group, and over a restart."""

from __future__ import annotations

import asyncio
import logging

import pytest
from scrapy import Request

from scrapy_bgfetch import BackgroundFetchResponse, hookimpl
from scrapy_bgfetch.exceptions import AbortError, DownloadTotalExceeded
from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.site import body

ENDS = ("success", "fail", "abort")


class Grouped(Probe):
    """Keeps what callbacks and errbacks got."""

    def request(self, path, group, **kwargs):
        kwargs = {"callback": self.keep, "errback": self.keep_failure, **kwargs}
        url = self.page.rpartition("/")[0] + path
        return Request(url, meta={"bgfetch": group}, **kwargs)

    def urls(self):
        return sorted(response.url.rpartition("/")[2] for response in self.results)

    def ends(self):
        return [
            (name, handle.failure_reason)
            for name, handle, _ in self.events
            if name in ENDS
        ]


@pytest.fixture
def crawl(site, settings):
    async def start(go, spidercls=Grouped, **more):
        return await run(spidercls, settings(**more), page=site.url("/page"), go=go)

    return start


@pytest.fixture
def ending(monkeypatch):
    """Hold the end of each group until the test lets it go; it is a slow disk."""

    class Ending:
        begun, go_on = False, None

    settle = SQLiteStore.settle

    async def slowly(*args, **kwargs):
        Ending.begun = True
        await Ending.go_on.wait()
        return await settle(*args, **kwargs)

    monkeypatch.setattr(SQLiteStore, "settle", slowly)
    return Ending


class Joins(Grouped):
    """Yields a second request of the group while the group ends."""

    ending = late_group = None

    async def start(self):
        self.ending.go_on = asyncio.Event()
        async for request in super().start():
            yield request

    async def late(self, response):
        await until(lambda: self.ending.begun)
        asyncio.get_running_loop().call_later(0.2, self.ending.go_on.set)
        yield self.request("/file/late", self.late_group)


async def test_a_request_that_comes_while_its_group_succeeds_opens_a_new_one(
    crawl, ending
):
    """Behaviours 28, 29."""

    class Late(Joins):
        pass

    Late.ending, Late.late_group = ending, {"id": "a", "requests": 1}

    async def go(spider, response):
        first = spider.request("/file/x", {"id": "a", "requests": 1})
        return [first, Request(response.urljoin("/page2"), callback=spider.late)]

    spider = await crawl(go, Late)
    assert spider.urls() == ["late", "x"]
    assert spider.failures == []
    assert spider.ends() == [("success", "")] * 2


@pytest.mark.parametrize("late_group", ["a", {"id": "a", "requests": 2}])
async def test_a_request_that_comes_while_its_group_fails_shares_the_failure(
    crawl, site, ending, late_group
):
    class Late(Joins):
        pass

    Late.ending, Late.late_group = ending, late_group

    async def go(spider, response):
        group = {"id": "a", "requests": 2, "download_total": 500}
        first = spider.request("/file/x", group)
        return [first, Request(response.urljoin("/page2"), callback=spider.late)]

    spider = await crawl(go, Late)
    kinds = [type(error) for error in spider.failures]
    assert kinds == [DownloadTotalExceeded] * 2
    assert spider.ends() == [("fail", "download-total-exceeded")]
    assert site.of("/file/late") == []


class After(Grouped):
    """Yields more requests of the group when it has ended."""

    count = 1

    async def more(self, response):
        await until(self.ends)
        for n in range(self.count):
            yield self.request(f"/file/late{n}", "a")


@pytest.mark.parametrize("count", [{"requests": 3}, {}])
async def test_later_requests_of_a_group_over_its_budget_open_no_unlimited_one(
    crawl, site, count
):
    """Behaviour 50: the errback of each says why."""

    class Two(After):
        count = 2

    async def go(spider, response):
        group = {"id": "a", "download_total": 500, **count}
        first = spider.request("/file/x", group)
        return [first, Request(response.urljoin("/page2"), callback=spider.more)]

    spider = await crawl(go, Two)
    assert [type(error) for error in spider.failures] == [DownloadTotalExceeded] * 3
    late = [error for error in spider.failures if "late" in str(error)]
    assert len(late) == 2
    assert all("'a'" in str(error) for error in late)
    assert all(error.registration.id == "a" for error in late)
    assert spider.results == []
    assert spider.ends() == [("fail", "download-total-exceeded")]
    assert not any("late" in path for path in site.paths())


async def test_later_requests_of_a_group_that_was_aborted_get_an_abort_error(
    crawl, site
):
    async def go(spider, response):
        group = {"id": "a", "requests": 2}
        first = spider.request("/slow/x?size=5000000&rate=100000", group)
        spider.aborting = asyncio.ensure_future(abort(spider))
        return [first, Request(response.urljoin("/page2"), callback=spider.more)]

    async def abort(spider):
        await until(lambda: site.streaming == 1)
        handle = await spider.background_fetch.get("a")
        await handle.abort()

    spider = await crawl(go, After)
    assert [type(error) for error in spider.failures] == [AbortError] * 2
    assert spider.ends() == [("abort", "aborted")]
    assert site.of("/file/late0") == []


async def test_when_all_requests_of_a_failed_group_have_come_its_id_is_free(crawl):
    """Behaviours 28, 29: the next of that id are a new group."""

    class Two(After):
        count = 2

    async def go(spider, response):
        group = {"id": "a", "download_total": 500, "requests": 2}
        first = spider.request("/file/x", group)
        return [first, Request(response.urljoin("/page2"), callback=spider.more)]

    spider = await crawl(go, Two)
    assert [type(error) for error in spider.failures] == [DownloadTotalExceeded] * 2
    assert len(spider.urls()) == 1
    assert spider.ends() == [("fail", "download-total-exceeded"), ("success", "")]


async def test_a_meta_that_was_copied_from_a_record_makes_no_record(crawl, site):
    class Follows(Grouped):
        def first(self, response):
            self.results.append(response)
            url = response.urljoin("/page2")
            yield Request(url, meta=response.meta, callback=self.keep)

    async def go(spider, response):
        group = {"id": "a", "requests": 1}
        return [spider.request("/file/x", group, callback=spider.first)]

    spider = await crawl(go, Follows)
    first, second = spider.results
    assert isinstance(first, BackgroundFetchResponse)
    assert first.path.read_bytes() == body("x", 1000)
    assert not isinstance(second, BackgroundFetchResponse)
    assert (second.url, second.text) == (
        site.url("/page2"),
        "<html><body>hello</body></html>",
    )
    assert spider.ends() == [("success", "")]
    assert len(site.of("/page2")) == 1


# -- over a restart ----------------------------------------------------------------


class Stopped(Grouped):
    """Closes when its records are half-way."""

    async def stop(self, response):
        await until(lambda: len(self.records()) == self.wanted)
        await until(lambda: all(r.downloaded > 50_000 for r in self.records()))
        engine = self.crawler.engine
        self.closing = asyncio.ensure_future(engine.close_spider_async(reason="stop"))

    def records(self):
        handles = {one.uid: one for name, one, _ in self.events if name == "registered"}
        return [record for handle in handles.values() for record in handle.records]


async def test_callbacks_are_called_once_in_a_run_however_late_requests_rejoin(
    crawl, site
):
    """A spider without JOBDIR yields its requests again, here after one has ended."""
    paths = ["/slow/x?size=150000&rate=300000", "/slow/y?size=600000&rate=300000"]

    async def go(spider, response):
        spider.wanted = 2
        group = {"id": "a", "requests": 2}
        yielded = [spider.request(path, group) for path in paths]
        return [*yielded, Request(response.urljoin("/page2"), spider.stop)]

    spider = await crawl(go, Stopped)
    assert spider.results == []

    async def again(spider, response):
        await until(lambda: spider.results)
        return [spider.request(path, {"id": "a", "requests": 2}) for path in paths]

    spider = await crawl(again)
    assert spider.urls() == sorted(path.rpartition("/")[2] for path in paths)
    assert spider.failures == []
    assert spider.ends() == [("success", "")]
    assert [len(site.of(f"/slow/{name}")) for name in "xy"] == [2, 2]


async def test_a_callback_that_was_renamed_costs_its_call_and_no_more(
    crawl, site, caplog
):
    class Before(Stopped):
        def old(self, response):
            raise AssertionError("it is not reached in this run")

    paths = [f"/slow/{name}?size=300000&rate=300000" for name in "xyz"]

    async def go(spider, response):
        spider.wanted = 3
        await spider.background_fetch.fetch("c", paths[2], base_url=response)
        return [
            spider.request(paths[0], {"id": "a", "requests": 1}, callback=spider.old),
            spider.request(paths[1], {"id": "b", "requests": 1}),
            Request(response.urljoin("/page2"), spider.stop),
        ]

    await crawl(go, Before)

    async def nothing(spider, response):
        spider.found = await spider.background_fetch.get_ids()

    caplog.clear()
    spider = await crawl(nothing)
    assert sorted(spider.found) == ["a", "b", "c"]
    assert spider.ends() == [("success", "")] * 3
    files = {
        handle.id: handle.records[0].path.read_bytes()
        for name, handle, _ in spider.events
        if name == "success"
    }
    expected = zip("abc", "xyz", strict=True)
    assert files == {id: body(name, 300_000) for id, name in expected}
    assert len(spider.results) == 1
    (error,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    for said in ("/slow/x", "'a'", "callback will not be called", "old"):
        assert said in error.getMessage()


class Holder:
    """Holds the settling of the first record until a second one has come."""

    @hookimpl
    async def bgfetch_record_settled(self, registration, record):
        if record.index == 0:
            await until(lambda: len(registration.records) == 2)


async def test_a_request_may_join_while_the_hooks_of_the_last_record_run(crawl):
    class Idle(Grouped):
        async def second(self, response):
            await until(lambda: "record_settled" in self.names())
            yield self.request("/file/y", "a")

    async def go(spider, response):
        first = spider.request("/file/x", "a")
        return [first, Request(response.urljoin("/page2"), callback=spider.second)]

    spider = await crawl(go, Idle, BGFETCH_PLUGINS=[Holder()])
    assert spider.urls() == ["x", "y"]
    assert spider.ends() == [("success", "")]
