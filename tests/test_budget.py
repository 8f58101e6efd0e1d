"""The byte budget of a background fetch, and the wire after its end (50, B2, 57)."""

from __future__ import annotations

import asyncio
import time

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import DownloadTotalExceeded
from tests.support.crawl import Probe, run
from tests.support.site import body

CLOSED_WITHIN = 1.0  # seconds
ENDS = ("success", "fail", "abort")


async def until(condition, timeout=10.0):
    """Wait until a condition holds; it is polled, so it must come true by itself."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)


def ends(spider):
    return [name for name in spider.names() if name in ENDS]


def stored_on_disk(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sum(p.stat().st_size for p in files if not p.name.startswith("state."))


@pytest.mark.parametrize(
    ("total", "outcome"),
    [
        (3001, "success"),
        (3000, "success"),
        (2999, "download-total-exceeded"),
        (1, "download-total-exceeded"),
        (0, "success"),
    ],
)
@pytest.mark.parametrize("query", ["", "?bare"])
async def test_strictly_more_bytes_fail_and_as_many_pass(probe, total, outcome, query):
    """Behaviours 2, 50, 302: the sum over all records is what counts."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a",
            [f"/file/{n}{query}" for n in range(3)],
            base_url=response,
            download_total=total,
        )

    spider = await probe(go)
    handle = spider.handle
    assert (handle.failure_reason or handle.result) == outcome
    if total:
        assert handle.downloaded <= total


@pytest.mark.parametrize("query", ["", "&chunked", "&chunked&bare"])
async def test_never_more_than_the_budget_is_stored_or_shown(probe, tmp_path, query):
    """Behaviours 50, 209: it is checked before bytes are stored."""
    seen = []

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a",
            [f"/slow/{n}?size=300000&rate=600000{query}" for n in range(3)],
            base_url=response,
            download_total=500_000,
        )

        def look(event):
            seen.append(event.registration.downloaded)
            seen.append(stored_on_disk(tmp_path / "bgfetch"))

        handle.onprogress = look
        await handle.settled()
        seen.append(stored_on_disk(tmp_path / "bgfetch"))
        spider.handle = handle

    spider = await probe(go, BGFETCH_PROGRESS_INTERVAL=0.02)
    assert spider.handle.failure_reason == "download-total-exceeded"
    assert len(seen) > 6
    assert max(seen) <= 500_000
    shown = [handle.downloaded for _, handle, _ in spider.events]
    assert max(shown) <= 500_000


async def test_a_length_that_breaks_the_budget_is_refused_before_its_first_byte(
    probe, site
):
    """Behaviour 52."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000", base_url=response, download_total=1_000_000
        )

    spider = await probe(go)
    handle = spider.handle
    assert handle.failure_reason == "download-total-exceeded"
    assert handle.downloaded == 0
    assert "4000000 bytes more" in handle.records[0].error
    assert spider.crawler.stats.get_value("bgfetch/wire_bytes") == 0


async def test_without_a_length_the_body_is_stopped_when_the_budget_is_spent(
    probe, site
):
    """Behaviours 6, 82."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a",
            "/slow/x?size=5000000&rate=1000000&chunked",
            base_url=response,
            download_total=200_000,
        )

    spider = await probe(go)
    handle = spider.handle
    assert handle.failure_reason == "download-total-exceeded"
    assert handle.downloaded == 0
    assert "200000 are stored" in handle.records[0].error
    assert 200_000 <= spider.crawler.stats.get_value("bgfetch/wire_bytes") < 400_000
    with pytest.raises(DownloadTotalExceeded, match="200000 bytes"):
        await handle.records[0].response_ready


async def test_the_decoded_bytes_count_whatever_the_length_says(probe, site):
    """The Content-Length of a coded body is that of the coded bytes: it lies.

    Behaviours 52, 97.
    """

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", "/gzip/x?repeat=1000", base_url=response, download_total=500_000
        )

    spider = await probe(go)
    assert spider.handle.failure_reason == "download-total-exceeded"
    assert spider.handle.downloaded <= 500_000


async def test_the_page_of_an_error_does_not_count(probe):
    """Behaviours 3, B24: error bodies are outside of the budget."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a",
            ["/status/404", "/file/x"],
            base_url=response,
            download_total=1000,
        )

    spider = await probe(go)
    assert spider.handle.failure_reason == "bad-status"
    assert spider.handle.downloaded == 1000


@pytest.mark.slow  # by the clock
async def test_when_it_is_exceeded_the_other_transfers_stop_on_the_wire(probe, site):
    """Behaviours 32, 210, 211, B2.

    The group ends at once, one fail event follows, nothing goes on.
    """

    async def go(spider, response):
        slow = [f"/slow/{n}?size=5000000&rate=20000&chunked" for n in range(4)]
        handle = await spider.background_fetch.fetch(
            "a",
            [*slow, "/slow/fast?size=5000000&rate=500000&chunked"],
            base_url=response,
            download_total=300_000,
        )
        await until(lambda: site.streaming == 5)
        await handle.settled()
        ended = time.monotonic()
        await until(lambda: site.streaming == 0, CLOSED_WITHIN)
        spider.late = [at - ended for _, at in site.closed]
        spider.handle = handle

    spider = await probe(go)
    assert len(site.closed) == 5
    assert max(spider.late) < CLOSED_WITHIN
    reasons = sorted(record.failure_reason for record in spider.handle.records)
    assert reasons == ["aborted"] * 4 + ["download-total-exceeded"]
    assert spider.handle.failure_reason == "download-total-exceeded"
    assert ends(spider) == ["fail"]
    assert len(site.paths()) == 6


async def test_an_early_refusal_stops_the_others_on_the_wire_too(site, settings):
    class Late(Probe):
        def request(self, response, path):
            group = {"id": "a", "requests": 4, "download_total": 1_000_000}
            return Request(
                response.urljoin(path),
                meta={"bgfetch": group},
                callback=self.keep,
                errback=self.keep_failure,
            )

        async def when_the_others_run(self, response):
            await until(lambda: site.streaming == 3)
            yield self.request(response, "/file/big?size=2000000")

    async def go(spider, response):
        paths = [f"/slow/{n}?size=5000000&rate=50000&chunked" for n in range(3)]
        slow = [spider.request(response, path) for path in paths]
        then = Request(response.urljoin("/page2"), callback=spider.when_the_others_run)
        return [*slow, then]

    spider = await run(Late, settings(), page=site.url("/page"), go=go)
    assert ends(spider) == ["fail"]
    assert len(site.closed) == 3
    kinds = sorted(type(error).__name__ for error in spider.failures)
    assert kinds == ["AbortError"] * 3 + ["DownloadTotalExceeded"]


@pytest.mark.slow  # by the clock
@pytest.mark.parametrize("paused", [False, True])
async def test_after_abort_the_server_sees_its_connections_close(probe, site, paused):
    """Behaviours 57, 71, B3."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a",
            [f"/slow/{n}?size=5000000&rate=100000" for n in range(6)],
            base_url=response,
        )
        await until(lambda: site.streaming == 6)
        if paused:
            await handle.pause()
        at = time.monotonic()
        assert await handle.abort()
        await until(lambda: site.streaming == 0, CLOSED_WITHIN)
        spider.late = [closed - at for _, closed in site.closed]

    spider = await probe(go)
    assert len(site.closed) == 6
    assert max(spider.late) < CLOSED_WITHIN
    assert ends(spider) == ["abort"]


async def test_after_the_end_no_part_file_is_left(probe, site, tmp_path):
    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a",
            ["/slow/x?size=5000000&rate=100000&chunked", "/file/big?size=4000000"],
            base_url=response,
            download_total=2_000_000,
        )

    await probe(go)
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_a_budget_that_ends_one_group_leaves_the_others_alone(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        spider.good = await fetch("b", "/slow/x?size=200000", base_url=response)
        spider.bad = await fetch("a", "/file/y", base_url=response, download_total=10)

    spider = await probe(go)
    assert spider.bad.failure_reason == "download-total-exceeded"
    assert spider.good.result == "success"
    assert spider.good.records[0].path.read_bytes() == body("x", 200_000)
