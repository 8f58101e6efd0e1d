"""What errbacks of grouped requests get: DESIGN, "Grouping ordinary requests"."""

from __future__ import annotations

import logging

import pytest

from scrapy_bgfetch.exceptions import (
    AbortError,
    BadRequestError,
    BadStatus,
    DownloadTotalExceeded,
    FetchError,
)


async def test_an_errback_gets_the_budget_that_was_exceeded(crawl):
    """Behaviour 50, B2: the message says file, limit, bytes and what to do."""

    async def go(spider, response):
        group = {"id": "a", "requests": 2, "download_total": 1500}
        return [spider.request(response, f"/file/{n}", group) for n in range(2)]

    spider = await crawl(go)
    assert spider.ends() == [("fail", "a", "download-total-exceeded")]
    exceeded = [e for e in spider.failures if isinstance(e, DownloadTotalExceeded)]
    assert len(exceeded) == 1
    assert len(spider.failures) + len(spider.results) == 2
    error = exceeded[0]
    assert error.registration is spider.handle()
    assert error.record.failure_reason == "download-total-exceeded"
    for said in (error.record.url, "download_total", "1500 bytes", "Raise"):
        assert said in str(error)


async def test_the_others_of_a_group_that_ends_get_an_abort_error(crawl):
    async def go(spider, response):
        group = {"id": "a", "requests": 2, "download_total": 100_000}
        return [
            spider.request(response, "/slow/x?size=80000&rate=10000", group),
            spider.request(response, "/file/y?size=200000", group),
        ]

    spider = await crawl(go)
    kinds = sorted(type(error).__name__ for error in spider.failures)
    assert kinds == ["AbortError", "DownloadTotalExceeded"]
    aborted = next(e for e in spider.failures if isinstance(e, AbortError))
    assert "download-total-exceeded" in str(aborted)


async def test_an_errback_gets_the_bad_status_and_its_page(crawl):
    async def go(spider, response):
        return [spider.request(response, "/status/404", "a")]

    spider = await crawl(go)
    (error,) = spider.failures
    assert isinstance(error, BadStatus)
    assert error.record.status == 404
    assert error.record.path.read_text() == "page of 404"
    assert error.record.url in str(error)
    assert error.registration.failure_reason == "bad-status"


async def test_an_errback_gets_the_fetch_error(crawl):
    async def go(spider, response):
        return [spider.request(response, "http://127.0.0.1:1/x", "a")]

    spider = await crawl(go, BGFETCH_RESUMPTIONS=1)
    (error,) = spider.failures
    assert isinstance(error, FetchError)
    assert "127.0.0.1:1" in str(error)
    assert spider.ends() == [("fail", "a", "fetch-error")]


async def test_a_failure_without_errback_is_logged_as_an_error_once(crawl, caplog):
    async def go(spider, response):
        return [spider.request(response, "/status/404", "a", errback=None)]

    with caplog.at_level(logging.DEBUG):
        await crawl(go)
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "/status/404" in errors[0].getMessage()


async def test_a_failure_with_errback_is_no_error_in_the_log(crawl, caplog):
    async def go(spider, response):
        return [spider.request(response, "/status/404", "a")]

    with caplog.at_level(logging.DEBUG):
        await crawl(go)
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"requests": 2}, "id"),
        ({"id": "a", "total": 2}, "total"),
        (5, "int"),
        ("", "id"),
        ({"id": "a", "requests": 0}, "requests"),
        ({"id": "a", "download_total": -1}, "download_total"),
    ],
)
async def test_a_meta_of_the_wrong_shape_reaches_the_errback_and_one_error_is_logged(
    crawl, site, caplog, value, said
):
    async def go(spider, response):
        return [spider.request(response, "/file/x", value)]

    with caplog.at_level(logging.DEBUG):
        spider = await crawl(go)
    (error,) = spider.failures
    assert isinstance(error, BadRequestError)
    assert said in str(error)
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "was not grouped" in errors[0].getMessage()
    assert site.of("/file/x") == []


async def test_a_later_request_may_not_contradict_the_group(crawl):
    async def go(spider, response):
        return [
            spider.request(response, "/slow/x", {"id": "a", "requests": 2}),
            spider.request(response, "/file/y", {"id": "a", "requests": 3}),
            spider.request(response, "/file/z", "a"),
        ]

    spider = await crawl(go)
    (error,) = spider.failures
    assert isinstance(error, BadRequestError)
    assert "requests" in str(error)
    assert "contradict" in str(error) or "say it once" in str(error)
    assert len(spider.results) == 2
    assert spider.ends() == [("success", "a", "")]


async def test_grouped_requests_cannot_join_what_fetch_registered(crawl):
    async def go(spider, response):
        await spider.background_fetch.fetch("a", "/slow/x", base_url=response)
        return [spider.request(response, "/file/y", "a")]

    spider = await crawl(go)
    (error,) = spider.failures
    assert "fetch()" in str(error)
    assert spider.ends() == [("success", "a", "")]
