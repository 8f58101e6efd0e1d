"""Events and their handlers in real crawls: 37, 85, 134-136, 180, 240."""

from __future__ import annotations

import asyncio
import logging

import pytest
from twisted.internet import defer

from scrapy_bgfetch import (
    BackgroundFetchEvent,
    BackgroundFetchUpdateUIEvent,
    hookimpl,
)
from scrapy_bgfetch.exceptions import BadRequestError, InvalidStateError
from tests.support.crawl_process import until
from tests.support.handlers import BAD, connect, handling
from tests.support.plugins import fetching, stats_of

MiB = 1024 * 1024


# -- handlers that raise -------------------------------------------------------------


@pytest.mark.parametrize("bad", BAD)
async def test_handlers_that_raise_are_counted_and_stop_neither_others_nor_the_end(
    probe, caplog, bad, tmp_path
):
    names = ["registered", "progress", "record_settled", "success", "click"]
    told = []

    def note(signal):
        told.append(signal)

    async def go(spider, response):
        for name in names:
            connect(spider, name, bad)
            connect(spider, name, note)
        spider.handle = await spider.background_fetch.fetch(
            "a", "/file/x", base_url=response
        )
        await spider.handle.settled()
        await spider.handle.click()
        await until(lambda: not spider.handle.records_available, 10)

    with caplog.at_level(logging.ERROR):
        spider = await probe(go)
    stats = stats_of(spider)
    progress = spider.names().count("progress")
    expected = {f"bgfetch/handler_errors/bgfetch_{name}": 1 for name in names}
    expected["bgfetch/handler_errors/bgfetch_progress"] = progress
    expected["bgfetch/handler_errors"] = progress + 4
    assert {k: v for k, v in stats.items() if "/handler_errors" in k} == expected
    assert len(told) == progress + 4
    assert len([r for r in caplog.records if "handler" in r.message]) == progress + 4
    assert spider.handle.result == "success"

    async def nothing(spider, response):
        pass

    assert (await probe(nothing)).names() == []  # it was acknowledged


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("attribute", [True, False])
async def test_progress_listeners_that_raise_are_counted_and_stop_no_other(
    probe, caplog, bad, attribute
):
    heard = []

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/slow/x", base_url=response)
        if attribute:
            handle.onprogress = bad
        else:
            handle.add_event_listener("progress", bad)
        handle.add_event_listener("progress", lambda event: heard.append(event.type))

    with caplog.at_level(logging.ERROR):
        spider = await probe(go)
    stats = stats_of(spider)
    assert len(heard) == spider.names().count("progress") > 0
    assert stats["bgfetch/handler_errors/progress"] == len(heard)
    assert stats["bgfetch/handler_errors"] == len(heard)
    assert "A progress listener of 'a' failed" in caplog.text
    assert spider.names()[-1] == "success"


async def test_deferreds_of_listeners_and_hooks_are_awaited_too(probe):
    order = []

    def later(name):
        done = defer.Deferred()
        done.addCallback(lambda _: order.append(name))
        asyncio.get_running_loop().call_later(0.05, done.callback, None)
        return done

    class Plugin:
        @hookimpl
        def bgfetch_settled(self, registration):
            return later("hook")

    async def go(spider, response):
        connect(spider, "success", lambda: later("signal"))
        handle = await spider.background_fetch.fetch("a", "/slow/x", base_url=response)
        handle.onprogress = lambda event: later("listener")
        await until(lambda: not handle.records_available, 10)
        assert order[-3:] == ["listener", "signal", "hook"]

    spider = await probe(go, BGFETCH_PLUGINS=[Plugin()])
    assert "bgfetch/plugin_errors" not in stats_of(spider)


async def test_a_hook_that_is_cancelled_is_a_failure_of_its_plug_in(probe):
    class Plugin:
        @hookimpl
        async def bgfetch_record_settled(self):
            raise asyncio.CancelledError

    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[Plugin()])
    assert stats_of(spider)["bgfetch/plugin_errors"] == 1
    assert spider.names()[-1] == "success"


# -- update_ui -----------------------------------------------------------------------

OLD = {"title": "old", "icons": [{"src": "/old.png"}]}


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "new"},
        {"icons": [{"src": "/new.png"}]},
        {"icons": []},
        {"title": "new", "icons": [{"src": "/new.png", "sizes": "1x1"}]},
        {},
        {"title": "x" * MiB},
    ],
)
async def test_update_ui_changes_what_it_is_given_and_is_the_one_call(probe, changes):
    """Behaviours 85, 134, 135, 180, 240: also with nothing given."""
    refused = []

    async def on_success(registration, event):
        assert await event.update_ui(**changes) is None
        for again in ({"title": "again"}, {}):
            with pytest.raises(InvalidStateError, match="only once"):
                await event.update_ui(**again)
        refused.append(event)

    spider = await probe(handling("success", on_success, **OLD))
    assert len(refused) == 1
    expected = {**OLD, **changes}
    assert spider.handle.title == expected["title"]
    assert list(spider.handle.icons) == expected["icons"]


@pytest.mark.parametrize(
    "changes",
    [
        {"title": ""},
        {"title": 5},
        {"title": "x" * (MiB + 1)},
        {"title": "new", "icons": "/new.png"},
        {"title": "new", "icons": [{}]},
    ],
)
async def test_bad_arguments_of_update_ui_change_nothing_and_are_no_call(
    probe, changes
):
    """Behaviour 180."""
    refused = []

    async def on_success(registration, event):
        with pytest.raises(BadRequestError):
            await event.update_ui(**changes)
        assert registration.title == "old"
        refused.append(event)
        await event.update_ui(title="good")

    spider = await probe(handling("success", on_success, **OLD))
    assert len(refused) == 1
    assert spider.handle.title == "good"
    assert list(spider.handle.icons) == OLD["icons"]


async def test_of_two_handlers_only_one_may_update_the_ui(probe):
    """Behaviour 135: the event is one, however many handle it."""
    outcomes = []

    async def go(spider, response):
        for title in ("one", "two"):

            async def on_success(event, title=title):
                (outcome,) = await asyncio.gather(
                    event.update_ui(title=title), return_exceptions=True
                )
                outcomes.append(outcome)

            connect(spider, "success", on_success)
        await fetching("/file/x")(spider, response)

    spider = await probe(go)
    assert sorted(type(one).__name__ for one in outcomes) == [
        "InvalidStateError",
        "NoneType",
    ]
    assert spider.handle.title in {"one", "two"}


async def test_a_task_that_a_handler_left_may_update_while_another_handler_runs(probe):
    """Behaviour 136, in time: the event lasts as long as its longest handler."""
    done = []

    async def go(spider, response):
        left = asyncio.Event()

        async def work(event):
            await asyncio.sleep(0.02)
            await event.update_ui(title="in time")
            left.set()

        def quick(event):
            done.append(asyncio.ensure_future(work(event)))

        async def slow():
            await asyncio.wait_for(left.wait(), 10)

        connect(spider, "success", quick)
        connect(spider, "success", slow)
        await fetching("/file/x")(spider, response)

    spider = await probe(go)
    await asyncio.gather(*done)
    assert spider.handle.title == "in time"


async def test_a_task_that_a_handler_left_may_not_update_after_the_last_one(probe):
    """Behaviours 85, 136."""
    left = []

    async def go(spider, response):
        async def work(registration, event):
            await until(lambda: not registration.records_available, 10)
            await event.update_ui(title="late")

        def quick(registration, event):
            left.append(asyncio.ensure_future(work(registration, event)))

        connect(spider, "success", quick)
        await fetching("/file/x", title="old")(spider, response)
        await until(lambda: left, 10)
        with pytest.raises(InvalidStateError, match="ended"):
            await left[0]

    assert (await probe(go)).handle.title == "old"


async def test_an_event_that_was_made_by_hand_cannot_update_the_ui(probe):
    """Behaviours 85, 240: an event that is not trusted; here it is refused at once."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        event = BackgroundFetchUpdateUIEvent("backgroundfetchsuccess", handle)
        assert not event.active
        with pytest.raises(InvalidStateError, match="never sent"):
            await event.update_ui(title="forged")
        with pytest.raises(AttributeError):
            event.active = True
        spider.handle = await handle.settled()

    assert (await probe(go)).handle.title == ""


@pytest.mark.parametrize("name", ["abort", "click"])
async def test_abort_and_click_cannot_update_the_ui(probe, name):
    """Behaviour 37."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/silent", base_url=response)
        await handle.click()
        await handle.abort()

    spider = await probe(go)
    (event,) = [kwargs["event"] for said, _, kwargs in spider.events if said == name]
    assert type(event) is BackgroundFetchEvent
    assert event.type == f"backgroundfetch{name}"
    assert not hasattr(event, "update_ui")
