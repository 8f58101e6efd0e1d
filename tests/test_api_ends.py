"""The ends of a background fetch in real crawls: aborted, failed, paused."""

from __future__ import annotations

import asyncio

import pytest

from scrapy_bgfetch.exceptions import (
    AbortError,
    FetchError,
)
from tests.support.site import body


async def test_abort_ends_it_once_and_frees_the_id_at_once(probe, site):
    """Behaviours 6, 57, 71, 72, 81, 120, 121, 122, 204, 312."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", ["/file/x", "/slow/y?size=5000000"], base_url=response
        )
        quick, slow = handle.records
        answer = await slow.response_ready
        while quick.state != "settled":
            await asyncio.sleep(0.01)
        assert await handle.abort()
        assert not await handle.abort()
        assert await spider.background_fetch.get("a") is None
        with pytest.raises(AbortError) as caught:
            async for _ in answer.iter_body():
                pass
        assert caught.value.reason == "aborted"
        with pytest.raises(AbortError):
            await slow.response_ready
        assert (await quick.response_ready).path.read_bytes() == body("x", 1000)
        again = await spider.background_fetch.fetch("a", "/file/z", base_url=response)
        await again.settled()
        spider.handle = handle

    spider = await probe(go)
    assert (spider.handle.result, spider.handle.failure_reason) == (
        "failure",
        "aborted",
    )
    ends = [name for name in spider.names() if name in ("success", "fail", "abort")]
    assert sorted(ends) == ["abort", "success"]


async def test_a_bad_status_fails_but_its_page_can_be_read(probe):
    """Behaviours 6, 31, 54, 83, 113, 220, 224, 300, 301."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", ["/status/404", "/file/x"], base_url=response
        )
        await handle.settled()
        spider.handle = handle
        bad, good = handle.records
        answer = await bad.response_ready
        assert answer.status == 404
        assert answer.path.read_text() == "page of 404"
        assert good.failure_reason == ""

    spider = await probe(go)
    assert spider.handle.failure_reason == "bad-status"
    assert spider.handle.downloaded == 1000
    assert spider.names("progress")[-1] == "fail"


async def test_a_record_that_cannot_be_fetched_says_why(probe):
    """Behaviours 6, 44, 82, 114, 223."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", ["http://127.0.0.1:1/nothing", "/file/x"], base_url=response
        )
        await handle.settled()
        bad, good = handle.records
        with pytest.raises(FetchError, match="1/nothing") as caught:
            await bad.response_ready
        assert isinstance(caught.value, TypeError)
        assert caught.value.record.index == 0
        assert caught.value.registration is handle
        assert good.failure_reason == ""
        assert handle.failure_reason == "fetch-error"

    await probe(go, BGFETCH_RESUMPTIONS=2)


async def test_fail_fast_ends_it_with_the_first_failure(probe):
    """Behaviours 300, 301."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a",
            ["/slow/y?size=50000000", "/status/404"],
            base_url=response,
            fail_fast=True,
        )
        await handle.settled()
        assert handle.failure_reason == "bad-status"
        assert handle.records[0].failure_reason == "aborted"

    await probe(go)


async def test_pause_keeps_the_bytes_and_resume_goes_on_by_range(probe, site):
    """Behaviours 40, 42, 56, 228, 310."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=1000000&rate=1000000", base_url=response
        )
        record = handle.records[0]
        while record.downloaded < 200000:
            await asyncio.sleep(0.01)
        await handle.pause()
        while record.state != "pending":
            await asyncio.sleep(0.01)
        stopped_at = record.downloaded
        await asyncio.sleep(0.2)
        assert record.downloaded == stopped_at
        await handle.resume()
        await handle.settled()
        assert record.path.read_bytes() == body("x", 1000000)
        first, second = site.of("/slow/x")
        assert "Range" not in first.headers
        assert second.headers["Range"] == f"bytes={stopped_at}-"
        assert second.headers["If-Range"] == '"x"'

    await probe(go)


async def test_a_paused_fetch_can_be_aborted(probe):
    """B3."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=1000000", base_url=response
        )
        await handle.records[0].response_ready
        await handle.pause()
        assert await handle.abort()
        await handle.settled()

    spider = await probe(go)
    assert spider.names("progress")[-1] == "abort"
