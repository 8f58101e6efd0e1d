"""``integrity`` of a request, and BGFETCH_CHECKSUM (SRI sections 3.1 and 3.3)."""

from __future__ import annotations

import base64
import hashlib
import signal

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BadRequestError, FetchError
from tests.support.resuming import SIZE, SLOW, half_way, offset, read
from tests.support.site import body

GOOD = hashlib.sha256(body("x", 1000)).hexdigest()
BAD = hashlib.sha256(b"another").hexdigest()


def sri(data, name="sha384"):
    digest = hashlib.new(name, data).digest()
    return f"{name}-{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("integrity", [{"sha256": GOOD}, sri(body("x", 1000))])
async def test_a_body_that_matches_is_published(fetched, integrity):
    handle = await fetched("/file/x", options={"integrity": integrity})
    (record,) = handle.records
    assert handle.result == "success"
    assert record.path.read_bytes() == body("x", 1000)
    assert list(record.checksums) == list(record.integrity)


async def test_a_mismatch_is_a_fetch_error_with_both_digests(fetched, tmp_path):
    handle = await fetched("/file/x", options={"integrity": {"sha256": BAD}})
    (record,) = handle.records
    assert handle.failure_reason == record.failure_reason == "fetch-error"
    assert GOOD in record.error
    assert BAD in record.error
    assert record.path is None
    assert list((tmp_path / "bgfetch").glob("files/*/*")) == []
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_several_requests_have_a_list_and_only_one_of_them_fails(fetched):
    wrong = {"md5": hashlib.md5(b"?").hexdigest()}
    handle = await fetched(
        ["/file/x", "/file/y", "/file/z"],
        options={"integrity": [{"sha256": GOOD}, wrong, None]},
    )
    reasons = [record.failure_reason for record in handle.records]
    assert reasons == ["", "fetch-error", ""]
    assert [sorted(one.checksums) for one in handle.records] == [
        ["sha256"],
        ["md5"],
        [],
    ]


async def test_a_decoded_body_is_what_is_compared(fetched):
    handle = await fetched("/gzip/x", options={"integrity": {"sha256": GOOD}})
    assert handle.result == "success"


async def test_a_grouped_request_says_it_in_its_meta(crawl, site):
    async def go(spider, response):
        return [
            Request(
                site.url(f"/file/{name}"),
                spider.keep,
                errback=spider.keep_failure,
                meta={"bgfetch": {"id": "a", "integrity": {"sha256": GOOD}}},
            )
            for name in "xy"
        ]

    spider = await crawl(go)
    assert [one.path.read_bytes() for one in spider.results] == [body("x", 1000)]
    (failure,) = spider.failures
    assert isinstance(failure, FetchError)
    assert GOOD in str(failure)


@pytest.mark.parametrize(
    ("integrity", "says"),
    [
        ("sha256-short", "sha256"),
        ({"crc32": "00000000"}, "crc32"),
        ([{"sha256": GOOD}] * 2, "2 entries for 1"),
    ],
)
async def test_what_cannot_be_used_is_refused_at_once(probe, integrity, says):
    async def go(spider, response):
        with pytest.raises(BadRequestError, match=says):
            await spider.background_fetch.fetch("a", response.url, integrity=integrity)
        assert await spider.background_fetch.get_ids() == []

    await probe(go)


async def test_a_request_without_options_gets_no_meta_of_ours(fetched, site):
    """``record.request`` can be yielded as it is: it belongs to no group."""
    handle = await fetched([Request(site.url("/file/x"), meta={"mine": 1})])
    assert handle.records[0].request.meta == {"mine": 1}


async def test_an_unknown_option_of_a_request_is_refused(probe):
    async def go(spider, response):
        request = Request(response.url, meta={"bgfetch": {"integrty": "?"}})
        with pytest.raises(BadRequestError, match="integrty"):
            await spider.background_fetch.fetch("a", request)

    await probe(go)


async def test_every_record_that_succeeds_carries_its_checksum(fetched):
    handle = await fetched(["/file/x", "/status/404"], BGFETCH_CHECKSUM="SHA-256")
    good, bad = handle.records
    assert good.checksums == {"sha256": GOOD}
    assert bad.checksums == {}


@pytest.mark.parametrize("right", [True, False])
async def test_it_holds_for_the_whole_body_when_it_was_resumed(process, site, right):
    """The first part was stored by a process that is dead."""
    it = process(BGFETCH_CHECKSUM="md5")
    wanted = body("x" if right else "y", SIZE)
    integrity = {"sha256": hashlib.sha256(wanted).hexdigest()}
    url = site.url(f"/slow/x?{SLOW}")
    it.start(fetch=[{"id": "a", "requests": url, "integrity": integrity}])
    await half_way(it)
    await it.kill(signal.SIGKILL)
    await it.run()
    assert offset(site.of("/slow/x")[1]) >= 100_000
    if right:
        assert read(it.events("success")) == [wanted]
    else:
        assert it.ends() == [("fail", "a", "fetch-error")]
        assert it.parts() == {}


async def test_a_plug_in_may_refuse_a_complete_body(fetched):
    class Picky:
        @hookimpl
        def bgfetch_body_complete(self, record, response):
            assert response.path.read_bytes() == body("x", 1000)
            assert not record.path
            raise ValueError("I do not like it")

    handle = await fetched("/file/x", BGFETCH_PLUGINS=[Picky()])
    (record,) = handle.records
    assert record.failure_reason == "fetch-error"
    assert "I do not like it" in record.error
    assert record.path is None


async def test_checksums_are_kept_in_the_state(process, site):
    it = process(BGFETCH_CHECKSUM="sha256", BGFETCH_PLUGINS=[])
    await it.run(fetch=[{"id": "a", "requests": site.url("/file/x")}])
    assert it.rows("SELECT checksums FROM records") == [(f'{{"sha256":"{GOOD}"}}',)]


@pytest.mark.parametrize("right", [True, False])
async def test_it_holds_for_the_new_body_when_the_old_one_was_replaced(
    process, site, right
):
    """Behaviour 218: the file has changed, a 200 comes instead of a 206."""
    it = process(BGFETCH_CHECKSUM="md5")
    old, new = body("x", SIZE), body("new", SIZE + 5000)
    integrity = {"sha256": hashlib.sha256(new if right else old).hexdigest()}
    url = site.url(f"/slow/x?{SLOW}")
    it.start(fetch=[{"id": "a", "requests": url, "integrity": integrity}])
    await half_way(it)
    await it.kill(signal.SIGKILL)
    site.etags["x"], site.contents["x"] = '"new"', new
    await it.run()
    assert offset(site.of("/slow/x")[1]) >= 100_000
    if right:
        assert read(it.events("success")) == [new]
    else:
        assert it.ends() == [("fail", "a", "fetch-error")]
    assert it.parts() == {}
