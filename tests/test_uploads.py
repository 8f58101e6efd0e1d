"""What requests send: counted while it is sent, cut at once, sent once."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError
from tests.support.crawl_process import until
from tests.support.site import body
from tests.support.stuck import Stuck

MiB = 1024 * 1024
CUT_WITHIN = 1.0  # seconds


@pytest.fixture
def stuck():
    server = Stuck().start()
    yield server
    server.stop()


@pytest.fixture
def big(tmp_path):
    """A file of 40 MiB: more than the system takes before the server reads."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(40 * MiB)
    return path


def post(url, data=b"", **kwargs):
    return Request(url, method="POST", body=data, **kwargs)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def text_of(record):
    return record.path.read_text()


async def test_upload_total_is_the_length_of_all_bodies_right_after_fetch(probe, site):
    """17, 98, 116."""

    async def go(spider, response):
        requests = [
            post(site.url("/upload/a"), b"x" * 1000),
            Request(site.url("/file/b")),
            Request(site.url("/upload/c"), method="PUT", body=b"y" * 234),
        ]
        handle = await spider.background_fetch.fetch("a", requests)
        assert (handle.upload_total, handle.uploaded) == (1234, 0)
        await handle.settled()

    await probe(go)


@pytest.mark.parametrize("size", [1, 70_000, 3 * MiB])
async def test_what_arrives_is_the_body_and_uploaded_its_length(fetched, site, size):
    """117: at success; B25: no more than that."""
    data = body("up", size)
    handle = await fetched(post(site.url("/upload/a"), data))
    assert handle.result == "success"
    assert text_of(handle.records[0]) == digest(data)
    assert handle.uploaded == handle.upload_total == size
    assert handle.records[0].uploaded == size
    assert site.seen[-1].headers["Content-Length"] == str(size)
    assert "Transfer-Encoding" not in site.seen[-1].headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_request_without_a_body_sends_none(fetched, site, method):
    handle = await fetched(Request(site.url("/upload/a"), method=method))
    assert handle.result == "success"
    assert handle.uploaded == handle.upload_total == 0
    assert [(one.method, one.length) for one in site.uploads] == [(method, 0)]
    assert site.seen[-1].headers["Content-Length"] == "0"


async def test_a_wrong_content_length_of_the_request_is_corrected(fetched, site):
    request = post(site.url("/upload/a"), b"hello", headers={"Content-Length": "99"})
    handle = await fetched(request)
    assert handle.result == "success"
    assert site.uploads[0].length == 5


async def test_uploaded_grows_while_the_body_is_sent_and_never_falls(probe, site, big):
    """58, 68, 118: seen in progress events; before the first byte of the answer."""
    seen = []
    size = 40 * MiB

    async def go(spider, response):
        request = post(site.url("/upload/a?rate=20000000"))
        handle = await spider.background_fetch.fetch("a", request, body=big)
        handle.onprogress = lambda event: seen.append(
            (event.registration.uploaded, event.registration.downloaded)
        )
        await handle.settled()
        assert handle.result == "success"

    await probe(go, BGFETCH_PROGRESS_INTERVAL=0.02)
    uploaded = [numbers[0] for numbers in seen]
    assert uploaded == sorted(uploaded)
    assert len([n for n in uploaded if 0 < n < size]) >= 3
    assert max(uploaded) == size
    assert all(up == size for up, down in seen if down)


async def test_two_posts_to_one_url_are_told_apart(fetched, site):
    """119."""
    bodies = [b"first", b"the second"]
    handle = await fetched([post(site.url("/upload/a"), data) for data in bodies])
    assert handle.result == "success"
    assert [text_of(record) for record in handle.records] == [*map(digest, bodies)]
    assert [record.request.body for record in handle.records] == bodies  # 78, 133
    assert [record.uploaded for record in handle.records] == [5, 10]


async def test_uploads_and_downloads_go_in_one_group(probe, site):
    data = body("up", 300_000)

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a",
            [post(site.url("/upload/a"), data), site.url("/file/b?size=5000")],
        )
        await handle.settled()
        assert handle.result == "success"
        assert handle.uploaded == handle.upload_total == 300_000
        assert handle.downloaded == 5000 + 64
        assert handle.records[1].path.read_bytes() == body("b", 5000)

    await probe(go)


async def test_a_grouped_request_with_a_body_adds_to_upload_total(crawl, site):
    """98, B18."""

    async def go(spider, response):
        meta = {"id": "g", "requests": 3}
        return [
            spider.request(response, "/file/x", meta),
            spider.request(response, "/upload/a", "g", method="POST", body=b"x" * 70),
            spider.request(response, "/upload/b", "g", method="PUT", body=b"y" * 7),
        ]

    spider = await crawl(go)
    handle = spider.handle("success")
    assert handle.upload_total == handle.uploaded == 77
    assert len(spider.results) == 3


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_body_on_a_request_that_sends_none_is_refused(probe, site, method):
    async def go(spider, response):
        request = Request(site.url("/file/x"), method=method, body=b"x")
        with pytest.raises(BadRequestError, match=f"a {method} request sends none"):
            await spider.background_fetch.fetch("a", request)
        assert await spider.background_fetch.get_ids() == []

    await probe(go)


# -- sent once ---------------------------------------------------------------------


async def test_what_is_not_get_is_sent_once(fetched, site):
    """43, 55: even where a GET would be tried again."""
    for method in ("POST", "PUT"):
        request = Request(site.url(f"/upload/{method}?once=503"), method=method)
        handle = await fetched(request.replace(body=b"hello"))
        assert handle.failure_reason == "bad-status"
        assert handle.uploaded == 5
    assert len(site.uploads) == 2


async def test_a_put_whose_connection_breaks_is_not_repeated_by_the_client(
    fetched, raw
):
    """43: RFC 9110 section 9.2.2 would allow it."""
    for method in ("PUT", "DELETE"):
        raw.heads.clear()
        handle = await fetched(Request(raw.says("/x", b""), method=method, body=b"a"))
        assert handle.failure_reason == "fetch-error"
        assert len(raw.heads) == 1


async def test_with_retry_uploads_it_is_sent_again_from_its_start(fetched, site):
    """43, 58, B25: uploaded stays within its total."""
    data = body("up", 200_000)
    request = post(site.url("/upload/a?once=503"), data)
    handle = await fetched(request, options={"retry_uploads": True})
    assert handle.result == "success"
    assert [one.length for one in site.uploads] == [len(data)] * 2
    assert text_of(handle.records[0]) == digest(data)
    assert handle.uploaded == handle.upload_total == len(data)


async def test_with_retry_uploads_a_broken_answer_begins_again(fetched, raw):
    head = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 10\r\n\r\n'
    url = raw.says("/x", head + b"01234", head + b"0123456789")
    handle = await fetched(post(url, b"hello"), options={"retry_uploads": True})
    assert handle.result == "success"
    assert text_of(handle.records[0]) == "0123456789"
    assert len(raw.heads) == 2
    assert not any(b"range:" in one.lower() for one in raw.heads)


async def test_retries_of_uploads_are_bounded(fetched, raw):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    url = raw.says("/x", *(head + b"01234567"[:n] for n in range(1, 9)))
    handle = await fetched(
        post(url, b"a"), options={"retry_uploads": True}, BGFETCH_RESUMPTIONS=3
    )
    assert handle.failure_reason == "fetch-error"
    assert len(raw.heads) == 4


async def test_retry_uploads_must_be_a_flag(probe):
    async def go(spider, response):
        with pytest.raises(BadRequestError, match="retry_uploads must be True or"):
            await spider.background_fetch.fetch("a", response.url, retry_uploads=1)

    await probe(go)


# -- redirects ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "method", "arrives"),
    [
        (307, "POST", ("POST", 200_000)),
        (308, "PUT", ("PUT", 200_000)),
        (302, "PUT", ("PUT", 200_000)),
        (301, "POST", ("GET", 0)),
        (302, "POST", ("GET", 0)),
        (303, "POST", ("GET", 0)),
    ],
)
async def test_a_redirect_keeps_the_body_with_its_method(
    fetched, site, code, method, arrives
):
    """B25: it is sent twice and counted once."""
    data = body("up", 200_000)
    url = site.url(f"/move/{code}/upload/a")
    handle = await fetched(Request(url, method=method, body=data))
    assert handle.result == "success"
    assert [(one.method, one.length) for one in site.uploads] == [arrives]
    assert handle.uploaded == handle.upload_total == 200_000


# -- time --------------------------------------------------------------------------


async def test_a_long_upload_outlasts_the_time_for_an_answer(fetched, site, big):
    """The wait for the head begins when the body has ended."""
    request = post(site.url("/upload/a?rate=8000000"))
    request.meta["download_timeout"] = 3
    started = time.monotonic()
    handle = await fetched(request, options={"body": big}, BGFETCH_STALL_TIMEOUT=5)
    assert handle.result == "success", handle.records[0].error
    assert time.monotonic() - started > 3


async def test_a_server_that_does_not_answer_an_upload_is_given_up(fetched, site):
    request = post(site.url("/upload/a?wait=30"), b"hello")
    request.meta["download_timeout"] = 0.3
    handle = await fetched(request)
    assert handle.failure_reason == "fetch-error"
    assert "did not answer within 0.3 seconds" in handle.records[0].error
    assert handle.uploaded == 5


async def test_a_server_that_stops_reading_is_given_up(fetched, stuck, big):
    options = {"body": big}
    handle = await fetched(
        post(stuck.url()), options=options, BGFETCH_STALL_TIMEOUT=0.5
    )
    assert handle.failure_reason == "fetch-error"
    assert "took no byte of the request's body for 0.5 s" in handle.records[0].error
    assert 0 <= handle.uploaded < handle.upload_total
    await until(lambda: stuck.gone is not None)


@pytest.mark.slow  # by the clock
async def test_abort_cuts_an_upload_at_once(probe, stuck, big):
    """71: and what was sent stays counted (200)."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", post(stuck.url()), body=big)
        await until(lambda: handle.records[0].uploaded)
        await _at_rest(lambda: handle.records[0].uploaded)
        sent, now = handle.records[0].uploaded, time.monotonic()
        assert await handle.abort()
        await until(lambda: stuck.gone is not None)
        assert stuck.gone - now < CUT_WITHIN
        await handle.settled()
        assert handle.failure_reason == "aborted"
        assert handle.uploaded == sent
        row = await handle._workshop.store.get(handle.uid)
        assert row.uploaded == sent

    await probe(go)


async def _at_rest(number):
    """Wait until a number has not changed for a while."""
    while True:
        before = number()
        await asyncio.sleep(0.2)
        if number() == before:
            return


async def test_an_answer_before_the_end_of_the_body_ends_the_upload(fetched, raw, big):
    """B25: what was not sent is not counted."""
    said = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
    raw.may_close.clear()
    handle = await fetched(post(raw.says("/x", said)), options={"body": big})
    raw.may_close.set()
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].status == 413
    assert handle.uploaded < handle.upload_total


async def test_uploaded_is_kept_when_the_answer_has_no_body(probe, site):
    """200."""

    async def go(spider, response):
        request = post(site.url("/upload/a?empty"), b"x" * 1000)
        handle = await spider.background_fetch.fetch("a", request)
        await handle.settled()
        assert (handle.result, handle.downloaded) == ("success", 0)
        store = handle._workshop.store
        assert (await store.get(handle.uid)).uploaded == 1000
        assert [row.uploaded for row in await store.records(handle.uid)] == [1000]

    await probe(go)


async def test_a_grouped_request_is_sent_again_when_its_group_says_retry_uploads(
    crawl, site
):
    """43: it is the group's word, which a later request may say."""

    async def go(spider, response):
        path = "/upload/a?once=503"
        upload = {"method": "POST", "body": b"hello"}
        group = {"id": "g", "retry_uploads": True}
        return [
            spider.request(response, path, group, **upload),
            spider.request(response, "/file/x", {"id": "g", "requests": 2}),
        ]

    spider = await crawl(go)
    assert spider.ends() == [("success", "g", "")]
    assert [one.length for one in site.uploads] == [5, 5]
    assert (spider.handle().uploaded, spider.handle().upload_total) == (5, 5)


async def test_a_grouped_request_is_sent_once_when_its_group_says_nothing(crawl, site):
    """43."""

    async def go(spider, response):
        group = {"id": "g", "requests": 1}
        upload = {"method": "POST", "body": b"hello"}
        return [spider.request(response, "/upload/a?once=503", group, **upload)]

    spider = await crawl(go)
    assert spider.ends() == [("fail", "g", "bad-status")]
    assert len(site.uploads) == 1


async def test_a_success_that_comes_early_ends_the_upload_too(fetched, raw, big):
    """117, B25: what the server did not want was not sent, and is not counted."""
    raw.may_close.clear()
    url = raw.says("/x", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
    handle = await fetched(post(url), options={"body": big})
    raw.may_close.set()
    assert (handle.result, text_of(handle.records[0])) == ("success", "yes")
    assert handle.uploaded < handle.upload_total
