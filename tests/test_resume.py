"""A crawl that ends early is taken up by the next one: DESIGN section 2, "Close"."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from scrapy import Request, signals
from scrapy.exceptions import CloseSpider

from scrapy_bgfetch.exceptions import SuspendedError
from tests.support.crawl import Probe, run
from tests.support.crawl_process import Crawl, until
from tests.support.site import body

SIZE = 400_000
SLOW = f"size={SIZE}&rate=400000"


@pytest.fixture
def crawl(tmp_path):
    """A crawl in a process of its own."""
    crawls = []

    def make(**settings):
        crawls.append(Crawl(tmp_path, **settings))
        return crawls[-1]

    yield make
    for started in crawls:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


async def half_way(crawl, least=100_000, records=1):
    """Wait until the state has so many unfinished records with so many bytes."""

    def reached():
        assert crawl.process.poll() is None, crawl.output.read_text()
        return sum(stored >= least for stored in crawl.unfinished()) >= records

    await until(reached)


def offset(request):
    """Return from which byte a request asks, 0 for a request of everything."""
    value = request.headers.get("Range", "bytes=0-")
    return int(value.removeprefix("bytes=").removesuffix("-"))


def read(events):
    """Return the bodies of what a terminal event lists."""
    (end,) = events
    return [Path(path).read_bytes() for path in end["paths"]]


# -- killed ------------------------------------------------------------------------


async def test_a_killed_crawl_goes_on_by_range_without_being_asked(crawl, site):
    """Behaviours 40, 215."""
    it = crawl()
    urls = [site.url(f"/slow/{name}?{SLOW}") for name in "xy"]
    it.start(fetch=[{"id": "a", "requests": urls}])
    await half_way(it, records=2)
    assert await it.kill() == -signal.SIGKILL
    assert it.ends() == []
    kept = it.parts()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    bodies = read(it.events("success"))
    assert bodies == [body("x", SIZE), body("y", SIZE)]
    assert it.parts() == {}
    for name in "xy":
        first, second = site.of(f"/slow/{name}")
        assert "Range" not in first.headers
        assert 100_000 <= offset(second) <= max(kept.values())
        assert second.headers["If-Range"] == f'"{name}"'
    (closed,) = it.events("closed")
    assert closed["stats"]["bgfetch/resumed"] == 1
    assert closed["stats"]["bgfetch/success"] == 1
    assert "bgfetch/registered" not in closed["stats"]


async def test_a_crawl_may_be_killed_many_times(crawl, site):
    it = crawl(BGFETCH_CHECKPOINT_INTERVAL=0.05)
    url = site.url(f"/slow/x?size={SIZE}&rate=300000")
    it.start(fetch=[{"id": "a", "requests": url}])
    for least in (50_000, 150_000, 250_000):
        await half_way(it, least)
        await it.kill()
        it.start()
    assert await it.ended() == 0
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]
    asked = [offset(request) for request in site.of("/slow/x")]
    assert asked == sorted(asked)
    assert len(set(asked)) == 4


async def test_what_was_delivered_is_not_delivered_again(crawl, site):
    """Behaviour 36: a later run knows nothing of what has ended."""
    it = crawl()
    url = site.url("/file/x")
    await it.run(fetch=[{"id": "a", "requests": url}])
    assert it.ends() == [("success", "a", "")]
    await it.run()
    assert [one["event"] for one in it.events()] == ["closed"]
    assert it.events()[0]["stats"] == {}


@pytest.mark.parametrize(
    ("bad", "options", "reason"),
    [
        ("/status/404", {}, "bad-status"),
        ("http://127.0.0.1:1/x", {}, "fetch-error"),
    ],
)
async def test_a_failure_before_the_kill_still_counts_after_it(
    crawl, site, bad, options, reason
):
    """B1, 31."""
    it = crawl(BGFETCH_RESUMPTIONS=1)
    bad = bad if "://" in bad else site.url(bad)
    slow = site.url(f"/slow/x?{SLOW}")
    it.start(fetch=[{"id": "a", "requests": [bad, slow], **options}])
    await until(lambda: it.events("record_settled"))
    await half_way(it)
    await it.kill()
    await it.run()
    assert it.ends() == [("fail", "a", reason)]
    assert body("x", SIZE) in read(it.events("fail"))
    assert it.parts() == {}
    assert len(site.of("/status/404")) == (reason == "bad-status")


@pytest.mark.parametrize("where", ["record_settled signal", "record_settled hook"])
@pytest.mark.parametrize(
    ("requests", "options", "reason"),
    [
        (
            ["/slow/x?size=500000&rate=100000", "/file/y?size=400000"],
            {"download_total": 300_000},
            "download-total-exceeded",
        ),
        (
            ["/slow/x?size=500000&rate=100000", "/status/404"],
            {"fail_fast": True},
            "bad-status",
        ),
    ],
)
async def test_a_failure_that_ends_all_of_it_does_so_after_a_kill_too(
    crawl, site, requests, options, reason, where
):
    """B1, B2: killed right after the record has settled."""
    it = crawl()
    requests = [site.url(path) for path in requests]
    it.start(
        fetch=[{"id": "a", "requests": requests, **options}],
        die_at=where,
        die_reason=reason,
    )
    assert await it.ended() == -signal.SIGKILL
    asked = len(site.seen)
    await it.run()
    assert it.ends() == [("fail", "a", reason)]
    assert len(site.seen) == asked
    assert it.parts() == {}


@pytest.mark.parametrize(
    ("where", "again"),
    [
        ("record_settled signal", ["record_settled", "success"]),
        ("record_settled hook", ["record_settled", "success"]),
        ("success signal", ["success"]),
        ("settled hook", ["success"]),
    ],
)
async def test_a_kill_between_settling_and_delivery_delivers_it_again(
    crawl, site, where, again
):
    """DESIGN: hook delivery is at least once."""
    it = crawl()
    it.start(fetch=[{"id": "a", "requests": site.url("/file/x")}], die_at=where)
    assert await it.ended() == -signal.SIGKILL
    await it.run()
    assert [one["event"] for one in it.events()] == [*again, "closed"]
    assert read(it.events("success")) == [body("x", 1000)]
    assert len(site.of("/file/x")) == 1
    await it.run()
    assert [one["event"] for one in it.events()] == ["closed"]


async def test_a_kill_while_failing_delivers_the_failure_again(crawl, site):
    it = crawl()
    it.start(
        fetch=[{"id": "a", "requests": site.url("/status/404")}], die_at="fail signal"
    )
    assert await it.ended() == -signal.SIGKILL
    await it.run()
    assert it.ends() == [("fail", "a", "bad-status")]
    assert read(it.events("fail")) == [b"page of 404"]


# -- grouped requests --------------------------------------------------------------


@pytest.mark.parametrize("jobdir", [False, True])
@pytest.mark.parametrize("count", [{"requests": 3}, {}])
async def test_grouped_requests_rejoin_their_records_after_a_kill(
    crawl, site, jobdir, count
):
    """A spider yields the same requests again: no duplicates, callbacks called."""
    it = crawl(jobdir=jobdir)
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
    crawl, site, count
):
    it = crawl()
    group = {"id": "a", **count}
    urls = [site.url(f"/slow/{name}?{SLOW}") for name in "xy"]
    it.start(grouped=[(url, group) for url in urls])
    await half_way(it, records=2)
    await it.kill()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert sorted(one["url"] for one in it.events("callback")) == urls


async def test_errbacks_are_called_after_a_kill_too(crawl, site):
    it = crawl()
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


# -- the server's file in between --------------------------------------------------


async def test_a_file_that_has_changed_starts_again_from_zero(crawl, site):
    """B11, 216: If-Range makes the server send all of it."""
    it = crawl()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    site.etags["x"] = '"new"'
    site.contents["x"] = body("new", SIZE + 5000)
    await it.run()
    assert it.ends() == [("success", "a", "")]
    (end,) = it.events("success")
    assert end["downloaded"] == SIZE + 5000
    assert read([end]) == [body("new", SIZE + 5000)]
    second = site.of("/slow/x")[1]
    assert offset(second) > 0
    assert second.headers["If-Range"] == '"x"'
    assert len(site.seen) == 2


async def test_a_body_without_validators_starts_again_from_zero(crawl, site):
    """Behaviour 218."""
    it = crawl()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}&bare")}])
    await half_way(it)
    await it.kill()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]
    assert "Range" not in site.of("/slow/x")[1].headers


@pytest.mark.parametrize("lost", ["cut", "removed"])
async def test_a_part_file_that_has_lost_bytes_costs_a_new_start_at_most(
    crawl, site, lost
):
    it = crawl()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    (part,) = (it.folder / "bgfetch" / "parts").iterdir()
    if lost == "removed":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:10])
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]


# -- stopped -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_fast_and_keeps_every_byte(crawl, site, number):
    """16 slow transfers are under way."""
    it = crawl(BGFETCH_CONCURRENT_RECORDS=16, CONCURRENT_REQUESTS_PER_DOMAIN=16)
    slow = f"size={SIZE}&rate=100000"
    urls = [site.url(f"/slow/{n}?{slow}") for n in range(16)]
    it.start(fetch=[{"id": "a", "requests": urls}])
    await half_way(it, 50_000, records=16)
    at = time.monotonic()
    assert await it.kill(number) == 0
    assert time.monotonic() - at < 3
    assert [one["event"] for one in it.events()] == ["registered", "closed"]
    assert it.events("closed")[0]["reason"] == "shutdown"
    kept = sorted(it.parts().values())
    assert len(kept) == 16
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body(str(n), SIZE) for n in range(16)]
    asked = sorted(offset(site.of(f"/slow/{n}")[1]) for n in range(16))
    assert asked == kept


class Closer(Probe):
    """Closes the spider when the background fetch is half-way."""

    async def close_it(self, response):
        await until(lambda: self.handle.records[0].downloaded > 50_000)
        raise CloseSpider("enough")


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
