"""Signals in real crawls: DESIGN section 1, "Signals"."""

from __future__ import annotations

import asyncio
import logging

import pytest
from scrapy import Spider

from scrapy_bgfetch import (
    BackgroundFetchEvent,
    BackgroundFetchUpdateUIEvent,
    signals,
)
from tests.support.crawl import run
from tests.support.plugins import fetching, stats_of

ENDS = ("success", "fail", "abort")


class Unheard(Spider):
    """Nobody is connected to any of our signals."""

    name = "unheard"
    sent = ()

    async def start(self):
        signals_sent = self.crawler.signals.send_catch_log_async
        self.sent = []

        async def send(signal, **kwargs):
            self.sent.append(signal)
            return await signals_sent(signal, **kwargs)

        self.crawler.signals.send_catch_log_async = send
        self.handle = await self.background_fetch.fetch("a", self.url)
        await self.handle.settled()
        return
        yield


async def test_a_signal_that_nobody_hears_is_not_sent(site, settings):
    spider = await run(Unheard, settings(), url=site.url("/file/x"))
    assert spider.handle.result == "success"
    ours = {getattr(signals, name) for name in dir(signals) if "bgfetch" in name}
    assert ours
    assert ours.isdisjoint(spider.sent)
    assert stats_of(spider)["bgfetch/success"] == 1


async def test_each_signal_has_its_keyword_arguments(probe):
    spider = await probe(fetching("/slow/x?size=100000&rate=400000", "/file/y"))
    expected = {
        "registered": {"spider"},
        "progress": {"spider"},
        "record_settled": {"spider", "record"},
        "success": {"spider", "event"},
    }
    assert set(spider.names()) == set(expected)
    for name, registration, kwargs in spider.events:
        assert registration is spider.handle
        assert set(kwargs) - {"sender"} == expected[name]
        assert kwargs["spider"] is spider


async def test_the_record_of_its_signal_has_ended(probe):
    spider = await probe(fetching("/file/x", "/status/404"))
    records = [
        kwargs["record"] for name, _, kwargs in spider.events if "record" in kwargs
    ]
    assert {
        (record.url.rpartition("/")[2], record.failure_reason) for record in records
    } == {
        ("x", ""),
        ("404", "bad-status"),
    }
    assert all(record.state == "settled" for record in records)


@pytest.mark.parametrize(
    ("paths", "options", "end", "kind"),
    [
        (["/file/x"], {}, "success", BackgroundFetchUpdateUIEvent),
        (["/file/x", "/status/500"], {}, "fail", BackgroundFetchUpdateUIEvent),
        (["/file/x"], {"download_total": 10}, "fail", BackgroundFetchUpdateUIEvent),
    ],
)
async def test_exactly_one_terminal_signal_is_sent_after_all_others(
    probe, paths, options, end, kind
):
    """Behaviours 35, 36, 37."""
    spider = await probe(fetching(*paths, **options), BGFETCH_RESUMPTIONS=1)
    assert [name for name in spider.names() if name in ENDS] == [end]
    assert spider.names()[-1] == end
    event = spider.events[-1][2]["event"]
    assert type(event) is kind
    assert event.type == f"backgroundfetch{end}"
    assert event.registration is spider.handle
    assert not event.active


async def test_the_abort_event_cannot_update_the_ui(probe):
    """Behaviour 37."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000", base_url=response
        )
        await handle.records[0].response_ready
        await handle.abort()
        await handle.settled()

    spider = await probe(go)
    assert [name for name in spider.names() if name in ENDS] == ["abort"]
    event = spider.events[-1][2]["event"]
    assert type(event) is BackgroundFetchEvent
    assert event.type == "backgroundfetchabort"


async def test_async_handlers_are_awaited_before_the_records_are_closed(probe):
    """Behaviour 38."""
    done = []

    async def go(spider, response):
        async def on_success(registration, event):
            await asyncio.sleep(0.1)
            done.append((event.active, await registration.match("/file/x") is not None))

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        await fetching("/file/x")(spider, response)

    spider = await probe(go)
    assert done == [(True, True)]
    assert not spider.handle.records_available


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_handler_that_raises_stops_no_other(probe, caplog, asynchronous):
    names = [name for name in vars(signals) if name.startswith("bgfetch_")]

    async def go(spider, response):
        def bad(signal, registration):
            raise RuntimeError("a bad handler")

        async def bad_async(signal, registration):
            raise RuntimeError("a bad handler")

        spider.bad = bad_async if asynchronous else bad
        for name in names:
            spider.crawler.signals.connect(spider.bad, getattr(signals, name))
        await fetching("/file/x")(spider, response)

    with caplog.at_level(logging.ERROR):
        spider = await probe(go)
    assert spider.names("progress") == ["registered", "record_settled", "success"]
    assert not spider.handle.records_available
    assert "a bad handler" in caplog.text


async def test_a_progress_listener_that_raises_stops_no_other(probe, caplog):
    heard = []

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/slow/x", base_url=response)

        def bad(event):
            raise RuntimeError("a bad listener")

        handle.add_event_listener("progress", bad)
        handle.add_event_listener("progress", heard.append)

    spider = await probe(go)
    assert heard[-1].registration.downloaded == 1000
    assert "a bad listener" in caplog.text
    assert spider.names()[-1] == "success"


async def test_there_is_a_stat_for_each_event(probe):
    """Behaviour 242."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        good = await fetch("a", ["/file/1", "/file/2"], base_url=response)
        bad = await fetch("b", ["/file/3", "/status/404"], base_url=response)
        slow = await fetch("c", "/slow/x?size=5000000", base_url=response)
        await good.settled()
        await bad.settled()
        await slow.abort()

    spider = await probe(go)
    stats = stats_of(spider)
    assert {
        name: value
        for name, value in stats.items()
        if name.startswith("bgfetch/") and not name.endswith(("wire_bytes", "progress"))
    } == {
        "bgfetch/registered": 3,
        "bgfetch/record_settled": 5,
        "bgfetch/record_settled/success": 3,
        "bgfetch/record_settled/bad-status": 1,
        "bgfetch/record_settled/aborted": 1,
        "bgfetch/downloaded_bytes": 3000,
        "bgfetch/success": 1,
        "bgfetch/fail": 1,
        "bgfetch/abort": 1,
    }
    assert stats["bgfetch/progress"] == spider.names().count("progress")
    assert stats["bgfetch/wire_bytes"] >= 3000
