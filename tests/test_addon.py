"""One line turns it on, and what was configured before stays."""

from __future__ import annotations

import logging

import pytest
from scrapy import Request
from scrapy.http import HtmlResponse
from scrapy.settings import Settings

from scrapy_bgfetch import Addon, BackgroundFetchDownloadHandler
from tests.support.crawl import Probe, run, settings_of
from tests.support.site import body

HANDLER = "scrapy_bgfetch.BackgroundFetchDownloadHandler"
EXTENSION = {"scrapy_bgfetch.BackgroundFetchExtension": 500}
MIDDLEWARE = {"scrapy_bgfetch.BackgroundFetchMiddleware": 10}
HANDLERS = {"http": HANDLER, "https": HANDLER}


class Recording:
    """A download handler of the user's own."""

    lazy = False
    seen: list[Request]

    def __init__(self) -> None:
        type(self).seen = []

    async def download_request(self, request):
        self.seen.append(request)
        return HtmlResponse(request.url, body=b"<html>recorded</html>")

    async def close(self):
        self.seen.append(None)


def changed(**settings) -> Settings:
    """Return settings after the add-on has changed them."""
    made = Settings(settings)
    Addon().update_settings(made)
    return made


async def fetch_while_it_arrives(spider, response, url):
    """Fetch a slow file; hold that its head is there long before its end."""
    handle = await spider.background_fetch.fetch("a", url)
    record = handle.records[0]
    await record.response_ready
    spider.early = record.downloaded
    await handle.settled()
    assert record.path.read_bytes() == body("x", 400_000)


def warnings(caplog) -> list[str]:
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    return [line for line in lines if "ackground" in line or "bgfetch" in line]


SLOW = "/slow/x?size=400000&rate=1000000"


async def test_one_line_turns_it_on_and_bodies_never_are_in_memory(probe, site, caplog):
    async def go(spider, response):
        await fetch_while_it_arrives(spider, response, site.url(SLOW))

    spider = await probe(go)
    assert spider.early < 400_000
    assert spider.names("progress")[-1] == "success"
    assert not any("in memory" in line for line in warnings(caplog))


async def test_every_component_works_when_it_is_listed_by_hand(probe, site, caplog):
    async def go(spider, response):
        await fetch_while_it_arrives(spider, response, site.url(SLOW))
        url, meta = site.url("/file/y"), {"bgfetch": "b"}
        return [Request(url, callback=spider.keep, meta=meta)]

    by_hand = {
        "ADDONS": {},
        "EXTENSIONS": EXTENSION,
        "DOWNLOADER_MIDDLEWARES": MIDDLEWARE,
        "DOWNLOAD_HANDLERS": HANDLERS,
    }
    spider = await probe(go, **by_hand)
    assert spider.early < 400_000
    assert spider.results[0].path.read_bytes() == body("y", 1000)
    assert warnings(caplog) == []


async def test_without_the_handler_it_works_in_memory_and_says_so(probe, site, caplog):
    async def go(spider, response):
        await fetch_while_it_arrives(spider, response, site.url(SLOW))

    await probe(go, ADDONS={}, EXTENSIONS=EXTENSION)
    said = [line for line in warnings(caplog) if "hold whole files in memory" in line]
    assert len(said) == 2
    assert "Set DOWNLOAD_HANDLERS['http'] to" in said[0]


async def test_without_the_extension_the_handler_lets_all_pass(probe, site):
    async def go(spider, response):
        assert not hasattr(spider, "background_fetch")
        return [Request(site.url("/file/x"), callback=spider.keep)]

    spider = await probe(go, ADDONS={}, DOWNLOAD_HANDLERS=HANDLERS)
    assert spider.results[0].body == body("x", 1000)


async def test_the_middleware_says_that_it_needs_the_extension(probe, caplog):
    async def go(spider, response):
        pass

    await probe(go, ADDONS={}, DOWNLOADER_MIDDLEWARES=MIDDLEWARE)
    [line] = warnings(caplog)
    assert "needs the extension scrapy_bgfetch.BackgroundFetchExtension" in line
    assert "add it to EXTENSIONS, or use ADDONS" in line


@pytest.mark.parametrize("priority", ["project", "spider", "cmdline"])
async def test_other_requests_go_untouched_to_the_handler_that_was_there(
    site, tmp_path, priority
):
    async def go(spider, response):
        spider.page_body = response.body
        meta = {"mine": 1}
        await fetch_while_it_arrives(spider, response, site.url(SLOW))
        return [Request("http://a.example/", meta=meta, callback=spider.keep)]

    settings = Settings(settings_of(tmp_path))
    settings.set("DOWNLOAD_HANDLERS", {"http": Recording}, priority)
    spider = await run(Probe, settings, page="http://a.example/page", go=go)
    assert spider.page_body == b"<html>recorded</html>"
    assert spider.early < 400_000
    page, other, closed = Recording.seen
    assert (page.url, other.meta["mine"]) == ("http://a.example/page", 1)
    assert "bgfetch" not in other.meta
    assert other.meta["download_slot"] == "a.example"
    assert closed is None


async def test_a_scheme_that_was_switched_off_stays_off_for_the_crawl(site, tmp_path):
    async def go(spider, response):
        await fetch_while_it_arrives(spider, response, site.url(SLOW))
        url = site.url("/page")
        return [Request(url, callback=spider.keep, errback=spider.keep_failure)]

    settings = settings_of(tmp_path, DOWNLOAD_HANDLERS={"http": None})
    spider = await run(Probe, settings, page="data:text/html,hello", go=go)
    assert "Unsupported URL scheme 'http'" in str(spider.failures[0])
    assert site.of("/page") == []


@pytest.mark.parametrize("priority", ["project", "spider", "cmdline"])
def test_ours_is_in_front_whatever_the_priority(priority):
    settings = Settings()
    settings.set("DOWNLOAD_HANDLERS", {"http": Recording, "s3": None}, priority)
    Addon().update_settings(settings)
    handlers = settings.getdict("DOWNLOAD_HANDLERS")
    assert handlers["http"] is handlers["https"] is BackgroundFetchDownloadHandler
    assert handlers["s3"] is None
    assert settings.getdict("BGFETCH_FALLBACK_HANDLERS") == {"http": Recording}


def test_the_concurrency_grows_by_ours():
    assert changed().getint("CONCURRENT_REQUESTS") == 16 + 8
    grown = changed(CONCURRENT_REQUESTS="4", BGFETCH_CONCURRENT_RECORDS="3")
    assert grown.getint("CONCURRENT_REQUESTS") == 7


def test_a_concurrency_without_limit_stays_so():
    assert changed(CONCURRENT_REQUESTS=0).getint("CONCURRENT_REQUESTS") == 0


def test_download_slots_hold_for_background_downloads_too():
    mine = {"delay": 1}
    slots = changed(
        DOWNLOAD_SLOTS={"a": {"delay": 5}, "b": {"delay": 6}, "bgfetch b": mine}
    ).getdict("DOWNLOAD_SLOTS")
    assert slots["a"] == slots["bgfetch a"] == {"delay": 5}
    assert slots["bgfetch b"] == mine


def test_components_that_are_listed_keep_their_order():
    settings = changed(
        EXTENSIONS={"scrapy_bgfetch.BackgroundFetchExtension": 7},
        DOWNLOADER_MIDDLEWARES={"scrapy_bgfetch.BackgroundFetchMiddleware": None},
    )
    assert list(settings["EXTENSIONS"].values()) == [7]
    assert list(settings["DOWNLOADER_MIDDLEWARES"].values()) == [None]
