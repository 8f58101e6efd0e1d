"""``if_exists``: what ``fetch`` does when the id is active (behaviours 16, 22, 24)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BadRequestError, IdActiveError, NotAllowedError
from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.crawl_process import until
from tests.support.site import body

SLOW = "/slow/x?size=400000&rate=800000"


def urls(handle):
    return [record.url.rpartition("/")[2] for record in handle.records]


@pytest.mark.parametrize("said", ["Keep", "", None, 1, ["keep"]])
async def test_an_unknown_word_is_refused_with_the_four_known_ones(probe, said):
    async def go(spider, response):
        match = re.escape('"error", "keep", "replace", "append"')
        with pytest.raises(BadRequestError, match=match):
            await spider.background_fetch.fetch("a", response.url, if_exists=said)
        assert await spider.background_fetch.get_ids() == []

    await probe(go)


@pytest.mark.parametrize("word", ["error", "keep", "replace", "append"])
async def test_without_an_active_one_all_four_register(fetched, word):
    handle = await fetched("/file/x", options={"if_exists": word})
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == body("x", 1000)


async def test_error_is_what_happens_when_nothing_is_said(probe):
    """16."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", SLOW, base_url=response)
        with pytest.raises(IdActiveError):
            await fetch("a", "/file/y", base_url=response)
        with pytest.raises(IdActiveError):
            await fetch("a", "/file/y", base_url=response, if_exists="error")
        await handle.abort()

    await probe(go)


async def test_keep_returns_the_same_object_and_changes_nothing(probe, site):
    """24: one object for each background fetch; what else is said plays no role."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", SLOW, base_url=response, title="first")
        again = await fetch(
            "a", "/file/y", base_url=response, title="second", if_exists="keep"
        )
        assert again is handle
        assert (again.title, len(again.records)) == ("first", 1)
        await again.settled()

    spider = await probe(go)
    assert spider.names("progress", "record_settled") == ["registered", "success"]
    assert site.of("/file/y") == []


async def test_replace_aborts_the_active_one_and_registers_a_new_one(probe, site):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        old = await fetch("a", SLOW, base_url=response)
        new = await fetch("a", "/file/y", base_url=response, if_exists="replace")
        assert new is not old
        assert await spider.background_fetch.get("a") is new
        await old.settled()
        await new.settled()
        assert (old.failure_reason, new.result) == ("aborted", "success")

    spider = await probe(go)
    ends = [(name, one.records[0].url) for name, one, _ in spider.events]
    ends = [end for end in ends if end[0] in {"abort", "success", "fail"}]
    assert sorted(ends) == [("abort", site.url(SLOW)), ("success", site.url("/file/y"))]


class Vetoes:
    """A plug-in that refuses what is called so."""

    @hookimpl
    def bgfetch_register(self, registration):
        if registration.title == "unwanted":
            raise ValueError("no")


async def test_replace_aborts_also_when_the_new_one_is_refused(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        old = await fetch("a", SLOW, base_url=response)
        with pytest.raises(NotAllowedError):
            await fetch("a", response.url, title="unwanted", if_exists="replace")
        assert await spider.background_fetch.get("a") is None
        assert (await old.settled()).failure_reason == "aborted"

    await probe(go, BGFETCH_PLUGINS=[Vetoes])


async def test_append_adds_the_requests_to_the_active_one(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", SLOW, base_url=response, title="first")
        post = Request(response.urljoin("/echo"), method="POST", body=b"12345")
        again = await fetch(
            "a",
            ["/file/y", post],
            base_url=response,
            title="second",
            download_total=1,
            if_exists="append",
        )
        assert again is handle
        assert (handle.title, handle.download_total) == ("first", 0)
        assert (len(handle.records), handle.upload_total) == (3, 5)
        await handle.settled()
        assert handle.result == "success"
        assert handle.uploaded == 5
        assert handle.records[1].path.read_bytes() == body("y", 1000)
        assert [record.index for record in handle.records] == [0, 1, 2]

    spider = await probe(go)
    assert spider.names("progress").count("success") == 1
    assert spider.names().count("record_settled") == 3


async def test_an_appended_body_counts_against_the_budget(probe):
    """50."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", SLOW, base_url=response, download_total=400_500)
        await fetch("a", "/file/y", base_url=response, if_exists="append")
        await handle.settled()
        assert handle.failure_reason == "download-total-exceeded"

    await probe(go)


async def test_integrity_holds_for_appended_requests(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", SLOW, base_url=response)
        wrong = {"sha256": "0" * 64}
        await fetch(
            "a", "/file/y", base_url=response, integrity=wrong, if_exists="append"
        )
        await handle.settled()
        reasons = [record.failure_reason for record in handle.records]
        assert reasons == ["", "fetch-error"]

    await probe(go)


async def test_append_to_a_paused_one_waits_with_it(probe, site):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", SLOW, base_url=response)
        await handle.pause()
        await fetch("a", "/file/y", base_url=response, if_exists="append")
        post = Request(response.urljoin("/echo"), method="POST", body=b"1")
        with pytest.raises(BadRequestError, match="paused"):
            await fetch("a", post, if_exists="append")
        assert len(handle.records) == 2
        await until(lambda: handle.records[1].state == "pending")
        await handle.resume()
        await handle.settled()
        assert handle.result == "success"

    await probe(go)


async def test_append_to_grouped_requests_is_refused_clearly(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        meta = {"bgfetch": {"id": "a", "requests": 1}}
        url = response.urljoin(SLOW)
        spider.crawler.engine.crawl(Request(url, callback=spider.keep, meta=meta))
        while await spider.background_fetch.get("a") is None:
            await asyncio.sleep(0.005)
        with pytest.raises(BadRequestError, match="grouped requests"):
            await fetch("a", response.urljoin("/file/y"), if_exists="append")
        kept = await fetch("a", response.urljoin("/file/y"), if_exists="keep")
        assert kept.records[0].url == url

    spider = await probe(go)
    assert [response.size for response in spider.results] == [400_000]


class AtTheEnd:
    """A plug-in that fetches for an id while it is ending, or at its last record."""

    def __init__(self, crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    @hookimpl
    async def bgfetch_record_settled(self, registration, record):
        spider = self.crawler.spider
        if record.url.endswith("/first"):
            spider.again = await spider.background_fetch.fetch(
                "a", spider.page.replace("/page", "/file/y"), if_exists="append"
            )


async def test_append_from_the_hook_of_the_last_record_still_joins(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", "/file/first", base_url=response)
        await handle.settled()
        assert spider.again is handle
        assert urls(handle) == ["first", "y"]
        assert handle.result == "success"

    spider = await probe(go, BGFETCH_PLUGINS=[AtTheEnd])
    assert spider.names().count("success") == 1


async def test_the_end_waits_for_requests_that_are_being_written_down(
    probe, monkeypatch
):
    """All records have ended meanwhile, and nobody else keeps the group open."""
    extend, all_ended = SQLiteStore.extend, asyncio.Event()

    async def late(*args, **kwargs):
        await asyncio.wait_for(all_ended.wait(), 20)
        return await extend(*args, **kwargs)

    monkeypatch.setattr(SQLiteStore, "extend", late)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", "/file/x", base_url=response)
        adding = asyncio.ensure_future(
            fetch("a", "/file/y", base_url=response, if_exists="append")
        )
        await until(lambda: handle.records[0]._live.announced, 20)
        all_ended.set()
        assert await adding is handle
        await handle.settled()
        assert [one.state for one in handle.records] == ["settled", "settled"]
        assert handle.result == "success"

    spider = await probe(go)
    assert spider.names("progress", "record_settled") == ["registered", "success"]


@pytest.mark.parametrize("word", ["append", "replace"])
async def test_one_that_ends_at_this_instant_is_followed_by_a_new_one(probe, word):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        old = await fetch("a", SLOW, base_url=response)
        aborting = asyncio.ensure_future(old.abort())
        await asyncio.sleep(0)
        assert await spider.background_fetch.get("a") is old
        new = await fetch("a", "/file/y", base_url=response, if_exists=word)
        assert await aborting
        assert new is not old
        await new.settled()
        assert (old.failure_reason, new.result) == ("aborted", "success")
        assert (urls(old), urls(new)) == (["x?size=400000&rate=800000"], ["y"])

    await probe(go)


# -- races (16) ---------------------------------------------------------------------


async def race(spider, response, word, count=5):
    fetch = spider.background_fetch.fetch
    calls = [
        fetch("a", f"{SLOW}&n={number}", base_url=response, if_exists=word)
        for number in range(count)
    ]
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_of_racing_errors_exactly_one_wins(probe):
    async def go(spider, response):
        made = await race(spider, response, "error")
        failed = [one for one in made if isinstance(one, IdActiveError)]
        assert len(failed) == 4
        await (await spider.background_fetch.get("a")).abort()

    await probe(go)


async def test_racing_keeps_all_get_the_one_that_was_registered(probe):
    async def go(spider, response):
        made = await race(spider, response, "keep")
        assert len(set(map(id, made))) == 1
        await made[0].abort()

    spider = await probe(go)
    assert spider.names().count("registered") == 1


async def test_racing_replaces_end_with_one_active(probe):
    async def go(spider, response):
        made = await race(spider, response, "replace")
        active = await spider.background_fetch.get("a")
        assert len(set(map(id, made))) == 5
        assert active in made
        for one in set(made) - {active}:
            assert (await one.settled()).failure_reason == "aborted"
        await active.settled()
        assert active.result == "success"

    spider = await probe(go)
    names = spider.names("progress", "record_settled")
    assert (names.count("abort"), names.count("success")) == (4, 1)


async def test_racing_appends_end_in_one_with_all_of_the_requests(probe):
    async def go(spider, response):
        made = await race(spider, response, "append")
        (handle,) = set(made)
        assert len(handle.records) == 5
        assert len({record.url for record in handle.records}) == 5
        await handle.settled()
        assert handle.result == "success"

    await probe(go)


async def test_an_append_races_the_end_and_no_request_is_lost(probe):
    """Whether it joins or begins anew: each request is fetched once, with one event."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        made = []
        for number in range(60):
            made.append(
                await fetch(
                    "a", f"/file/{number}", base_url=response, if_exists="append"
                )
            )
            if number % 3 == 0:
                await asyncio.sleep(0.001 * (number % 7))
        handles = set(made)
        for handle in handles:
            await handle.settled()
            assert handle.result == "success"
        found = [url for handle in handles for url in urls(handle)]
        assert sorted(found, key=int) == [str(number) for number in range(60)]
        spider.count = len(handles)

    spider = await probe(go)
    assert spider.names().count("success") == spider.count


# -- restarts -----------------------------------------------------------------------


def fetch(site, *paths, **options):
    return {"id": "a", "requests": [site.url(path) for path in paths], **options}


async def test_after_a_kill_keep_gets_what_is_taken_up(process, site):
    crawl = process(BGFETCH_CHECKPOINT_INTERVAL=0.02)
    wanted = fetch(site, SLOW, if_exists="keep")
    crawl.start(fetch=[wanted])
    await until(lambda: any(crawl.unfinished()))
    await crawl.kill()
    await crawl.run(fetch=[wanted])
    assert crawl.events("registered") == []
    assert crawl.ends() == [("success", "a", "")]
    (said,) = crawl.events("success")
    assert len(said["paths"]) == 1
    assert "Range" in site.of("/slow/x")[-1].headers


async def test_appended_requests_survive_a_kill(process, site):
    crawl = process(BGFETCH_CHECKPOINT_INTERVAL=0.02)
    first = fetch(site, SLOW)
    more = fetch(site, "/slow/y?size=400000&rate=400000", "/file/z", if_exists="append")
    crawl.start(fetch=[first, more])
    await until(lambda: len(crawl.rows("SELECT 1 FROM records")) == 3)
    await crawl.kill()
    assert crawl.rows("SELECT expected FROM registrations") == [(3,)]
    await crawl.run()
    assert crawl.ends() == [("success", "a", "")]
    (said,) = crawl.events("success")
    sizes = [Path(path).stat().st_size for path in said["paths"]]
    assert sizes == [400_000, 400_000, 1000]
