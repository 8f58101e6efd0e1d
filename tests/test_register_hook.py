"""What a plug-in may do in ``bgfetch_register``, before anything is stored."""

from __future__ import annotations

import asyncio
import logging

import pytest

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import (
    IdActiveError,
    InvalidStateError,
    NotAllowedError,
)
from tests.support import state
from tests.support.raw import answer
from tests.support.site import body

TAG = 'ETag: "x"'
ICON = {"src": "http://site.example/icon.png", "sizes": "", "type": ""}


class Does:
    """A plug-in that does something with what is being registered."""

    def __init__(self, what):
        self.what = what

    @hookimpl
    async def bgfetch_register(self, registration):
        await self.what(registration)


@pytest.fixture
def registered(probe):
    """Fetch "a" while a plug-in does something; return what the next run finds."""

    async def start(what, path="/file/x", **settings):
        async def first(spider, response):
            fetch = spider.background_fetch.fetch
            spider.handle = await fetch("a", path, base_url=response, title="before")

        async def second(spider, response):
            spider.handle = await spider.background_fetch.get("a")

        with_plugin = {"BGFETCH_PLUGINS": [Does(what)], **settings}
        spiders = [await probe(first, **with_plugin), await probe(second, **settings)]
        return [spider.handle for spider in spiders]

    return start


async def test_what_is_paused_there_is_paused_in_the_next_run_too(
    registered, site, caplog
):
    """Behaviour 56."""
    caplog.set_level(logging.INFO)
    now, later = await registered(lambda registration: registration.pause())
    assert (now.paused, later.paused) == (True, True)
    assert site.of("/file/x") == []
    assert "BGFETCH_PERMISSION" not in caplog.text


async def test_what_is_shown_of_it_can_be_changed_there(registered):
    async def change(registration):
        await registration.update(title="after", icons=[ICON])
        await registration.pause()

    for handle in await registered(change):
        assert handle.title == "after"
        assert [icon["src"] for icon in handle.icons] == [ICON["src"]]


async def test_what_is_resumed_there_begins_when_it_is_registered(
    registered, site, tmp_path
):
    """Behaviours 87, 189: a plug-in may grant what BGFETCH_PERMISSION asks for."""
    seen = []

    async def grant(registration):
        await registration.resume()
        for _ in range(20):  # whoever began now would have asked for its file
            await asyncio.to_thread(seen.extend, site.of("/file/x"))
        seen.append(state.ids(tmp_path))

    now, later = await registered(grant, BGFETCH_PERMISSION="prompt")
    assert seen == [[]]
    assert (now.result, later) == ("success", None)
    assert len(site.of("/file/x")) == 1


async def test_what_is_paused_and_resumed_there_is_not_paused(registered):
    async def both(registration):
        await registration.pause()
        await registration.resume()

    now, _ = await registered(both)
    assert (now.paused, now.result) == (False, "success")


async def test_a_pause_does_not_outlive_a_refusal(probe, tmp_path):
    async def refuse(registration):
        await registration.pause()
        raise ValueError("no")

    async def go(spider, response):
        with pytest.raises(NotAllowedError):
            await spider.background_fetch.fetch("a", response.url)
        assert await spider.background_fetch.get_ids() == []

    await probe(go, BGFETCH_PLUGINS=[Does(refuse)])
    assert state.ids(tmp_path) == []


# -- who waits for itself -----------------------------------------------------------


@pytest.fixture
def fetching(probe):
    """Fetch "a"; in its hook another, as ``inner`` says; return what that raises.

    ``inner`` maps the id that is registered to the id and if_exists of the other.
    """

    async def start(inner):
        raised = {}

        async def go(spider, response):
            async def fetch(id, if_exists):
                fetch = spider.background_fetch.fetch
                return await fetch(id, response.url, if_exists=if_exists)

            async def nest(registration):
                try:
                    if registration.id in inner:
                        await asyncio.wait_for(fetch(*inner[registration.id]), 10)
                except (InvalidStateError, IdActiveError) as error:
                    raised[registration.id] = error

            hooks["nest"] = nest
            handle = await fetch("a", "error")
            assert (await handle.settled()).result == "success"

        hooks = {}

        async def late(registration):
            await hooks["nest"](registration)

        await probe(go, BGFETCH_PLUGINS=[Does(late)])
        return raised

    return start


@pytest.mark.parametrize("if_exists", ["keep", "append", "replace"])
async def test_who_would_wait_for_itself_is_told(fetching, if_exists):
    raised = await fetching({"a": ("a", if_exists)})
    assert isinstance(raised["a"], InvalidStateError)
    assert "'a' is not registered yet" in str(raised["a"])


async def test_who_would_not_wait_is_told_that_the_id_is_active(fetching):
    """Behaviour 16."""
    raised = await fetching({"a": ("a", "error")})
    assert isinstance(raised["a"], IdActiveError)


async def test_who_would_wait_for_itself_through_another_is_told(fetching):
    raised = await fetching({"a": ("b", "keep"), "b": ("a", "keep")})
    assert set(raised) == {"b"}


async def test_another_id_may_be_fetched_there(fetching):
    assert await fetching({"a": ("b", "keep")}) == {}


async def test_who_is_no_part_of_it_waits_for_it(probe):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_):
        begun.set()
        await go_on.wait()

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = asyncio.ensure_future(fetch("a", response.url))
        await begun.wait()
        second = asyncio.ensure_future(fetch("a", response.url, if_exists="keep"))
        go_on.set()
        assert await second is await first

    await probe(go, BGFETCH_PLUGINS=[Does(hold)])


async def test_a_refused_one_leaves_kept_bytes_to_the_next(probe, raw, tmp_path):
    """Its part file has a second name while the plug-ins are asked, and not after."""
    whole = body("x", 100_000)
    first = answer(whole[:60_000], TAG, length=len(whole))
    rest = "Content-Range: bytes 60000-99999/100000"
    part = answer(whole[60_000:], TAG, rest, status="206 Partial Content")
    url = raw.says("/x", first, part)
    names = []

    def parts():
        return len(list((tmp_path / "bgfetch" / "parts").glob("*.part")))

    async def refuse_the_second(registration):
        names.append(parts())
        if len(names) == 2:
            raise ValueError("no")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("a", url)).settled()
        with pytest.raises(NotAllowedError):
            await fetch("a", url)
        names.append(parts())
        spider.handle = await (await fetch("a", url)).settled()

    plugins = [Does(refuse_the_second)]
    spider = await probe(go, BGFETCH_RESUMPTIONS=0, BGFETCH_PLUGINS=plugins)
    assert names == [0, 2, 1, 2]
    assert spider.handle.records[0].path.read_bytes() == whole
    assert b"Range: bytes=60000-" in raw.of("/x")[1]
