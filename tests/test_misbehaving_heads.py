"""Heads that are no good, and redirects that lead nowhere."""

from __future__ import annotations

import pytest

from tests.support.misbehaving import (
    FAST,
    endless,
    head,
    misbehaving,
    sends,
    whole,
)
from tests.support.site import body

DATA = body("file", 10_000)
MiB = 1024 * 1024


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


BAD_HEADS = {
    "no status line": b"garbage\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "another protocol": b"220 mail.example ESMTP\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a bad status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a field without a colon": b"HTTP/1.1 200 OK\r\nX y\r\n\r\n",
    "a field with NUL": b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
    "100,000 fields": head(*(f"X-{n}: y" for n in range(100_000))) + DATA,
    "a field of 10 MiB": head("X: " + "y" * 10 * MiB) + DATA,
    "a name of 10 MiB": head("X" * 10 * MiB + ": y") + DATA,
    "a status line of 10 MiB": b"HTTP/1.1 200 " + b"y" * 10 * MiB + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("kind", BAD_HEADS)
async def test_a_bad_head_fails_at_once_and_says_so(fetched, wrong, kind):
    url = wrong.at("/x", sends(BAD_HEADS[kind]))
    handle = await fetched(url, **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert f"{url} could not be read: the answer is no good HTTP: " in record.error
    assert len(record.error) < 400
    assert record.path is None
    assert len(wrong.peers) == 1


async def test_a_head_without_end_is_refused(fetched, wrong):
    url = wrong.at("/x", endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"))
    handle = await fetched(url, **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "no good HTTP" in handle.records[0].error
    assert len(wrong.peers) == 1


@pytest.mark.parametrize("lines", [("Content-Length: 10000",), ()])
async def test_a_status_line_without_a_reason_is_taken(fetched, wrong, lines):
    said = head(*lines, status="200 ")
    handle = await fetched(wrong.at("/x", sends(said + DATA)), **FAST)
    assert handle.records[0].path.read_bytes() == DATA


@pytest.mark.parametrize("status", [101, 199, 300, 304, 418, 599, 600, 999])
async def test_an_odd_status_is_a_bad_status(fetched, wrong, status):
    answer = whole(b"", status=f"{status} Odd")
    if status < 200:
        answer = head("Connection: upgrade", "Upgrade: x", status=f"{status} Odd")
    handle = await fetched(wrong.at("/x", sends(answer)), DOWNLOAD_TIMEOUT=1, **FAST)
    assert handle.result == "failure"
    assert len(wrong.peers) <= 6  # aiohttp repeats a request once by itself


# -- redirects ---------------------------------------------------------------------


def moved(*lines):
    return sends(whole(b"moved", *lines, status="302 Found"))


async def test_a_redirect_in_a_circle_is_given_up(fetched, wrong):
    there = wrong.at("/b", moved("Location: /a"))
    handle = await fetched(
        wrong.at("/a", moved(f"Location: {there}")), REDIRECT_MAX_TIMES=5, **FAST
    )
    assert handle.failure_reason == "fetch-error"
    assert "redirect" in handle.records[0].error
    assert len(wrong.peers) == 6


async def test_redirects_that_never_come_back_are_given_up(fetched, wrong):
    for n in range(10):
        wrong.at(f"/{n}", moved(f"Location: /{n + 1}"))
    handle = await fetched(
        wrong.at("/0", moved("Location: /1")), REDIRECT_MAX_TIMES=5, **FAST
    )
    assert handle.failure_reason == "fetch-error"
    assert "redirect" in handle.records[0].error
    assert len(wrong.peers) == 6


@pytest.mark.parametrize(
    "there",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:text/plain,hello",
        "s3://bucket/key",
        "gopher://127.0.0.1/",
        "about:blank",
        "javascript://%0aalert(1)",
    ],
)
async def test_a_redirect_to_another_scheme_is_not_followed(fetched, wrong, there):
    handle = await fetched(wrong.at("/x", moved(f"Location: {there}")), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "bad-status"
    assert "answered 302" in record.error
    assert "check the URL" in record.error
    assert record.path.read_bytes() == b"moved"
    assert len(wrong.peers) == 1


@pytest.mark.parametrize("lines", [(), ("Location: ",), ("Location: http://",)])
async def test_a_redirect_to_nowhere_is_not_followed(fetched, wrong, lines):
    handle = await fetched(wrong.at("/x", moved(*lines)), REDIRECT_MAX_TIMES=3, **FAST)
    assert handle.result == "failure"
    assert handle.records[0].error
    assert len(wrong.peers) <= 4


async def test_an_endless_page_of_a_redirect_is_not_read_to_its_end(fetched, wrong):
    there = wrong.at("/there", sends(whole(DATA)))
    page = endless(head(f"Location: {there}", status="302 Found"), bytes(65536))
    handle = await fetched(wrong.at("/x", page), **FAST)
    assert handle.records[0].path.read_bytes() == DATA
    assert len(wrong.peers) == 2
