"""The API, in real crawls: DESIGN section 1, "The API"."""

from __future__ import annotations

import asyncio

import pytest
from scrapy import Request

from scrapy_bgfetch import BackgroundFetchExtension, BackgroundFetchResponse, signals
from scrapy_bgfetch.exceptions import (
    IdActiveError,
    InvalidStateError,
)
from tests.support.site import body

MiB = 1024 * 1024


async def test_the_seeds_two_examples_run_as_written(probe, site):
    """Behaviours 76, 303."""
    got = {}

    async def go(spider, response):
        bg_fetch = await spider.background_fetch.fetch(
            "my-fetch",
            [
                response.urljoin("/file/ep-5.mp3?size=300000"),
                response.urljoin("file/ep-5-artwork.jpg"),
            ],
            title="Episode 5: Interesting things.",
            icons=[{"src": "/ep-5-icon.png", "sizes": "300x300", "type": "image/png"}],
            download_total=60 * 1024 * 1024,
        )
        assert bg_fetch.id == "my-fetch"
        record = await bg_fetch.match("/file/ep-5.mp3?size=300000")
        assert record is not None
        assert record.request.url == site.url("/file/ep-5.mp3?size=300000")
        response = await record.response_ready
        got["body"] = b"".join([chunk async for chunk in response.iter_body()])
        got["response"] = response
        assert await bg_fetch.match("/no-such-file") is None

    await probe(go)
    assert got["body"] == body("ep-5.mp3", 300000)
    assert got["response"].path.read_bytes() == got["body"]


async def test_a_fresh_handle_has_the_eight_properties(probe):
    """Behaviours 4, 108, 212."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/file/x", base_url=response, download_total=1234
        )
        spider.seen = (
            handle.id,
            handle.upload_total,
            handle.uploaded,
            handle.download_total,
            handle.downloaded,
            handle.result,
            handle.failure_reason,
            handle.records_available,
        )
        await handle.settled()
        spider.after = (handle.downloaded, handle.result, handle.failure_reason)

    spider = await probe(go)
    assert spider.seen == ("a", 0, 0, 1234, 0, "", "", True)
    assert spider.after == (1000, "success", "")


async def test_one_success_event_follows_all_records(probe):
    """Behaviours 35, 36, 109."""

    async def go(spider, response):
        await spider.background_fetch.fetch(
            "a", ["/file/1", "/file/2"], base_url=response
        )

    spider = await probe(go)
    assert spider.names("progress") == [
        "registered",
        "record_settled",
        "record_settled",
        "success",
    ]
    name, handle, extra = spider.events[-1]
    assert (name, handle.result, handle.downloaded) == ("success", "success", 2000)
    assert extra["event"].type == "backgroundfetchsuccess"
    assert extra["spider"] is spider


async def test_the_same_object_is_found_by_get_and_by_the_extension(probe):
    """Behaviours 24, 25, 26, 125, 126, 127, 304."""

    async def go(spider, response):
        manager = spider.background_fetch
        extension = spider.crawler.get_extension(BackgroundFetchExtension)
        assert extension.manager is manager
        assert await manager.get_ids() == []
        handle = await manager.fetch("a", "/slow/x", base_url=response)
        assert await manager.get("a") is handle
        assert await manager.get_ids() == ["a"]
        assert await manager.get("b") is None
        await handle.settled()
        assert await manager.get("a") is None
        assert await manager.get_ids() == []

    await probe(go)


async def test_of_two_racing_fetches_of_one_id_one_wins(probe):
    """Behaviours 16, 104, 188."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        racing = [fetch("a", f"/file/{n}", base_url=response) for n in range(5)]
        results = await asyncio.gather(*racing, return_exceptions=True)
        lost = [result for result in results if isinstance(result, IdActiveError)]
        assert len(lost) == 4
        assert all(isinstance(error, TypeError) for error in lost)

    spider = await probe(go)
    assert spider.names().count("success") == 1


async def test_an_id_can_be_used_again_once_its_fetch_has_settled(probe):
    """Behaviours 28, 29, 73, 184, 185."""

    async def go(spider, response):
        first = await spider.background_fetch.fetch("a", "/file/1", base_url=response)
        await first.settled()
        second = await spider.background_fetch.fetch("a", "/slow/2", base_url=response)
        assert second is not first
        assert not await first.abort()
        await second.settled()
        assert second.result == "success"

    await probe(go)


async def test_progress_events_reach_listeners_and_the_last_one_is_sent(probe):
    async def go(spider, response):
        spider.heard, spider.other = [], []
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=500000&rate=1000000", base_url=response
        )

        async def listener(event):
            spider.heard.append((event.type, event.registration.downloaded))

        handle.add_event_listener("progress", listener)
        handle.add_event_listener("progress", spider.other.append)
        handle.remove_event_listener("progress", spider.other.append)
        handle.onprogress = lambda event: spider.other.append(event.registration.id)
        await handle.settled()

    spider = await probe(go)
    assert spider.heard[-1] == ("progress", 500000)
    assert len(spider.heard) > 2
    assert spider.heard == sorted(spider.heard)
    assert len(spider.other) == len(spider.heard)
    assert spider.names().count("progress") == len(spider.heard)


async def test_progress_is_throttled(probe):
    """Behaviours 70, 231."""

    async def go(spider, response):
        await spider.background_fetch.fetch(
            "a", "/slow/x?size=500000&rate=1000000", base_url=response
        )

    spider = await probe(go, BGFETCH_PROGRESS_INTERVAL=0.3)
    assert spider.names().count("progress") <= 4


async def test_a_body_can_be_read_while_it_arrives(probe, site):
    """Behaviours 79, 237, B9."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=400000&rate=800000", base_url=response
        )
        answer = await handle.records[0].response_ready
        assert handle.records[0].state == "active"
        assert answer.body == b""
        chunks = answer.iter_body()
        spider.early = await anext(chunks)
        assert handle.result == ""
        spider.whole = spider.early + b"".join([chunk async for chunk in chunks])

    spider = await probe(go)
    assert len(spider.early) < 400000
    assert spider.whole == body("x", 400000)


async def test_a_response_hides_the_fields_of_its_transfer(probe):
    """Behaviour 80."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        spider.answer = await handle.records[0].response_ready
        await handle.settled()

    answer = (await probe(go)).answer
    assert isinstance(answer, BackgroundFetchResponse)
    assert answer.headers["ETag"] == b'"x"'
    assert b"Content-Length" not in answer.headers
    assert b"Content-Range" not in answer.headers
    assert answer.size == 1000
    with answer.open() as file:
        assert file.read() == body("x", 1000)


async def test_response_ready_can_be_awaited_again_and_gives_new_objects(probe):
    """Behaviours 84, 129."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        record = await handle.match("/file/x")
        assert await handle.match("/file/x") is not record
        ready = record.response_ready
        first, second = await ready, await ready
        for answer in (first, second):
            read = b"".join([chunk async for chunk in answer.iter_body()])
            assert read == body("x", 1000)

    await probe(go)


async def test_duplicate_urls_are_records_of_their_own(probe):
    """Behaviours 23, 111, 131, 238."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", ["/file/x", "/file/x"], base_url=response
        )
        found = await handle.match_all("/file/x")
        assert [record.index for record in found] == [0, 1]
        await handle.settled()
        paths = {record.path for record in handle.records}
        assert len(paths) == 2
        assert all(path.read_bytes() == body("x", 1000) for path in paths)

    await probe(go)


async def test_matching_takes_the_options_of_the_cache_api(probe):
    """Behaviours 77, 98, 132, 239, B21."""

    async def go(spider, response):
        requests = [
            response.urljoin("/file/x?a=1"),
            response.urljoin("/file/x?a=2"),
            Request(response.urljoin("/echo"), method="POST", body=b"hello"),
        ]
        handle = await spider.background_fetch.fetch("a", requests)
        assert len(await handle.match_all("/file/x", ignore_search=True)) == 2
        assert await handle.match("/echo") is None
        record = await handle.match("/echo", ignore_method=True)
        assert record.request.body == b"hello"
        assert len(await handle.match_all()) == 3
        await handle.settled()
        assert handle.upload_total == 5

    await probe(go)


async def test_records_are_no_longer_available_when_all_handlers_have_ended(probe):
    """Behaviours 38, 74, 112."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        await handle.settled()
        while handle.records_available:
            await asyncio.sleep(0.01)
        with pytest.raises(InvalidStateError, match="no longer available"):
            await handle.match("/file/x")
        assert handle.records[0].path.exists()

    await probe(go)


async def test_handlers_may_be_async_and_read_the_records(probe):
    """Behaviours 28, 38, 75, 93, 136."""
    done = []

    async def go(spider, response):
        async def on_success(registration, event):
            await asyncio.sleep(0.05)
            assert await spider.background_fetch.get("a") is None
            record = await registration.match("/file/x")
            done.append((await record.response_ready).path.read_bytes())
            await event.update_ui(title="ready")

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        spider.handle = await spider.background_fetch.fetch(
            "a", "/file/x", base_url=response
        )

    spider = await probe(go)
    assert done == [body("x", 1000)]
    assert spider.handle.title == "ready"
    event = spider.events[-1][2]["event"]
    with pytest.raises(InvalidStateError):
        await event.update_ui(title="late")
