"""Grouped requests that join their group together, in one commit (issue 5)."""

from __future__ import annotations

import asyncio

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError, StoreError, StoreFull
from scrapy_bgfetch.extension import BackgroundFetchExtension
from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.crawl_process import until
from tests.support.grouped import Grouped
from tests.support.raw import answer
from tests.support.site import body


@pytest.fixture(autouse=True)
def _all_wait(monkeypatch):
    """Let a group be opened so late that all of its requests wait for that."""
    register = SQLiteStore.register

    async def late(store, *args):
        await asyncio.sleep(0.3)
        return await register(store, *args)

    monkeypatch.setattr(SQLiteStore, "register", late)


@pytest.fixture
def extended(monkeypatch):
    """How many records each statement has added."""
    added, extend = [], SQLiteStore.extend

    async def noted(store, uid, records, *args, **kwargs):
        added.append(len(records))
        return await extend(store, uid, records, *args, **kwargs)

    monkeypatch.setattr(SQLiteStore, "extend", noted)
    return added


async def test_requests_that_wait_for_their_group_join_it_together(crawl, extended):
    async def go(spider, response):
        return [spider.request(response, f"/file/{n}", "a") for n in range(8)]

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.results) == 8
    assert extended == [7]  # the first one has opened it


async def test_one_that_cannot_be_kept_does_not_keep_the_others(crawl):
    async def go(spider, response):
        found = [spider.request(response, f"/file/{n}", "a") for n in range(8)]
        found[5] = found[5].replace(callback=lambda response: None)
        return found

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.handle().records) == 7
    (error,) = spider.failures
    assert isinstance(error, BadRequestError)


async def test_those_beyond_the_number_of_a_group_fail_alone(crawl):
    async def go(spider, response):
        group = {"id": "a", "requests": 5}
        return [spider.request(response, f"/file/{n}", group) for n in range(8)]

    spider = await crawl(go)
    assert ("success", "a", "") in spider.ends()
    assert len(spider.results) == 5
    errors = spider.failures
    assert len(errors) == 3
    assert all("all of its 5 requests" in str(error) for error in errors)


async def test_one_that_cannot_be_kept_takes_no_others_place(crawl):
    async def go(spider, response):
        group = {"id": "a", "requests": 5}
        found = [spider.request(response, f"/file/{n}", group) for n in range(6)]
        found[2] = found[2].replace(callback=lambda response: None)
        return found

    spider = await crawl(go)
    assert len(spider.results) == 5
    assert len(spider.failures) == 1


async def test_records_are_in_the_order_of_the_requests(crawl):
    async def go(spider, response):
        def ask(n, **said):
            group = {"id": "a", "requests": 9, **said}
            return spider.request(response, f"/file/{n}", group, priority=-n)

        return [*(ask(n) for n in range(4)), ask(4, title="T"), *map(ask, range(5, 9))]

    spider = await crawl(go)
    urls = [record.url for record in spider.handle().records]
    assert [int(url[-1]) for url in urls] == list(range(9))


async def test_they_fail_when_the_state_does(crawl, monkeypatch):
    async def failing(*args, **kwargs):
        raise StoreError("no state")

    monkeypatch.setattr(SQLiteStore, "extend", failing)

    async def go(spider, response):
        return [spider.request(response, f"/file/{n}", "a") for n in range(4)]

    spider = await crawl(go)
    errors = spider.failures
    assert [str(error) for error in errors] == ["no state"] * 3


async def test_the_state_is_told_again_what_it_could_not_keep_of_a_group(
    crawl, monkeypatch
):
    amend, amended = SQLiteStore.amend, []

    async def full_at_first(store, uid, **changes):
        amended.append(changes["download_total"])
        if len(amended) == 1:
            raise StoreFull("no room")
        await amend(store, uid, **changes)

    monkeypatch.setattr(SQLiteStore, "amend", full_at_first)

    async def go(spider, response):
        first = spider.request(response, "/file/0", "a", priority=10)
        group = {"id": "a", "download_total": 10**7}
        return [first, *(spider.request(response, f"/file/{n}", group) for n in "123")]

    spider = await crawl(go)
    assert not spider.failures
    assert amended == [10**7, 10**7]


async def test_bytes_left_behind_are_no_two_files_after_a_failed_commit(
    crawl, raw, monkeypatch, tmp_path
):
    """A file name that stays would let one record write into another's bytes."""
    bodies = {f"/{n}": body(f"old{n}", 60_000) for n in range(4)}

    async def cut_off(spider, response):
        return [
            spider.request(
                response,
                raw.says(path, answer(text[:20_000], 'ETag: "1"', length=60_000)),
                {"id": "a", "requests": 4},
            )
            for path, text in bodies.items()
        ]

    await crawl(cut_off, BGFETCH_RESUMPTIONS=0)
    extend, calls = SQLiteStore.extend, []

    async def full_at_first(store, uid, records, *args, **kwargs):
        calls.append(len(records))
        if len(calls) == 1:
            raise StoreFull("no room")
        return await extend(store, uid, records, *args, **kwargs)

    monkeypatch.setattr(SQLiteStore, "extend", full_at_first)

    async def whole(spider, response):
        first = Request(
            raw.says("/x", answer(b"x")),
            meta={"bgfetch": "a"},
            callback=spider.keep,
            priority=10,
        )
        for path, text in bodies.items():
            raw.says(path, answer(text, 'ETag: "1"'))
        urls = [raw.says(path, answer(text)) for path, text in bodies.items()]
        return [first, *(spider.request(response, url, "a") for url in urls)]

    spider = await crawl(whole)
    assert calls == [4, 1, 1, 1, 1]
    kept = {r.url[-2:]: r.path.read_bytes() for r in spider.results}
    assert kept == {**bodies, "/x": b"x"}
    files = [path for path in (tmp_path / "bgfetch").rglob("*") if path.is_file()]
    assert all(path.stat().st_nlink == 1 for path in files)


class Late(Grouped):
    """Yields ``late`` in a callback once ``when`` holds."""

    when = None
    late = ()

    async def more(self, response):
        await until(self.when)
        for path, group in self.late:
            yield self.request(response, path, group)


async def test_requests_that_meet_the_end_of_their_group_open_none_without_its_budget(
    crawl, site, monkeypatch
):
    amend = SQLiteStore.amend

    async def until_it_has_ended(store, uid, **changes):
        if "options" in changes:
            await until(spiders[0].ends)
        await amend(store, uid, **changes)

    monkeypatch.setattr(SQLiteStore, "amend", until_it_has_ended)
    spiders = []

    async def go(spider, response):
        spiders.append(spider)
        spider.when = lambda: site.streaming == 1
        said = {"id": "a", "title": "T"}
        spider.late = [(f"/file/late{n}", said) for n in range(3)]
        group = {"id": "a", "requests": 5, "download_total": 9000}
        slow = "/slow/x?size=50000&rate=20000&chunked"
        more = Request(response.urljoin("/page2"), callback=spider.more)
        return [spider.request(response, slow, group), more]

    spider = await crawl(go, Late)
    assert spider.ends() == [("fail", "a", "download-total-exceeded")]
    assert not any("late" in path for path in site.paths())
    assert len(spider.failures) == 4


async def test_who_gives_up_while_its_group_ends_opens_no_other(
    crawl, site, monkeypatch
):
    extend = SQLiteStore.extend

    async def given_up(store, *args, **kwargs):
        spiders[0].parked.cancel()
        await until(spiders[0].ends)
        return await extend(store, *args, **kwargs)

    monkeypatch.setattr(SQLiteStore, "extend", given_up)
    spiders = []

    class GivesUp(Grouped):
        async def more(self, response):
            await until(lambda: site.streaming == 1)
            self.parked = park(self, self.request(response, "/file/late", "a"))
            await asyncio.wait([self.parked])

    async def go(spider, response):
        spiders.append(spider)
        slow = "/slow/x?size=50000&rate=20000&chunked"
        group = {"id": "a", "download_total": 9000}
        more = Request(response.urljoin("/page2"), callback=spider.more)
        return [spider.request(response, slow, group), more]

    spider = await crawl(go, GivesUp)
    assert spider.parked.cancelled()
    assert spider.ends() == [("fail", "a", "download-total-exceeded")]
    assert not any("late" in path for path in site.paths())


async def test_who_gives_up_takes_no_record_of_an_earlier_run(crawl, site, monkeypatch):
    slow = "/slow/x?size=50000&rate=20000"

    async def stop(spider, response):
        async def close():
            await until(lambda: site.streaming == 1)
            await spider.crawler.engine.close_spider_async(reason="shutdown")

        spider.closing = asyncio.ensure_future(close())
        return [spider.request(response, slow, "a")]

    await crawl(stop)
    site.hurried = True
    amend, parked = SQLiteStore.amend, []

    async def given_up(store, uid, **changes):
        if "options" in changes:
            parked[0].cancel()
            await asyncio.sleep(0)
        await amend(store, uid, **changes)

    monkeypatch.setattr(SQLiteStore, "amend", given_up)

    async def again(spider, response):
        request = spider.request(response, slow, {"id": "a", "title": "T"})
        parked.append(park(spider, request))
        await asyncio.wait(parked)
        return [spider.request(response, slow, "a")]

    spider = await crawl(again)
    assert parked[0].cancelled()
    assert [response.url.endswith(slow) for response in spider.results] == [True]


async def test_a_number_that_is_said_when_so_many_have_settled_ends_the_group(
    crawl, site
):
    async def go(spider, response):
        spider.when = lambda: spider.results
        spider.late = [("/file/late", {"id": "a", "requests": 1})]
        more = Request(response.urljoin("/page2"), callback=spider.more)
        return [spider.request(response, "/file/x", "a"), more]

    spider = await asyncio.wait_for(crawl(go, Late), 20)
    assert spider.ends() == [("success", "a", "")]
    assert "all of its 1 requests" in str(spider.failures[0])


def park(spider, request):
    extension = spider.crawler.get_extension(BackgroundFetchExtension)
    return asyncio.ensure_future(extension.grouping.park(request))
