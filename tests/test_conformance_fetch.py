"""What the specification and browsers say of fetch and get, in real crawls."""

from __future__ import annotations

import inspect

import pytest
from scrapy import Request

import scrapy_bgfetch
from scrapy_bgfetch import BackgroundFetchManager, BackgroundFetchRegistration
from scrapy_bgfetch.exceptions import (
    BackgroundFetchError,
    BadRequestError,
    IdActiveError,
    QuotaExceededError,
)
from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.rules.validation import check_url
from tests.support.raw import answer
from tests.support.site import body

MiB = 1024 * 1024
ICON = {"src": "/icon.png", "sizes": "300x300", "type": "image/png"}
# The members of the specification's interfaces, in Python's spelling.
INTERFACES = {
    "BackgroundFetchManager": ["fetch", "get", "get_ids"],
    "BackgroundFetchRegistration": [
        *("id", "upload_total", "uploaded", "download_total", "downloaded"),
        *("result", "failure_reason", "records_available"),
        *("abort", "match", "match_all", "add_event_listener"),
        "remove_event_listener",
    ],
    "BackgroundFetchRecord": ["request", "response_ready"],
    "BackgroundFetchEvent": [],
    "BackgroundFetchUpdateUIEvent": ["update_ui"],
}


@pytest.mark.parametrize("name", INTERFACES)
def test_every_interface_has_every_member_of_the_specification(name):
    """Behaviour 150."""
    interface = getattr(scrapy_bgfetch, name)
    assert all(hasattr(interface, member) for member in INTERFACES[name])


def test_match_and_get_say_that_there_may_be_nothing():
    """Behaviours 76, B16."""
    registration, manager = BackgroundFetchRegistration, BackgroundFetchManager
    found = [inspect.signature(one) for one in (registration.match, manager.get)]
    assert [one.return_annotation for one in found] == [
        "BackgroundFetchRecord | None",
        "BackgroundFetchRegistration | None",
    ]
    id = inspect.signature(registration.id.fget)
    assert id.return_annotation == "str"


def test_results_and_reasons_are_those_of_the_specification():
    """Behaviour 4."""
    assert [str(one) for one in Result] == ["", "success", "failure"]
    assert [str(one) for one in FailureReason] == [
        *("", "aborted", "bad-status", "fetch-error"),
        *("quota-exceeded", "download-total-exceeded"),
    ]


async def test_a_handle_has_what_it_was_registered_with(probe, site):
    """Behaviours 2, 8, 21: the records in their order, the rest as it was given."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        urls = [site.url(f"/file/{n}") for n in (2, 0, 1)]
        spider.handle = await fetch("a", urls, title="An album", icons=[ICON])
        spider.bare = await fetch("b", urls[0])

    spider = await probe(go)
    handle, bare = spider.handle, spider.bare
    assert [record.url[-1] for record in handle.records] == ["2", "0", "1"]
    assert (handle.title, handle.icons, handle.paused) == ("An album", (ICON,), False)
    assert (bare.title, bare.icons, bare.download_total) == ("", (), 0)


async def test_callbacks_of_requests_do_not_outlive_the_call(probe, site):
    """Behaviour 12: what is kept is the request, not who wanted it."""

    async def go(spider, response):
        request = Request(
            site.url("/file/x"), callback=spider.keep, errback=spider.keep_failure
        )
        spider.handle = await spider.background_fetch.fetch("a", request)
        kept = spider.handle.records[0].request
        spider.kept = (kept.callback, kept.errback)
        assert request.callback is not None

    spider = await probe(go)
    assert spider.handle.result == "success"
    assert (spider.results, spider.failures, spider.kept) == ([], [], (None, None))


async def test_arguments_come_before_the_id_and_the_id_before_the_room(probe, site):
    """Behaviours 13, 187: what is refused first."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", site.url("/slow/x?size=100000&rate=200000"))
        with pytest.raises(BadRequestError) as caught:
            await fetch("a", [], download_total=1_000_001)
        assert not isinstance(caught.value, IdActiveError)
        with pytest.raises(IdActiveError):
            await fetch("a", site.url("/file/x"), download_total=1_000_001)
        with pytest.raises(QuotaExceededError):
            await fetch("b", site.url("/file/x"), download_total=1_000_001)
        await handle.settled()

    spider = await probe(go, BGFETCH_QUOTA=1_000_000)
    assert spider.names("progress", "record_settled") == ["registered", "success"]


async def test_where_it_cannot_work_every_call_says_why():
    """Behaviours 15, 100, 123: there is nobody to tell the outcome."""
    manager = BackgroundFetchManager(None)
    manager.refuse(BackgroundFetchError("it works on asyncio only"))
    for call in (manager.fetch("a", "http://a/"), manager.get("a"), manager.get_ids()):
        with pytest.raises(BackgroundFetchError, match="works on asyncio only"):
            await call


async def test_the_empty_url_is_the_base_itself(probe):
    """Behaviour 105."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch("a", "", base_url=response)

    spider = await probe(go, page="/file/page")
    assert spider.handle.result == "success"
    assert spider.handle.records[0].path.read_bytes() == body("page", 1000)


@pytest.mark.parametrize(
    ("method", "kind"), [("PUT", "text/plain"), ("POST", "application/json")]
)
async def test_no_method_and_no_content_type_needs_a_preflight(
    fetched, raw, method, kind
):
    """Behaviours 106, 107."""
    url = raw.says("/there", answer(b"done"))
    request = Request(url, method=method, headers={"Content-Type": kind}, body="{}")
    handle = await fetched(request)
    assert handle.result == "success"
    (head,) = raw.of("/there")
    assert head.startswith(method.encode())
    assert f"content-type: {kind}".encode() in head.lower()


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.org/", "http://192.0.2.1/", "http://[2001:db8::1]/"),
        *("http://example.org:587/", "https://example.org:25/"),
    ],
)
def test_plain_http_is_taken_from_anywhere_and_any_port_is(url):
    """Behaviours 138, 141: a browser's rules for pages, not for a crawl."""
    assert check_url(url) == url


async def test_an_id_and_a_title_of_one_mebibyte_are_taken(probe, site):
    """Behaviour 180."""
    long = "a" * MiB

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch(long, site.url("/file/x"), title=long)
        assert await spider.background_fetch.get_ids() == [long]
        spider.handle = await handle.settled()
        with pytest.raises(BadRequestError, match="longer than 1 MiB"):
            await spider.background_fetch.get(long + "a")

    handle = (await probe(go)).handle
    assert (handle.id, handle.title) == (long, long)
    assert handle.records[0].path.read_bytes() == body("x", 1000)


async def test_any_number_may_be_active_and_one_that_ends_lets_the_next_begin(
    probe, site
):
    """Behaviours 30, 181-183, 193: the slots are limited, not the ids."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handles = [await fetch(f"{n}", site.url(f"/file/{n}")) for n in range(20)]
        spider.handles = handles
        spider.active = len(await spider.background_fetch.get_ids())

    spider = await probe(go, BGFETCH_CONCURRENT_RECORDS=1)
    assert spider.active > 5
    assert {handle.result for handle in spider.handles} == {"success"}
    files = [path for path in site.paths() if path.startswith("/file/")]
    assert files == [f"/file/{n}" for n in range(20)]


async def test_records_are_counted_as_numbers_also_beyond_ten(fetched, site):
    """Behaviour 197: asked in their order, and the first failure is the third."""
    urls = [site.url(f"/file/{n}") for n in range(12)]
    urls[2] = site.url("/status/404")
    urls[10] = site.url("/leave?to=http://")
    handle = await fetched(urls, BGFETCH_CONCURRENT_RECORDS=1)
    assert [record.url for record in handle.records] == urls
    assert handle.failure_reason == handle.records[2].failure_reason == "bad-status"
    files = [path for path in site.paths() if path.startswith("/file/")]
    assert files == [f"/file/{n}" for n in range(12) if n not in {2, 10}]
