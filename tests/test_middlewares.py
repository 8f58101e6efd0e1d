"""Every attempt passes through Scrapy's downloader middlewares."""

from __future__ import annotations

import json

import pytest
from scrapy import Request
from scrapy.http import Response

from tests.support import state
from tests.support.crawl import Probe, run, settings_of
from tests.support.site import body


class Answering:
    """Answers by itself what is under /made-up."""

    def process_request(self, request):
        if "/made-up" in request.url:
            return Response(request.url, body=b"made up")
        return None


def echoed(handle) -> dict[str, str]:
    return json.loads(handle.records[0].path.read_text())["headers"]


@pytest.fixture
def fetched_by(site, tmp_path):
    """Fetch in the background by a spider with these attributes."""

    async def fetch(request, attributes, **settings):
        async def go(spider, response):
            handle = await spider.background_fetch.fetch("a", request)
            spider.handle = await handle.settled()

        settings = settings_of(tmp_path, **settings)
        page = site.url("/page")
        return (await run(Probe, settings, page=page, go=go, **attributes)).handle

    return fetch


async def test_headers_and_cookies_of_a_request_are_sent(fetched, site):
    request = Request(
        site.url("/echo"), headers={"X-One": "1"}, cookies={"flavour": "plain"}
    )
    headers = echoed(await fetched(request))
    assert headers["X-One"] == "1"
    assert headers["Cookie"] == "flavour=plain"


async def test_cookies_of_the_crawl_are_sent(fetched, site):
    """Behaviour 60."""
    handle = await fetched(site.url("/echo"), page="/cookie")
    assert echoed(handle)["Cookie"] == "session=s3cret"


async def test_the_user_agent_is_the_crawls(fetched, site):
    """Behaviour 91."""
    handle = await fetched(site.url("/echo"), USER_AGENT="mine/1")
    assert echoed(handle)["User-Agent"] == "mine/1"


async def test_http_authentication_of_the_spider_is_sent(fetched_by, site):
    who = {"http_user": "joe", "http_pass": "x", "http_auth_domain": None}
    handle = await fetched_by(site.url("/echo"), who)
    assert echoed(handle)["Authorization"] == "Basic am9lOng="


async def test_redirects_are_followed(probe, site):
    """Behaviour 59."""

    async def go(spider, response):
        url = site.url("/to/to/file/x")
        handle = await spider.background_fetch.fetch("a", url)
        await handle.settled()
        record = handle.records[0]
        answer = await record.response_ready
        assert record.url == record.request.url == url
        assert answer.url.partition("?")[0] == site.url("/file/x")
        assert record.path.read_bytes() == body("x", 1000)

    await probe(go)
    assert len(site.of("/file/x")) == 1


async def test_a_redirect_loop_fails(fetched, site):
    handle = await fetched(site.url("/loop"), REDIRECT_MAX_TIMES=5)
    assert handle.failure_reason == "fetch-error"
    assert "redirect" in handle.records[0].error
    assert len(site.of("/loop")) == 6


@pytest.mark.parametrize("to", ["file:///etc/hostname", "data:,hello", "ftp://a/b"])
async def test_a_redirect_to_another_scheme_is_not_followed(fetched, site, to):
    handle = await fetched(site.url(f"/leave?to={to}"))
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].status == 302
    assert handle.downloaded == 0


async def test_robots_txt_is_obeyed_and_named(fetched, site):
    """Behaviour 91."""
    site.robots = "User-agent: *\nDisallow: /file/secret"
    handle = await fetched(["/file/secret", "/file/x"], ROBOTSTXT_OBEY=True)
    secret, free = handle.records
    assert handle.failure_reason == "fetch-error"
    assert "robots.txt" in secret.error
    assert free.failure_reason == ""
    assert site.of("/file/secret") == []


async def test_what_is_offsite_is_not_fetched(fetched_by, site):
    handle = await fetched_by(site.url("/file/x"), {"allowed_domains": ["a.example"]})
    assert handle.failure_reason == "fetch-error"
    assert "It was not downloaded" in handle.records[0].error
    assert site.of("/file/x") == []


async def test_what_may_be_offsite_is_fetched(fetched_by, site):
    request = Request(site.url("/file/x"), meta={"allow_offsite": True})
    handle = await fetched_by(request, {"allowed_domains": ["a.example"]})
    assert handle.result == "success"


async def test_a_background_download_has_its_own_slot_and_delay(probe, site):
    slow = {"concurrency": 1, "delay": 0.6, "randomize_delay": False}

    async def go(spider, response):
        urls = [site.url(f"/file/{n}") for n in range(3)]
        await spider.background_fetch.fetch("a", urls)
        return [Request(site.url(f"/page{n}"), callback=spider.keep) for n in range(5)]

    spider = await probe(go, DOWNLOAD_SLOTS={"bgfetch 127.0.0.1": slow})
    assert len(spider.results) == 5
    files = [site.at(r) for r in site.seen if r.path.startswith("/file/")]
    pages = [site.at(r) for r in site.seen if r.path.startswith("/page")]
    assert files[2] - files[0] > 0.8
    assert max(pages) < files[2]


async def test_the_download_delay_is_honoured(fetched, site):
    urls = [site.url(f"/file/{n}") for n in range(3)]
    await fetched(urls, DOWNLOAD_DELAY=0.4, RANDOMIZE_DOWNLOAD_DELAY=False)
    at = [site.at(r) for r in site.seen if r.path.startswith("/file/")]
    assert at[2] - at[0] > 0.5


async def test_the_http_cache_neither_answers_nor_learns(probe, site, tmp_path):
    """Behaviours 41, 222."""
    cache = {"HTTPCACHE_ENABLED": True, "HTTPCACHE_DIR": str(tmp_path / "cache")}

    async def go(spider, response):
        for id in ("a", "b"):
            fetch = spider.background_fetch.fetch
            handle = await fetch(id, "/file/x", base_url=response)
            await handle.settled()
            assert handle.records[0].path.read_bytes() == body("x", 1000)
        return [Request(site.url("/file/x"), callback=spider.keep)]

    spider = await probe(go, **cache)
    assert spider.results[0].body == body("x", 1000)
    assert spider.results[0].flags == []
    assert len(site.of("/file/x")) == 3


async def test_a_middleware_may_answer_by_itself(fetched, site):
    handle = await fetched(
        site.url("/made-up"), DOWNLOADER_MIDDLEWARES={Answering: 500}
    )
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == b"made up"
    assert site.of("/made-up") == []


@pytest.mark.parametrize("stored", [False, True])
async def test_credentials_are_stored_only_when_asked(fetched, site, tmp_path, stored):
    request = Request(
        site.url("/echo"),
        headers={"Authorization": "Bearer t0ken"},
        cookies={"sid": "c00kie"},
        meta={"proxy": "http://joe:pr0xy@127.0.0.1:1"},
    )
    handle = await fetched(
        [request, site.url("/file/x")],
        BGFETCH_STORE_CREDENTIALS=stored,
        BGFETCH_RESUMPTIONS=0,
    )
    assert handle.failure_reason == "fetch-error"
    kept = state.dump(tmp_path)
    assert [s in kept for s in ("t0ken", "c00kie", "pr0xy")] == [stored] * 3


async def test_cookies_that_a_server_sets_are_not_stored(fetched, site, tmp_path):
    handle = await fetched(site.url("/cookie"))
    assert handle.result == "success"
    assert "s3cret" not in state.dump(tmp_path)


async def test_autothrottle_adjusts_the_slot_of_background_downloads(probe):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", ["/file/1?after=0.2", "/file/2", "/file/3"], base_url=response
        )
        await handle.settled()
        slots = spider.crawler.engine.downloader.slots
        spider.delays = {name: slot.delay for name, slot in slots.items()}
        assert handle.result == "success"

    spider = await probe(go, AUTOTHROTTLE_ENABLED=True, AUTOTHROTTLE_START_DELAY=0.1)
    assert set(spider.delays) == {"127.0.0.1", "bgfetch 127.0.0.1"}
    assert spider.delays["bgfetch 127.0.0.1"] != 0.1
