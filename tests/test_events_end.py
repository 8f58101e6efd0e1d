"""The end of a background fetch, and clicks, as their handlers see them.

Behaviours 28, 29, 34-36, 38, 39, 67-69, 73, 74, 88, 109, 112, 202, 203, 207, N7.
"""

from __future__ import annotations

import asyncio

import pytest

from scrapy_bgfetch import BackgroundFetchExtension, hookimpl
from scrapy_bgfetch.exceptions import InvalidStateError
from tests.support.crawl_process import until
from tests.support.handlers import BAD, connect, handling
from tests.support.plugins import fetching, stats_of
from tests.support.site import body

ENDS = ["success", "fail", "abort"]


# -- the end -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "end", "reason"),
    [
        (["/file/x", "/file/y"], "success", ""),
        (["/file/x", "/status/404"], "fail", "bad-status"),
        (["/file/x", "/silent"], "abort", "aborted"),
    ],
)
async def test_the_one_terminal_event_comes_last_and_finds_the_handle_up_to_date(
    probe, paths, end, reason
):
    """Behaviours 28, 34-36, 39, 67-69, 109, 202, 203."""
    seen, progress = [], []

    async def go(spider, response):
        async def on_end(registration, event):
            manager = spider.background_fetch
            assert await manager.get("a") is None
            assert await manager.get_ids() == []
            assert not await registration.abort()
            states = {record.state for record in registration.records}
            seen.append((event.active, registration.records_available, states))
            seen.append(
                (registration.result, registration.failure_reason, event.registration)
            )

        for name in ENDS:
            connect(spider, name, on_end)
        handle = spider.handle = await spider.background_fetch.fetch(
            "a", paths, base_url=response
        )
        handle.onprogress = lambda event: progress.append(
            (handle.result, handle.failure_reason)
        )
        await until(lambda: handle.records[0].state == "settled", 10)
        if end == "abort":
            await handle.abort()
        await until(lambda: not handle.records_available, 10)

    spider = await probe(go)
    result = "success" if end == "success" else "failure"
    assert seen == [(True, True, {"settled"}), (result, reason, spider.handle)]
    assert [name for name in spider.names() if name in ENDS] == [end]
    assert spider.names()[-1] == end
    assert progress[-1] == (result, reason)
    assert progress.count((result, reason)) == 1
    assert "bgfetch/handler_errors" not in stats_of(spider)


async def test_the_id_can_be_used_again_inside_of_the_handler(probe, site):
    """Behaviours 29, 73."""
    again = []

    async def go(spider, response):
        async def on_success(registration):
            if again:
                return
            new = await spider.background_fetch.fetch(
                "a", "/file/y", base_url=response.url
            )
            again.append(new)
            assert new.uid != registration.uid
            assert await spider.background_fetch.get("a") is new
            await new.settled()
            record = await registration.match("/file/x")
            assert record.path.read_bytes() == body("x", 1000)
            again.append((await new.match("/file/y")).path.read_bytes())

        connect(spider, "success", on_success)
        await fetching("/file/x")(spider, response)

    spider = await probe(go)
    assert again[1] == body("y", 1000)
    assert [one for name, one, _ in spider.events if name == "success"] == [
        spider.handle,
        again[0],
    ]
    assert "bgfetch/handler_errors" not in stats_of(spider)


@pytest.mark.parametrize("bad", BAD)
async def test_records_and_event_last_until_the_last_hook_whoever_raises(probe, bad):
    """Behaviours 38, 74, 112."""
    seen = []

    class Plugin:
        @hookimpl
        async def bgfetch_settled(self, registration):
            (event,) = events
            seen.append((event.active, registration.records_available))
            seen.append((await registration.match("/file/x")).index)
            await bad()

    events = []

    def on_success(event):
        events.append(event)
        return bad()

    go = handling("success", on_success)
    spider = await probe(go, BGFETCH_PLUGINS=[Plugin()])
    assert seen == [(True, True), 0]
    assert not events[0].active
    handle = spider.handle
    assert not handle.records_available
    for search in (handle.match("/file/x"), handle.match("nonsense")):
        with pytest.raises(InvalidStateError, match="no longer available"):
            await search
    assert handle.records[0].path.read_bytes() == body("x", 1000)
    assert stats_of(spider)["bgfetch/handler_errors/bgfetch_success"] == 1
    assert stats_of(spider)["bgfetch/plugin_errors"] == 1


def close(spider):
    engine = spider.crawler.engine
    spider.closing = asyncio.ensure_future(engine.close_spider_async(reason="early"))


async def test_a_handler_may_still_end_when_the_spider_closes(probe):
    """Behaviours 38, 74: it has a moment; then the event is done with."""
    ended = []

    async def go(spider, response):
        async def on_success(registration, event):
            close(spider)
            await asyncio.sleep(0.5)
            assert await registration.match("/file/x") is not None
            await event.update_ui(title="still here")
            ended.append(registration)

        connect(spider, "success", on_success)
        await fetching("/file/x")(spider, response)

    async def nothing(spider, response):
        pass

    spider = await probe(go)
    assert ended == [spider.handle]
    assert not spider.handle.records_available
    assert spider.handle.title == "still here"
    assert (await probe(nothing)).names() == []


async def test_a_handler_that_never_ends_does_not_block_closing_and_is_called_again(
    probe,
):
    """N7: not acknowledged, so it is told again, to a later run."""
    told = []

    async def first(spider, response):
        async def on_success(registration, event):
            told.append((registration.uid, event))
            close(spider)
            await asyncio.sleep(3600)

        connect(spider, "success", on_success)
        await fetching("/file/x", title="old")(spider, response)

    async def nothing(spider, response):
        pass

    spider = await asyncio.wait_for(probe(first), 30)
    ((uid, event),) = told
    assert not event.active
    assert not spider.handle.records_available
    later = await probe(nothing)
    assert [one.uid for name, one, _ in later.events if name == "success"] == [uid]
    assert (await probe(nothing)).names() == []


async def wait_for_the_close(spider):
    await spider.crawler.engine.close_spider_async(reason="enough")


class ClosingHook:
    """Waits for the close of the spider in one of the hooks."""

    def __init__(self, name):
        self.name = name

    def __deepcopy__(self, memo):
        return self

    @hookimpl
    async def bgfetch_record_settled(self):
        if self.name == "bgfetch_record_settled":
            await wait_for_the_close(self.spider)

    @hookimpl
    async def bgfetch_settled(self):
        if self.name == "bgfetch_settled":
            await wait_for_the_close(self.spider)


@pytest.mark.parametrize(
    "where", ["bgfetch_record_settled", "bgfetch_settled", "signal", "listener"]
)
async def test_a_spider_closes_though_a_handler_waits_for_just_that(probe, where):
    """Cancelling the handler would cancel the close."""
    hook = ClosingHook(where)

    async def go(spider, response):
        hook.spider = spider

        async def closing(*_):
            await wait_for_the_close(spider)

        if where == "signal":
            connect(spider, "success", closing)
        handle = await spider.background_fetch.fetch("a", "/slow/x", base_url=response)
        if where == "listener":
            handle.onprogress = closing

    spider = await asyncio.wait_for(probe(go, BGFETCH_PLUGINS=[hook]), 20)
    assert spider.crawler.stats.get_value("finish_reason") == "enough"


# -- click ---------------------------------------------------------------------------


async def test_click_awaits_its_handlers_also_from_another_handler(probe):
    """Behaviours 88, 207: while it is active, in its end, and long after it."""
    clicked = []

    async def go(spider, response):
        async def on_click(registration, event):
            result = registration.result
            await asyncio.sleep(0.02)
            assert event.active
            clicked.append((event.type, result))

        async def on_success(registration):
            await registration.click()
            assert len(clicked) == 2

        connect(spider, "click", on_click)
        connect(spider, "success", on_success)
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=100000&rate=400000", base_url=response
        )
        await handle.click()
        assert len(clicked) == 1
        await until(lambda: not handle.records_available, 10)
        assert await handle.click() is None

    spider = await probe(go)
    kind = "backgroundfetchclick"
    assert clicked == [(kind, ""), (kind, "success"), (kind, "success")]
    assert stats_of(spider)["bgfetch/click"] == 3
    assert "bgfetch/handler_errors" not in stats_of(spider)


async def test_a_background_fetch_of_an_earlier_run_can_be_clicked(probe):
    """Behaviour 207: its handle is made from the state."""
    uids = []

    async def first(spider, response):
        async def on_success(event):
            await event.update_ui(title="new")

        await handling("success", on_success)(spider, response)
        uids.append(spider.handle.uid)

    async def second(spider, response):
        extension = spider.crawler.get_extension(BackgroundFetchExtension)
        _, handle = await extension._registry.find(uids[0])
        assert handle.title == "new"
        await handle.click()
        assert not await handle.abort()

    await probe(first)
    spider = await probe(second)
    assert spider.names() == ["click"]
