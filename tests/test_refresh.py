"""Plug-ins renew requests that were refused: the hook bgfetch_refresh_request."""

from __future__ import annotations

import logging

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BadStatus
from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.raw import answer
from tests.support.site import body

NO = "403 Forbidden"


class Renewer:
    """Answers each refusal with the same request, and notes what it was asked."""

    def __init__(self, said=None):
        self.said = said
        self.asked = []

    def __deepcopy__(self, memo):
        return self  # a crawler copies its settings, and the objects in them

    @hookimpl
    async def bgfetch_refresh_request(self, registration, record, failure):
        self.asked.append((registration, record, failure))
        return self.said


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_it_is_asked_about_a_refusal(fetched, site, status):
    renewer = Renewer()
    handle = await fetched(site.url(f"/status/{status}"), BGFETCH_PLUGINS=[renewer])
    assert handle.failure_reason == "bad-status"
    ((registration, record, failure),) = renewer.asked
    assert registration is handle
    assert record.url == site.url(f"/status/{status}")
    assert isinstance(failure, BadStatus)
    assert (failure.registration, failure.record) == (handle, record)
    assert str(status) in str(failure)
    assert len(site.seen) == 2


@pytest.mark.parametrize("status", [400, 402, 405, 409, 451, 500, 503])
async def test_it_is_not_asked_about_another_status(fetched, site, status):
    renewer = Renewer()
    await fetched(
        site.url(f"/status/{status}"), BGFETCH_PLUGINS=[renewer], BGFETCH_RESUMPTIONS=1
    )
    assert renewer.asked == []


async def test_it_is_not_asked_about_a_request_that_is_not_get(fetched, raw):
    url = raw.says("/form", answer(b"no", status=NO))
    renewer = Renewer(Request(url))
    request = Request(url, method="POST", body=b"x=1")
    handle = await fetched(request, BGFETCH_PLUGINS=[renewer])
    assert handle.failure_reason == "bad-status"
    assert renewer.asked == []
    assert len(raw.heads) == 1


async def test_a_new_url_is_asked(fetched, site):
    renewer = Renewer(Request(site.url("/file/x")))
    handle = await fetched(site.url("/status/404"), BGFETCH_PLUGINS=[renewer])
    record = handle.records[0]
    assert handle.result == "success"
    assert record.path.read_bytes() == body("x", 1000)
    assert (record.url, record.status) == (site.url("/status/404"), 200)
    assert len(renewer.asked) == 1


async def test_a_new_header_is_sent(fetched, raw):
    url = raw.says("/guarded", answer(b"no", status="401 No"), answer(b"secret"))
    renewer = Renewer(Request(url, headers={"Authorization": "Bearer new"}))
    old = Request(url, headers={"Authorization": "Bearer old"})
    handle = await fetched(old, BGFETCH_PLUGINS=[renewer])
    first, second = raw.heads
    assert b"Bearer old" in first
    assert b"Bearer new" in second
    assert b"Bearer old" not in second
    assert handle.records[0].path.read_bytes() == b"secret"


@pytest.mark.parametrize(("name", "wire"), [("x", 90_000), ("other", 150_000)])
async def test_bytes_are_kept_while_the_validator_matches(probe, raw, site, name, wire):
    """Behaviours 60, 215, 218: 60,000 bytes came from the old address."""
    cut = answer(body("x", 60_000), 'ETag: "x"', length=90_000)
    url = raw.says("/old", cut, answer(b"", status=NO))
    raw.may_close.clear()
    renewer = Renewer(Request(site.url(f"/file/{name}?size=90000")))

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch("a", url)
        await until(lambda: spider.handle.records[0].downloaded == 60_000)
        raw.may_close.set()

    spider = await probe(go, BGFETCH_PLUGINS=[renewer])
    assert spider.handle.result == "success"
    assert spider.handle.records[0].path.read_bytes() == body(name, 90_000)
    assert spider.handle.downloaded == 90_000
    (asked,) = site.of(f"/file/{name}")
    assert asked.headers["Range"] == "bytes=60000-"
    assert asked.headers["If-Range"] == '"x"'
    assert spider.crawler.stats.get_value("bgfetch/wire_bytes") == wire


async def test_the_retries_bound_how_often_it_is_asked(fetched, raw):
    """A server that always refuses, a plug-in that never gives up."""
    url = raw.says("/never", answer(b"no", status=NO))
    renewer = Renewer(Request(url))
    handle = await fetched(url, BGFETCH_PLUGINS=[renewer], BGFETCH_RESUMPTIONS=3)
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].path.read_bytes() == b"no"
    assert len(raw.heads) == 4
    assert len(renewer.asked) == 4


async def test_an_answer_that_is_no_request_is_logged(fetched, site, caplog):
    renewer = Renewer("https://example.com/new")
    handle = await fetched(site.url("/status/403"), BGFETCH_PLUGINS=[renewer])
    assert handle.failure_reason == "bad-status"
    (error,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "bgfetch_refresh_request must return a Request" in error.getMessage()


async def test_a_plug_in_that_fails_leaves_the_refusal(fetched, site, caplog):
    class Broken:
        @hookimpl
        def bgfetch_refresh_request(self):
            raise RuntimeError("no luck")

    handle = await fetched(site.url("/status/403"), BGFETCH_PLUGINS=[Broken()])
    assert handle.failure_reason == "bad-status"
    assert "no luck" in caplog.text


@pytest.mark.parametrize("renewed", ["/file/x", "/status/410"])
async def test_a_grouped_request_keeps_its_callback_and_errback(
    site, settings, renewed
):
    renewer = Renewer(Request(site.url(renewed)))

    class Grouped(Probe):
        def got(self, response, number):
            self.results.append((number, response.meta["mine"], response))

    async def go(spider, response):
        return [
            Request(
                site.url("/status/403"),
                spider.got,
                errback=spider.keep_failure,
                meta={"bgfetch": {"id": "a", "requests": 1}, "mine": 7},
                cb_kwargs={"number": 5},
            )
        ]

    options = settings(BGFETCH_PLUGINS=[renewer], BGFETCH_RESUMPTIONS=2)
    spider = await run(Grouped, options, page=site.url("/page"), go=go)
    if renewed == "/file/x":
        ((number, mine, response),) = spider.results
        assert (number, mine, response.url) == (5, 7, site.url("/file/x"))
        assert response.path.read_bytes() == body("x", 1000)
        assert response.request.url == site.url("/status/403")
        assert len(site.of("/file/x")) == 1
    else:
        (error,) = spider.failures
        assert isinstance(error, BadStatus)
        assert error.record.url == site.url("/status/403")
    assert len(spider.results) + len(spider.failures) == 1
