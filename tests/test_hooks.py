"""Hooks in real crawls: DESIGN section 1, "Hooks"."""

from __future__ import annotations

import asyncio

import pytest

from scrapy_bgfetch import (
    BackgroundFetchResponse,
    hookimpl,
    signals,
)
from scrapy_bgfetch.exceptions import FetchError, NotAllowedError
from tests.support import state
from tests.support.plugins import AsyncRecorder, Recorder, fetching, stats_of
from tests.support.site import body


@pytest.mark.parametrize("kind", [Recorder, AsyncRecorder])
async def test_each_hook_is_called_with_its_arguments(probe, kind):
    plugin = kind()
    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[plugin])
    assert plugin.names() == [
        "register",
        "response_started",
        "file_name",
        "record_settled",
        "settled",
    ]
    for _, (registration, *_rest) in plugin.calls:
        assert registration is spider.handle
    for name in ("response_started", "file_name"):
        ((_, record, response),) = plugin.of(name)
        assert record.url == response.url
        assert isinstance(response, BackgroundFetchResponse)
        assert response.headers["ETag"] == b'"x"'
    ((_, record),) = plugin.of("record_settled")
    assert record.path.read_bytes() == body("x", 1000)


async def test_the_settled_hook_comes_after_the_signal(probe):
    order = []

    class Last:
        @hookimpl
        def bgfetch_settled(self, registration):
            order.append("hook")

    async def go(spider, response):
        async def on_success(registration):
            await asyncio.sleep(0.05)
            order.append("signal")

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        await fetching("/file/x")(spider, response)

    await probe(go, BGFETCH_PLUGINS=[Last()])
    assert order == ["signal", "hook"]


async def test_the_first_answer_names_the_file(probe):
    asked = []

    class Silent:
        @hookimpl
        def bgfetch_file_name(self, record):
            asked.append("silent")

    class Names:
        @hookimpl
        async def bgfetch_file_name(self, record):
            asked.append("names")
            return f"audio/{record.index}.mp3"

    class Late:
        @hookimpl(trylast=True)
        def bgfetch_file_name(self, record):
            asked.append("late")
            return "late"

    spider = await probe(
        fetching("/file/x"), BGFETCH_PLUGINS=[Late(), Names(), Silent()]
    )
    assert spider.handle.records[0].path.parts[-2:] == ("audio", "0.mp3")
    assert asked == ["silent", "names"]


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a/../../../escape"])
async def test_a_name_that_leads_out_of_its_folder_is_made_safe(probe, tmp_path, name):
    class Names:
        @hookimpl
        def bgfetch_file_name(self):
            return name

    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[Names()])
    path = spider.handle.records[0].path.resolve()
    assert (tmp_path / "bgfetch" / "files").resolve() in path.parents
    assert path.read_bytes() == body("x", 1000)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_plug_in_may_veto_a_background_fetch(
    probe, site, tmp_path, asynchronous
):
    """Behaviours 14, 95, 314: nothing is stored, nothing is asked for."""

    class Veto:
        @hookimpl
        def bgfetch_register(self, registration):
            raise ValueError(f"no {registration.id} on Sundays")

    class AsyncVeto:
        @hookimpl
        async def bgfetch_register(self, registration):
            raise ValueError(f"no {registration.id} on Sundays")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        with pytest.raises(NotAllowedError, match="no a on Sundays") as caught:
            await fetch("a", "/file/x", base_url=response)
        assert "Veto" in str(caught.value)
        assert await spider.background_fetch.get_ids() == []

    plugin = AsyncVeto() if asynchronous else Veto()
    spider = await probe(go, BGFETCH_PLUGINS=[plugin])
    assert spider.events == []
    assert state.ids(tmp_path) == []
    assert site.of("/file/x") == []
    assert not any(name.startswith("bgfetch/") for name in stats_of(spider))


async def test_a_plug_in_may_refuse_a_body(probe, tmp_path):
    class Refuses:
        @hookimpl
        def bgfetch_response_started(self, record, response):
            if response.headers["ETag"] == b'"bad"':
                raise ValueError("this is no audio")

    spider = await probe(
        fetching("/file/bad", "/file/good"), BGFETCH_PLUGINS=[Refuses()]
    )
    bad, good = spider.handle.records
    assert (bad.failure_reason, good.failure_reason) == ("fetch-error", "")
    assert "Refuses" in bad.error
    assert "this is no audio" in bad.error
    assert bad.path is None
    assert isinstance(bad.failure(), FetchError)
    assert spider.handle.failure_reason == "fetch-error"
    assert spider.handle.downloaded == 1000
    assert len(state.files(tmp_path)) == 1
