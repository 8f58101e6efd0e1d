"""Bad input gets a clear error, early: the request meta key ``bgfetch``."""

from __future__ import annotations

import logging

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError, QuotaExceededError
from tests.support import state

BAD_VALUES = [
    ("", r'meta\["bgfetch"\]\["id"\] is empty'),
    (5, r'meta\["bgfetch"\] must be an id or a dict of options, not int 5. For exa'),
    (["a"], r'meta\["bgfetch"\] must be an id or a dict of options, not list'),
    (True, "must be an id or a dict of options, not bool"),
    ({}, r'must say the "id". For example'),
    ({"id": ""}, r'meta\["bgfetch"\]\["id"\] is empty'),
    ({"id": 5}, r'meta\["bgfetch"\]\["id"\] must be a str, not int'),
    ({"requests": 2}, 'must say the "id"'),
    ({"id": "a", "request": 2}, "unknown key 'request'. Did you mean \"requests\""),
    ({"id": "a", "requests": 0}, r'\["requests"\] .* give one from 1 to'),
    ({"id": "a", "requests": "2"}, r'\["requests"\] .* give an int, not str'),
    ({"id": "a", "download_total": -1}, r'\["download_total"\] is a number of bytes'),
    ({"id": "a", "download_total": True}, r'\["download_total"\] .* not bool True'),
    ({"id": "a", "title": 5}, r'\["title"\] must be a str'),
    ({"id": "a", "icons": "x"}, r'\["icons"\] must be a list of dicts'),
]


def errors(caplog) -> list[str]:
    records = [r for r in caplog.records if r.levelno >= logging.ERROR]
    return [record.getMessage() for record in records]


@pytest.fixture
def grouped(probe, caplog):
    """Crawl requests with these meta values; return the spider."""

    async def crawl(*values, path="/file/x", settings=None, **options):
        async def go(spider, response):
            ends = {"callback": spider.keep, "errback": spider.keep_failure}
            return [
                Request(
                    response.urljoin(f"{path}?{number}"),
                    meta={"bgfetch": value},
                    **{**ends, **options},
                )
                for number, value in enumerate(values)
            ]

        spider = await probe(go, CONCURRENT_REQUESTS=1, **(settings or {}))
        assert "Traceback" not in caplog.text
        return spider

    return crawl


@pytest.mark.parametrize(("value", "message"), BAD_VALUES)
async def test_a_meta_value_of_the_wrong_shape_goes_to_the_errback(
    grouped, site, tmp_path, caplog, value, message
):
    spider = await grouped(value)
    [error] = spider.failures
    assert isinstance(error, BadRequestError)
    with pytest.raises(BadRequestError, match=message):
        raise error
    [line] = errors(caplog)
    assert str(error) in line
    assert "/file/x" in line
    assert "/file/x" not in site.paths()
    assert state.ids(tmp_path) == []


async def test_it_is_said_also_without_an_errback(grouped, caplog):
    spider = await grouped({"id": ""}, errback=None)
    assert spider.results == []
    assert len(errors(caplog)) == 1


async def test_a_callback_that_is_no_method_of_the_spider_is_refused(
    grouped, tmp_path, caplog
):
    spider = await grouped("a", callback=lambda response: None)
    [error] = spider.failures
    assert isinstance(error, BadRequestError)
    assert "Use methods of the spider as callback and errback" in str(error)
    assert len(errors(caplog)) == 1
    assert state.ids(tmp_path) == []


async def test_meta_that_is_not_json_is_refused(probe, tmp_path, caplog):
    async def go(spider, response):
        meta = {"bgfetch": "a", "item": object()}
        url = response.urljoin("/file/x")
        yield_ = Request(
            url, meta=meta, callback=spider.keep, errback=spider.keep_failure
        )
        return [yield_]

    spider = await probe(go)
    assert "its meta must hold JSON values only" in str(spider.failures[0])
    assert "Traceback" not in caplog.text
    assert state.ids(tmp_path) == []


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"requests": 2}, {"requests": 3}),
        ({"download_total": 5000}, {"download_total": 6000}),
        ({"title": "One"}, {"title": "Two"}),
        ({"icons": [{"src": "/1"}]}, {"icons": [{"src": "/2"}]}),
    ],
)
async def test_a_later_request_that_contradicts_its_group_is_refused_alone(
    grouped, tmp_path, first, later
):
    spider = await grouped({"id": "a", **first}, {"id": "a", **later})
    [error] = spider.failures
    (key,) = first
    assert isinstance(error, BadRequestError)
    assert f'meta["bgfetch"]["{key}"] of the group \'a\' is' in str(error)
    assert "say it once, or the same each time" in str(error)
    assert len(spider.results) == 1
    assert spider.names("progress") == ["registered", "record_settled", "success"]
    assert state.records(tmp_path) == 1


async def test_a_group_over_the_quota_is_refused(grouped, tmp_path):
    """Behaviours 20, 110."""
    value = {"id": "a", "download_total": 1001}
    spider = await grouped(value, settings={"BGFETCH_QUOTA": 1000})
    assert isinstance(spider.failures[0], QuotaExceededError)
    assert "BGFETCH_QUOTA has only" in str(spider.failures[0])
    assert state.ids(tmp_path) == []


async def test_a_later_download_total_over_the_quota_is_refused(grouped):
    values = ["a", {"id": "a", "download_total": 1001}]
    spider = await grouped(*values, settings={"BGFETCH_QUOTA": 1000})
    assert isinstance(spider.failures[0], QuotaExceededError)
    assert spider.names("progress")[-1] == "success"


async def test_a_grouped_request_cannot_join_what_fetch_registered(probe, caplog):
    async def go(spider, response):
        await spider.background_fetch.fetch("a", "/slow/x", base_url=response)
        url, meta = response.urljoin("/file/y"), {"bgfetch": "a"}
        return [Request(url, meta=meta, errback=spider.keep_failure)]

    spider = await probe(go)
    assert "grouped requests cannot join it. Use another id" in str(spider.failures[0])
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1/x", "neither http nor https"),
        ("http://user:s3cret@127.0.0.1/x", "has credentials: take them out"),
        ("http:///x", "has no host"),
    ],
)
async def test_a_grouped_request_with_an_unusable_url_is_refused(
    probe, tmp_path, caplog, url, message
):
    async def go(spider, response):
        meta = {"bgfetch": "a"}
        return [Request(url, meta=meta, errback=spider.keep_failure)]

    spider = await probe(go)
    assert isinstance(spider.failures[0], BadRequestError)
    assert "the URL of a grouped request" in str(spider.failures[0])
    assert message in str(spider.failures[0])
    [line] = errors(caplog)
    assert "s3cret" not in line
    assert state.ids(tmp_path) == []
