"""Bodies that are not as long as was said."""

from __future__ import annotations

import pytest

from tests.support.misbehaving import (
    FAST,
    chunk,
    endless,
    head,
    misbehaving,
    pauses,
    sends,
    stalls,
    then,
    whole,
)
from tests.support.site import body

SIZE = 100_000
DATA = body("file", SIZE)
MiB = 1024 * 1024


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


def parts(folder):
    return list((folder / "bgfetch" / "parts").iterdir())


async def test_a_body_ends_where_its_length_says(fetched, wrong):
    """What follows later belongs to no answer (RFC 9112 section 6.3)."""
    more = then(sends(whole(DATA)), pauses(0.2), sends(b"more"))
    handle = await fetched(wrong.at("/x", more), **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA


async def test_what_follows_a_small_body_at_once_is_no_http(fetched, wrong):
    handle = await fetched(wrong.at("/x", sends(whole(b"body") + b"more")), **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "no good HTTP" in handle.records[0].error
    assert len(wrong.peers) == 1


async def test_what_an_answer_left_on_its_connection_harms_no_other(fetched, wrong):
    """The second request reads it, and is sent again on a new connection."""
    left = then(sends(whole(DATA)), pauses(0.2), stalls(b"left over"))
    urls = [wrong.at("/a", left), wrong.at("/b", pauses(0.4), sends(whole(DATA)))]
    handle = await fetched(urls, CONCURRENT_REQUESTS_PER_DOMAIN=1, **FAST)
    assert [record.failure_reason for record in handle.records] == ["", ""]
    assert [record.path.read_bytes() for record in handle.records] == [DATA, DATA]


@pytest.mark.parametrize(
    "lengths",
    [["-5"], ["five"], ["5, 6"], ["5", "6"], ["0x5"], ["9" * 30], ["+5"]],
    ids=str,
)
async def test_a_length_that_is_none_fails_at_once(fetched, wrong, lengths):
    fields = [f"Content-Length: {length}" for length in lengths]
    handle = await fetched(wrong.at("/x", sends(head(*fields) + b"hello")), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "Content-Length" in record.error
    assert record.path is None
    assert len(wrong.peers) == 1


async def test_a_length_beside_chunks_is_refused(fetched, wrong):
    """RFC 9112 section 6.3: somebody is trying to smuggle."""
    fields = ("Content-Length: 3", "Transfer-Encoding: chunked")
    said = head(*fields) + chunk(b"hello") + chunk(b"")
    handle = await fetched(wrong.at("/x", sends(said)), **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "Content-Length" in handle.records[0].error
    assert len(wrong.peers) == 1


async def test_a_huge_length_reserves_nothing(fetched, wrong, tmp_path):
    said = head("Content-Length: 9000000000000000", 'ETag: "e"') + b"hello"
    handle = await fetched(wrong.at("/x", sends(said)), **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "No try is left" in handle.records[0].error
    assert handle.downloaded == len("hello")
    assert [part.read_bytes() for part in parts(tmp_path)] == [b"hello"]


async def test_a_length_over_the_budget_is_refused_before_the_body(fetched, wrong):
    """Behaviour 50."""
    url = wrong.at("/x", endless(head(f"Content-Length: {64 * MiB}"), bytes(65536)))
    handle = await fetched(url, options={"download_total": MiB}, **FAST)
    assert handle.failure_reason == "download-total-exceeded"
    assert "announces" in handle.records[0].error
    assert handle.downloaded == 0
    assert len(wrong.peers) == 1


@pytest.mark.parametrize(
    "answer",
    [
        endless(head(), bytes(65536)),
        endless(head("Transfer-Encoding: chunked"), chunk(bytes(65536))),
    ],
    ids=["to the connection's end", "chunked"],
)
async def test_an_endless_body_is_stopped_by_the_budget(
    fetched, wrong, tmp_path, answer
):
    """Behaviour 50: not a byte more is stored."""
    url = wrong.at("/x", answer)
    handle = await fetched(url, options={"download_total": MiB}, **FAST)
    assert handle.failure_reason == "download-total-exceeded"
    assert f"download_total of {MiB} bytes" in handle.records[0].error
    assert handle.downloaded == 0
    assert parts(tmp_path) == []
    assert len(wrong.peers) == 1


async def test_an_endless_error_page_is_cut(fetched, wrong):
    url = wrong.at("/x", endless(head(status="404 Not Found"), bytes(65536)))
    handle = await fetched(url, BGFETCH_ERROR_BODY_MAXSIZE=1000, **FAST)
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].path.stat().st_size == 1000
    assert len(wrong.peers) == 1


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content"])
async def test_an_answer_without_content_makes_an_empty_file(fetched, wrong, status):
    """Behaviours 54, 217."""
    handle = await fetched(wrong.at("/x", sends(head(status=status))), **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == b""


async def test_a_204_with_a_body_stores_none_of_it(fetched, wrong):
    """RFC 9110 section 15.3.5: there can be none."""
    said = whole(b"hello", status="204 No Content")
    handle = await fetched(wrong.at("/x", sends(said)), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "no good HTTP" in record.error
    assert handle.downloaded == 0
    assert len(wrong.peers) == 1
