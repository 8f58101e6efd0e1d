"""BGFETCH_PERMISSION and the veto of plug-ins (14, 87, 189, 229, B23)."""

from __future__ import annotations

import logging

import pytest
from scrapy import Request
from scrapy.settings import BaseSettings

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import (
    InvalidStateError,
    NotAllowedError,
    SettingsError,
)
from scrapy_bgfetch.settings import Settings
from tests.support.crawl_process import until
from tests.support.resuming import SLOW, half_way
from tests.support.state import ids

PROMPT = {"BGFETCH_PERMISSION": "prompt"}
DENIED = {"BGFETCH_PERMISSION": "denied"}


async def test_denied_fetches_raise_and_name_the_setting(probe, tmp_path):
    """14, 189"""

    async def go(spider, response):
        with pytest.raises(NotAllowedError, match='BGFETCH_PERMISSION = "denied"'):
            await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        assert await spider.background_fetch.get_ids() == []

    assert (await probe(go, **DENIED)).names() == []
    assert ids(tmp_path) == []


async def test_denied_grouped_requests_get_it_in_their_errback(crawl, site, caplog):
    async def go(spider, response):
        return [spider.request(response, "/file/x", {"id": "a", "requests": 1})]

    spider = await crawl(go, **DENIED)
    (error,) = spider.failures
    assert isinstance(error, NotAllowedError)
    assert "BGFETCH_PERMISSION" in str(error)
    assert spider.names() == []
    assert site.of("/file/x") == []
    assert "Traceback" not in caplog.text


class Veto:
    @hookimpl
    def bgfetch_register(self, registration):
        raise ValueError(f"not {registration.id}")


async def test_a_plug_in_may_refuse_and_nothing_is_stored(probe, site, tmp_path):
    """14"""

    async def go(spider, response):
        with pytest.raises(
            NotAllowedError, match=r"tests\.test_permission\.Veto .*not"
        ):
            await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        assert await spider.background_fetch.get_ids() == []

    assert (await probe(go, BGFETCH_PLUGINS=[Veto])).names() == []
    assert ids(tmp_path) == []
    assert site.of("/file/x") == []


async def test_prompted_ones_start_paused_and_go_on_when_resumed(probe, site):
    """87, 189; 229: more than one."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handles = [
            await fetch(f"a{n}", f"/file/{n}", base_url=response) for n in range(3)
        ]
        assert [handle.paused for handle in handles] == [True] * 3
        assert [handle.records[0].state for handle in handles] == ["pending"] * 3
        await handles[2].resume()
        await handles[2].settled()
        assert site.paths() == ["/page", "/file/2"]
        for handle in handles[:2]:
            await handle.resume()
            assert not handle.paused
            await handle.settled()

    spider = await probe(go, **PROMPT)
    assert spider.names().count("success") == 3


async def test_other_methods_than_get_start_paused_too(probe, site):
    """B23: they cannot be paused, but what waits for permission can go on."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        requests = [Request(site.url("/echo"), method="POST", body=b"x"), "/file/x"]
        handle = await fetch("a", requests, base_url=response)
        assert handle.paused
        assert site.paths() == ["/page"]
        await handle.resume()
        with pytest.raises(InvalidStateError, match="cannot be paused"):
            await handle.pause()
        assert (await handle.settled()).result == "success"
        with pytest.raises(InvalidStateError, match="has ended"):
            await handle.resume()

    await probe(go, **PROMPT)
    assert len(site.of("/echo")) == 1


async def test_a_paused_one_can_be_aborted(probe, site):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        assert await handle.abort()
        assert (await handle.settled()).failure_reason == "aborted"

    await probe(go, **PROMPT)
    assert site.of("/file/x") == []


async def test_an_idle_spider_does_not_wait_and_says_how_to_go_on(probe, site, caplog):
    caplog.set_level(logging.INFO)

    async def go(spider, response):
        for n in range(2):
            await spider.background_fetch.fetch(f"a{n}", "/file/x", base_url=response)

    spider = await probe(go, **PROMPT)
    assert spider.names() == ["registered", "registered"]
    assert site.of("/file/x") == []
    assert caplog.text.count("starts paused, as all will") == 1
    assert caplog.text.count("does not wait for 2 paused") == 1
    assert "['a0', 'a1']" in caplog.text
    assert "`await registration.resume()`" in caplog.text


async def test_a_grouped_request_starts_paused(crawl, site):
    async def go(spider, response):
        request = spider.request(response, "/file/x", {"id": "a", "requests": 1})
        spider.crawler.engine.crawl(request)
        await until(lambda: "registered" in spider.names())
        assert spider.handle().paused
        assert site.paths() == ["/page"]
        await spider.handle().resume()
        await spider.handle().settled()

    spider = await crawl(go, **PROMPT)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.results) == 1


@pytest.mark.parametrize("later", ["granted", "prompt", "denied"])
async def test_a_later_run_takes_it_up_as_it_was(process, site, later):
    """Paused stays paused, whatever is allowed now."""
    it = process(**PROMPT)
    await it.run(fetch=[{"id": "a", "requests": site.url("/file/x")}])
    it.settings["BGFETCH_PERMISSION"] = later
    await it.run()
    assert it.rows("SELECT id, paused, result FROM registrations") == [("a", 1, "")]
    assert site.paths() == []


@pytest.mark.parametrize("later", ["prompt", "denied"])
async def test_what_runs_goes_on_in_a_later_run(process, site, later):
    it = process()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    it.settings["BGFETCH_PERMISSION"] = later
    await it.run()
    assert it.ends() == [("success", "a", "")]


@pytest.mark.parametrize("value", ["ask", "", True, 1])
def test_an_unknown_permission_is_refused(value):
    settings = BaseSettings({"BGFETCH_PERMISSION": value})
    with pytest.raises(SettingsError, match="BGFETCH_PERMISSION"):
        Settings.read(settings)


async def test_what_waits_for_permission_and_is_not_all_get_takes_others(probe):
    """B23: nothing of them was sent."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        post = Request(response.urljoin("/echo"), method="POST", body=b"1")
        handle = await fetch("a", post)
        await fetch("a", post.replace(body=b"22"), if_exists="append")
        assert (handle.paused, handle.upload_total) == (True, 3)
        await handle.resume()
        await handle.settled()
        assert (handle.result, handle.uploaded) == ("success", 3)

    await probe(go, **PROMPT)
