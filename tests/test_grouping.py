"""Ordinary requests grouped by meta: DESIGN, "Grouping ordinary requests"."""

from __future__ import annotations

import asyncio

import pytest
from scrapy import Request, signals

from scrapy_bgfetch import BackgroundFetchResponse
from scrapy_bgfetch.exceptions import (
    BadRequestError,
)
from tests.support.crawl import run
from tests.support.grouped import Grouped
from tests.support.site import body


@pytest.mark.parametrize("dict_first", [True, False])
async def test_requests_of_one_id_form_one_background_fetch(crawl, dict_first):
    groups = [{"id": "ep-5", "requests": 2, "title": "Episode 5"}, "ep-5"]
    if not dict_first:
        groups.reverse()

    async def go(spider, response):
        return [
            spider.request(response, f"/file/{n}", group)
            for n, group in enumerate(groups)
        ]

    spider = await crawl(go)
    assert spider.ends() == [("success", "ep-5", "")]
    assert spider.names("progress").count("registered") == 1
    handle = spider.handle()
    assert (handle.title, handle.downloaded, len(handle.records)) == (
        "Episode 5",
        2000,
        2,
    )
    assert {answer.url for answer in spider.results} == {
        record.url for record in handle.records
    }


async def test_without_a_count_a_group_settles_when_the_spider_is_idle(crawl):
    async def go(spider, response):
        return [spider.request(response, f"/file/{n}", "a") for n in range(3)]

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.results) == 3


async def test_with_a_count_a_group_settles_while_the_spider_is_busy(crawl):
    class Busy(Grouped):
        async def after(self, response):
            self.settled_early = self.ends()

    async def go(spider, response):
        group = {"id": "a", "requests": 1}
        yielded = [spider.request(response, "/file/x", group)]
        slow = response.urljoin("/slow/page?size=1000&rate=1000")
        return [*yielded, Request(slow, callback=spider.after)]

    spider = await crawl(go, Busy)
    assert spider.settled_early == [("success", "a", "")]


async def test_groups_of_different_ids_settle_apart(crawl):
    async def go(spider, response):
        return [
            spider.request(response, path, group)
            for path, group in [
                ("/file/1", "a"),
                ("/status/404", "b"),
                ("/file/2", "a"),
                ("/file/3", "b"),
            ]
        ]

    spider = await crawl(go)
    assert sorted(spider.ends()) == [("fail", "b", "bad-status"), ("success", "a", "")]
    assert len(spider.results) == 3


async def test_a_callback_gets_a_response_whose_body_is_on_disk(crawl):
    async def go(spider, response):
        return [spider.request(response, "/file/x?size=70000", "a")]

    (answer,) = (await crawl(go)).results
    assert isinstance(answer, BackgroundFetchResponse)
    assert (answer.status, answer.body, answer.size) == (200, b"", 70000)
    assert answer.path.read_bytes() == body("x", 70000)
    assert "bgfetch" in answer.flags


async def test_meta_and_cb_kwargs_arrive_at_the_callback(crawl):
    class Kwargs(Grouped):
        def parse_file(self, response, number, names):
            self.got = (number, names, response.meta["mine"])

    async def go(spider, response):
        return [
            spider.request(
                response,
                "/file/x",
                "a",
                callback=spider.parse_file,
                cb_kwargs={"number": 5, "names": ["x", "y"]},
                meta={"mine": {"deep": [1]}},
            )
        ]

    spider = await crawl(go, Kwargs)
    assert spider.got == (5, ["x", "y"], {"deep": [1]})


async def test_requests_join_in_the_order_of_their_priority(crawl):
    """The scheduler's order is kept: it is asked for each of them as usual."""

    class Later(Grouped):
        def more(self, response):
            for priority in (0, 20, 10):
                path = f"/file/{priority}"
                yield self.request(response, path, "a", priority=priority)

    async def go(spider, response):
        return [Request(response.urljoin("/page2"), callback=spider.more)]

    spider = await crawl(go, Later)
    paths = [record.url.rpartition("/")[2] for record in spider.handle().records]
    assert paths == ["20", "10", "0"]


async def test_the_duplicate_filter_works_as_usual(crawl, site):
    async def go(spider, response):
        return [spider.request(response, "/file/x", "a") for _ in range(2)]

    spider = await crawl(go)
    assert len(site.of("/file/x")) == len(spider.results) == 1
    assert spider.crawler.stats.get_value("dupefilter/filtered") == 1


async def test_a_callback_may_yield_one_more_request_into_its_open_group(crawl):
    class More(Grouped):
        def first(self, response):
            self.results.append(response)
            yield self.request(response, "/file/second", "a")

    async def go(spider, response):
        return [spider.request(response, "/file/first", "a", callback=spider.first)]

    spider = await crawl(go, More)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.handle().records) == 2
    assert len(spider.results) == 2


async def test_a_request_that_comes_after_its_group_has_settled_opens_a_new_one(crawl):
    """Behaviours 28, 29."""

    class More(Grouped):
        async def first(self, response):
            self.results.append(response)
            while await self.background_fetch.get("a"):
                await asyncio.sleep(0.01)
            yield self.request(response, "/file/second", {"id": "a", "requests": 1})

    async def go(spider, response):
        group = {"id": "a", "requests": 1}
        return [spider.request(response, "/file/1", group, callback=spider.first)]

    spider = await crawl(go, More)
    assert spider.ends() == [("success", "a", "")] * 2
    uids = {handle.uid for name, handle, _ in spider.events if name == "registered"}
    assert len(uids) == 2


async def test_parked_requests_take_none_of_the_crawls_slots(crawl, site):
    class Pages(Grouped):
        async def page_done(self, response):
            self.keep_page(response)
            if len(self.pages) == 10:
                handle = await self.background_fetch.get("a")
                self.open_when_pages_ended = len(handle.records)
                await handle.abort()

    async def go(spider, response):
        slow = [
            spider.request(
                response, f"/slow/{n}?size=500000&rate=5000", "a", priority=10
            )
            for n in range(30)
        ]
        pages = [
            Request(response.urljoin(f"/page{n}"), callback=spider.page_done)
            for n in range(10)
        ]
        return slow + pages

    spider = await crawl(go, Pages, CONCURRENT_REQUESTS=1, BGFETCH_CONCURRENT_RECORDS=2)
    assert len(spider.pages) == 10
    assert spider.open_when_pages_ended == 30
    assert len(spider.failures) == 30
    assert len(site.closed) == 2


async def test_what_reaches_the_downloader_is_only_the_attempts(crawl):
    reached = []

    async def go(spider, response):
        def note(request, spider):
            reached.append((request.url, request.meta.get("bgfetch")))

        spider.crawler.signals.connect(note, signals.request_reached_downloader)
        spider.note_reached = note
        return [spider.request(response, f"/file/{n}", "a") for n in range(3)]

    await crawl(go)
    assert len(reached) == 3
    assert all(set(value) == {"attempt"} for _, value in reached)
    assert not any(url.startswith("data:") for url, _ in reached)


async def test_nothing_of_the_parking_shows_in_the_crawls_stats(crawl, site):
    async def go(spider, response):
        return [spider.request(response, f"/file/{n}", "a") for n in range(3)]

    spider = await crawl(go)
    stats = spider.crawler.stats.get_stats()
    assert len(site.seen) == 4
    assert stats["downloader/request_count"] == 4
    assert stats["bgfetch/registered"] == stats["bgfetch/success"] == 1
    assert stats["bgfetch/record_settled/success"] == 3
    assert stats["bgfetch/downloaded_bytes"] == stats["bgfetch/wire_bytes"] == 3000
    polluted = ("exception", "log_count/ERROR", "retry", "filtered", "dropped")
    assert [name for name in stats if any(word in name for word in polluted)] == []


async def test_the_http_cache_neither_keeps_nor_answers_grouped_requests(
    crawl, site, tmp_path
):
    async def go(spider, response):
        return [spider.request(response, "/file/x", "a")]

    cache = {"HTTPCACHE_ENABLED": True, "HTTPCACHE_DIR": str(tmp_path / "cache")}
    for turn in range(2):
        spider = await crawl(go, **cache)
        assert spider.results[0].path.read_bytes() == body("x", 1000)
        stats = spider.crawler.stats.get_stats()
        assert stats.get("httpcache/store", 0) == (1 if turn == 0 else 0)
        assert stats.get("httpcache/hit", 0) == turn
    assert len(site.of("/page")) == 1
    assert len(site.of("/file/x")) == 2


async def test_grouped_requests_pass_through_the_disk_queues_of_a_jobdir(
    site, settings, tmp_path
):
    async def go(spider, response):
        group = {"id": "a", "requests": 5, "download_total": 100_000}
        return [
            spider.request(response, f"/file/{n}", group, cb_kwargs={})
            for n in range(5)
        ]

    options = settings(JOBDIR=str(tmp_path / "job"), BGFETCH_DIR=None)
    spider = await run(Grouped, options, page=site.url("/page"), go=go)
    stats = spider.crawler.stats.get_stats()
    assert stats["scheduler/enqueued/disk"] == stats["scheduler/enqueued"]
    assert "scheduler/unserializable" not in stats
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.results) == 5
    folder = tmp_path / "job" / "bgfetch"
    assert all(folder in answer.path.parents for answer in spider.results)


async def test_a_callback_that_is_no_method_of_the_spider_is_refused(crawl):
    async def go(spider, response):
        callback = lambda response: None  # noqa: E731
        return [spider.request(response, "/file/x", "a", callback=callback)]

    spider = await crawl(go)
    (error,) = spider.failures
    assert isinstance(error, BadRequestError)
    assert "methods of the spider" in str(error)


async def test_a_handle_of_grouped_requests_is_found_by_get(crawl):
    class Looks(Grouped):
        async def look(self, response):
            handle = await self.background_fetch.get("a")
            self.found = await handle.match(response.url)

    async def go(spider, response):
        return [spider.request(response, "/file/x", "a", callback=spider.look)]

    spider = await crawl(go, Looks)
    assert spider.found.path.read_bytes() == body("x", 1000)
    assert spider.found.registration is spider.handle()


async def test_the_request_of_a_record_that_has_ended_can_be_read(crawl):
    """Behaviour 78: a copy; its callback has been called already."""

    async def go(spider, response):
        return [spider.request(response, "/file/x", "a", meta={"mine": 1})]

    record = (await crawl(go)).handle().records[0]
    assert record.request.url == record.url
    assert record.request.meta["mine"] == 1
