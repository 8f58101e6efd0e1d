"""Bad input gets a clear error, early: the arguments of ``fetch`` and the meta key."""

from __future__ import annotations

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import (
    BadRequestError,
    IdActiveError,
    QuotaExceededError,
)
from tests.support import state

HERE = "http://127.0.0.1:1/x"

BAD_IDS = [
    ("", "id is empty: give the background fetch a name"),
    (5, "id must be a str, not int"),
    (None, "id must be a str, not NoneType"),
    (b"a", "id must be a str, not bytes"),
    ("a\x00b", "id .* has a control character: use printable text"),
    ("a\ud800", "id .* has a lone surrogate"),
    ("x" * (1024 * 1024 + 1), "id is longer than 1 MiB"),
]
BAD_REQUESTS = [
    ([], "requests is empty: .* needs at least one request"),
    ((), "requests is empty"),
    (None, "requests must be a URL, a scrapy.Request or a list of them, not NoneType"),
    (b"http://a/", "requests must be .* not bytes"),
    ({"url": HERE}, "requests must be .* not dict"),
    ([HERE, 5], "requests holds 5: each of them must be a URL or a scrapy.Req"),
    (["/file/x"], "requests '/file/x' is relative .* base_url=response.url"),
    ("x", "requests 'x' is relative and there is no base"),
    ("file:///etc/passwd", "neither http nor https: only these two can be fetched"),
    ("ftp://127.0.0.1/x", "neither http nor https"),
    ("data:,hello", "neither http nor https"),
    (Request("ftp://127.0.0.1/x"), "neither http nor https"),
    ("http:///x", "has no host: add it after //"),
    ("http://", "has no host"),
    ("http://a..b/", "has a malformed host: check its spelling"),
    ("http://[::1/", "has a malformed host"),
    ("http://127.0.0.1:99999/", "has a bad port: it must be 1 to 65535"),
    ("http://127.0.0.1:x/", "has a bad port"),
    ("http://127.0.0.1/a b", "has a space: .* %20"),
    (" http://127.0.0.1/", r"has a space: strip\(\) the ends"),
    ("http://127.0.0.1/\n", "has a control character: percent-encode it"),
    ("http://127.0.0.1/\x00", "has a control character"),
]
BAD_TOTALS = [-1, True, False, "5", 1.0, None, 2**63]
WITH_CREDENTIALS = [
    "http://user:s3cret@127.0.0.1/x",
    "http://s3cret@127.0.0.1/x",
    Request("http://user:s3cret@127.0.0.1/x"),
]


@pytest.fixture
def refused(probe, tmp_path, caplog):
    """Call ``fetch`` and return its error, having looked that it left no trace."""

    async def call(id="a", requests=HERE, *, error, settings=None, **options):
        async def go(spider, response):
            with pytest.raises(error) as spider.caught:
                await spider.background_fetch.fetch(id, requests, **options)
            assert await spider.background_fetch.get_ids() == []

        spider = await probe(go, **(settings or {}))
        assert spider.names() == []
        assert (state.ids(tmp_path), state.records(tmp_path)) == ([], 0)
        assert state.files(tmp_path) == []
        assert "Traceback" not in caplog.text
        return spider.caught

    return call


@pytest.mark.parametrize(("id", "message"), BAD_IDS)
async def test_an_unusable_id_is_refused(refused, id, message):
    """Behaviours 180, 124."""
    caught = await refused(id, error=BadRequestError)
    assert isinstance(caught.value, TypeError)
    assert caught.match(message)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("requests", "message"), BAD_REQUESTS)
async def test_unusable_requests_are_refused(refused, requests, message):
    """Behaviours 8, 9, 10, 101, 139, 140, 142, 144, B22."""
    caught = await refused(requests=requests, error=BadRequestError)
    assert isinstance(caught.value, TypeError)
    assert caught.match(message)


@pytest.mark.parametrize("request_", WITH_CREDENTIALS)
async def test_credentials_in_a_url_are_refused_and_not_shown(
    refused, caplog, request_
):
    """Behaviours 102, 142."""
    caught = await refused(requests=[HERE, request_], error=BadRequestError)
    assert caught.match("requests .* has credentials: take them out, .* Authorization")
    assert "s3cret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize("total", BAD_TOTALS)
async def test_an_unusable_download_total_is_refused(refused, total):
    caught = await refused(download_total=total, error=BadRequestError)
    assert caught.match("download_total is a number of bytes .*: give ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "/page"}, "base_url '/page' is not absolute: begin it with"),
        ({"base_url": 5}, "base_url must be a str, not int"),
        ({"title": 5}, "title must be a str, not int"),
        ({"icons": "icon.png"}, "icons must be a list of dicts such as"),
        ({"icons": [{"sizes": "1x1"}]}, r'icons\[0\]\["src"\] must be a str'),
        ({"icons": [{"src": "/x", "y": object()}]}, "must hold JSON values only"),
    ],
)
async def test_other_unusable_options_are_refused(refused, options, message):
    caught = await refused(error=BadRequestError, **options)
    assert caught.match(message)


async def test_a_download_total_over_the_quota_is_refused(refused):
    """Behaviours 20, 110, 187, B19."""
    caught = await refused(
        download_total=1001, error=QuotaExceededError, settings={"BGFETCH_QUOTA": 1000}
    )
    assert caught.match(r"\(1001 bytes\), but BGFETCH_QUOTA has only .* left. Raise it")


async def test_a_download_total_of_exactly_the_quota_is_taken(probe, site):
    async def go(spider, response):
        await spider.background_fetch.fetch(
            "a", "/file/x", base_url=response, download_total=1000
        )

    spider = await probe(go, BGFETCH_QUOTA=1000)
    assert spider.names("progress")[-1] == "success"


async def test_what_is_stored_counts_against_the_quota(probe):
    """Behaviour 110."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("a", "/file/x", base_url=response)).settled()
        with pytest.raises(QuotaExceededError, match=r"has only .*\(500 bytes\) left"):
            await fetch("b", "/file/x", base_url=response, download_total=501)

    await probe(go, BGFETCH_QUOTA=1500)


async def test_a_download_total_over_the_free_disk_is_refused(refused):
    """Behaviours 110, B19."""
    caught = await refused(download_total=2**53 - 1, error=QuotaExceededError)
    assert caught.match("but the disk has only .* left. Free some space")


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"meta": {"x": object()}}, "its meta must hold JSON values only"),
        ({"meta": {"x": {1: 2}}}, "its meta .*it would come back changed"),
        ({"cb_kwargs": {"x": {1, 2}}}, "its cb_kwargs must hold JSON values only"),
    ],
)
async def test_a_request_that_cannot_be_serialised_is_refused(refused, kept, message):
    requests = [HERE, Request(f"{HERE}?2", **kept)]
    caught = await refused(requests=requests, error=BadRequestError)
    assert caught.match(f"127.0.0.1:1/x.2> cannot be kept, .*{message}")


async def test_an_active_id_is_refused(probe, tmp_path):
    """Behaviour 16."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await fetch("a", "/slow/x", base_url=response)
        with pytest.raises(IdActiveError, match=r"'a' names .* still active") as caught:
            await fetch("a", "/file/y", base_url=response)
        assert isinstance(caught.value, (BadRequestError, TypeError))

    await probe(go)
    assert (state.ids(tmp_path), state.records(tmp_path)) == (["a"], 1)


@pytest.mark.parametrize("id", ["", None, 5])
async def test_get_refuses_an_unusable_id(probe, id):
    """Behaviour 124."""

    async def go(spider, response):
        with pytest.raises(BadRequestError, match=r"^id "):
            await spider.background_fetch.get(id)

    await probe(go)


async def test_match_refuses_what_is_no_request(probe):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        with pytest.raises(BadRequestError, match=r"takes a URL or a scrapy\.Request"):
            await handle.match(5)
        with pytest.raises(BadRequestError, match="no event 'success': it has 'prog"):
            handle.add_event_listener("success", print)

    await probe(go)
