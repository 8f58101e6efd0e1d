"""Requests without a body that are not GET: what answers them, how often they go."""

from __future__ import annotations

import pytest
from scrapy import Request

from tests.support.misbehaving import FAST, head

LENGTH = "Content-Length: 1000"
MODIFIED = "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"


def asks_for_head(url):
    return Request(url, method="HEAD")


async def check_empty_success(handle):
    """Check that the head is there, and that nothing came after it."""
    [record] = handle.records
    assert (handle.result, record.error) == ("success", "")
    assert (record.size, record.downloaded, handle.downloaded) == (0, 0, 0)
    assert record.path.read_bytes() == b""
    response = await record.response_ready
    assert response.headers["Last-Modified"].decode() in MODIFIED
    return response


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, {}),
        ({"download_total": 100}, {}),
        ({}, {"BGFETCH_RECORD_MAXSIZE": 100}),
        ({}, {"BGFETCH_QUOTA": 100}),
        ({"rate_limit": 1}, {}),
        ({"connections_per_record": 4}, {}),
    ],
    ids=["alone", "budget", "maxsize", "quota", "rate", "connections"],
)
async def test_a_content_length_is_not_held_against_the_answer_to_head(
    fetched, raw, options, settings
):
    """Behaviour 54: RFC 9110 section 9.3.2, no content whatever the fields say."""
    url = raw.says("/x", head(LENGTH, MODIFIED, "Accept-Ranges: bytes"))
    handle = await fetched(asks_for_head(url), options=options, **settings)
    assert (await check_empty_success(handle)).status == 200
    assert len(raw.heads) == 1


@pytest.mark.parametrize(
    "lines",
    [
        [LENGTH, "Content-Encoding: gzip"],
        [LENGTH, "Content-Encoding: unheard-of"],
        ["Transfer-Encoding: chunked"],
        [],
    ],
    ids=["gzip", "unknown coding", "chunked", "no length"],
)
async def test_no_field_about_the_body_matters_to_head(fetched, raw, lines):
    """Behaviour 54; the fields can be read as they came."""
    url = raw.says("/x", head(*lines, MODIFIED))
    response = await check_empty_success(await fetched(asks_for_head(url)))
    said = [line.removeprefix("Content-Encoding: ").encode() for line in lines[1:]]
    assert response.headers.getlist("Content-Encoding") == said


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        ("204 No Content", []),
        ("206 Partial Content", [LENGTH, "Content-Range: bytes 0-999/5000"]),
    ],
)
async def test_any_2xx_is_a_success_of_head(fetched, raw, status, lines):
    """Behaviour 54."""
    url = raw.says("/x", head(*lines, MODIFIED, status=status))
    response = await check_empty_success(await fetched(asks_for_head(url)))
    assert response.status == int(status[:3])


async def test_head_stays_head_through_a_redirect(fetched, raw):
    """Behaviours 54, 59."""
    there = raw.says("/there", head(LENGTH, MODIFIED))
    fields = [LENGTH, f"Location: {there}", "Connection: close"]
    moved = head(*fields, status="302 Found")
    await check_empty_success(await fetched(asks_for_head(raw.says("/x", moved))))
    assert [one.split()[0] for one in raw.heads] == [b"HEAD", b"HEAD"]


async def test_a_status_that_is_bad_is_so_for_head_too(fetched, raw):
    """Behaviour 54."""
    url = raw.says("/x", head(LENGTH, status="404 Not Found"))
    handle = await fetched(asks_for_head(url))
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].status == 404


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE"])
async def test_a_request_without_a_body_is_not_repeated_by_the_client(
    fetched, raw, method
):
    """Behaviour 43: RFC 9110 section 9.2.2 would allow it."""
    handle = await fetched(Request(raw.says("/x", b""), method=method))
    assert handle.failure_reason == "fetch-error"
    [sent] = raw.heads
    assert sent.startswith(method.encode())
    assert b"content-length" not in sent.lower()
    assert b"transfer-encoding" not in sent.lower()


async def test_with_retry_uploads_head_is_sent_again(fetched, raw):
    """Behaviour 43: once for each attempt, not twice."""
    url = raw.says("/x", b"")
    options = {"retry_uploads": True}
    handle = await fetched(asks_for_head(url), options=options, **FAST)
    assert handle.failure_reason == "fetch-error"
    assert len(raw.heads) == 1 + FAST["BGFETCH_RESUMPTIONS"]


async def test_one_that_breaks_once_succeeds_with_retry_uploads(fetched, raw):
    """Behaviours 43, 54."""
    url = raw.says("/x", b"", head(LENGTH, MODIFIED))
    handle = await fetched(asks_for_head(url), options={"retry_uploads": True}, **FAST)
    await check_empty_success(handle)
