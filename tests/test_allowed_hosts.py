"""``allowed_hosts``: nothing is sent to another host."""

from __future__ import annotations

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BadRequestError
from tests.support.crawl_process import until
from tests.support.resuming import SLOW, half_way
from tests.support.site import body

HERE = {"allowed_hosts": ["127.0.0.1"]}


def refused(handle, caplog):
    """Assert that its one record failed for good."""
    (record,) = handle.records
    assert handle.failure_reason == record.failure_reason == "fetch-error"
    assert "is outside of allowed_hosts (127.0.0.1)" in record.error
    assert "is tried again" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["localhost", "127.0.0.1."]])
async def test_what_is_allowed_is_fetched(fetched, hosts):
    handle = await fetched("/to/to/file/x", options={"allowed_hosts": hosts})
    assert handle.records[0].path.read_bytes() == body("x", 1000)


async def test_a_name_is_allowed_too(fetched, site):
    url = site.url("/file/x", host="LOCALHOST")
    handle = await fetched(url, options={"allowed_hosts": ["localhost"]})
    assert handle.result == "success"


async def test_a_request_outside_is_refused_at_once(probe, site):
    async def go(spider, response):
        urls = ["/file/x", site.url("/file/y", host="localhost")]
        with pytest.raises(BadRequestError, match="is outside of allowed_hosts"):
            await spider.background_fetch.fetch("a", urls, base_url=response, **HERE)
        assert await spider.background_fetch.get_ids() == []

    assert (await probe(go)).names() == []
    assert site.paths() == ["/page"]


@pytest.mark.parametrize("robots", [False, True])
async def test_nothing_is_sent_to_where_a_redirect_leads(fetched, site, caplog, robots):
    """Not even a request for its robots.txt."""
    url = site.url("/leave?to=" + site.url("/file/x", host="localhost"))
    refused(await fetched(url, options=HERE, ROBOTSTXT_OBEY=robots), caplog)
    assert len(site.of("/leave")) == 1
    assert site.of("/file/x") == []
    assert not any(one.host.startswith("localhost") for one in site.seen)


async def test_the_middleware_is_not_needed_for_it(fetched, site, caplog):
    off = {"scrapy_bgfetch.middleware.BackgroundFetchMiddleware": None}
    url = site.url("/leave?to=" + site.url("/file/x", host="localhost"))
    refused(await fetched(url, options=HERE, DOWNLOADER_MIDDLEWARES=off), caplog)
    assert site.of("/file/x") == []


class Elsewhere:
    """Renews what was refused by the same path on another host."""

    @hookimpl
    def bgfetch_refresh_request(self, record):
        return Request(record.url.replace("127.0.0.1", "localhost"))


async def test_a_refreshed_request_is_checked(fetched, site, caplog):
    handle = await fetched("/status/403", options=HERE, BGFETCH_PLUGINS=[Elsewhere])
    refused(handle, caplog)
    assert len(site.of("/status/403")) == 1


async def test_it_survives_a_restart(process, site):
    """The redirect comes only after the restart."""
    it = process()
    to = site.url("/file/x", host="localhost")
    first = site.url(f"/slow/first?{SLOW}")
    options = {"max_concurrent_records": 1, **HERE}
    urls = [first, site.url(f"/leave?to={to}")]
    it.start(fetch=[{"id": "a", "requests": urls, **options}])
    await half_way(it)
    await it.kill()
    await it.run()
    assert it.ends() == [("fail", "a", "fetch-error")]
    assert len(site.of("/leave")) == 1
    assert site.of("/file/x") == []


async def test_a_grouped_request_outside_goes_to_its_errback(crawl, site):
    async def go(spider, response):
        request = spider.request(response, "/file/x", {"id": "a", **HERE})
        spider.crawler.engine.crawl(request)
        await until(lambda: "registered" in spider.names())
        there = site.url("/file/y", host="localhost")
        return [spider.request(response, there, "a")]

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    (error,) = spider.failures
    assert isinstance(error, BadRequestError)
    assert site.of("/file/y") == []


async def test_the_first_grouped_request_outside_opens_no_group(crawl, site):
    async def go(spider, response):
        there = site.url("/file/y", host="localhost")
        return [spider.request(response, there, {"id": "a", "requests": 1, **HERE})]

    spider = await crawl(go)
    assert spider.names() == []
    assert [type(error).__name__ for error in spider.failures] == ["BadRequestError"]


async def test_grouped_requests_are_held_to_it_by_redirects_too(crawl, site):
    async def go(spider, response):
        to = site.url("/file/y", host="localhost")
        group = {"id": "a", "requests": 1, **HERE}
        return [spider.request(response, f"/leave?to={to}", group)]

    spider = await crawl(go)
    assert spider.ends() == [("fail", "a", "fetch-error")]
    assert "is outside of allowed_hosts" in str(spider.failures[0])
    assert site.of("/file/y") == []


@pytest.mark.parametrize("value", ["127.0.0.1", [], ["http://127.0.0.1"], [5]])
async def test_unusable_hosts_are_refused(probe, value):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        with pytest.raises(BadRequestError, match=r"^allowed_hosts "):
            await fetch("a", "/file/x", base_url=response, allowed_hosts=value)

    assert (await probe(go)).names() == []
