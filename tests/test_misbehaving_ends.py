"""Connections that end where they should not."""

from __future__ import annotations

import pytest

from tests.support.misbehaving import (
    FAST,
    chunk,
    head,
    honest,
    misbehaving,
    pauses,
    resets,
    sends,
    stalls,
    then,
    whole,
)
from tests.support.site import body

SIZE = 100_000
DATA = body("file", SIZE)
ETAG = 'ETag: "e"'
HEAD = head(f"Content-Length: {SIZE}", ETAG)
CHUNKED = head("Transfer-Encoding: chunked", ETAG)


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


PHASES = {
    "before the status line": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the head": HEAD[:40],
    "after the head": HEAD,
    "in the body": HEAD + DATA[:60_000],
    "before the last byte": HEAD + DATA[:-1],
}


@pytest.mark.parametrize("ends", [sends, resets])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_connection_that_was_dropped_is_resumed(fetched, wrong, phase, ends):
    """Behaviours 55, 307."""
    url = wrong.at("/x", ends(PHASES[phase]), honest(DATA))
    handle = await fetched(url, **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA
    kept = max(0, len(PHASES[phase]) - len(HEAD))
    assert wrong.offsets("/x") in ([0, kept], [0, 0])
    if ends is sends:
        assert wrong.offsets("/x") == [0, kept]


@pytest.mark.parametrize("ends", [sends, resets])
@pytest.mark.parametrize("phase", PHASES)
async def test_a_connection_that_is_always_dropped_fails_and_says_so(
    fetched, wrong, phase, ends
):
    """Behaviours 44, 45."""
    handle = await fetched(wrong.at("/x", ends(PHASES[phase])), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "No try is left" in record.error
    assert "BGFETCH_RES" in record.error
    assert record.path is None
    assert len(wrong.peers) <= 7


async def test_a_server_that_cuts_every_burst_is_asked_until_it_is_done(fetched, wrong):
    """Each attempt goes on where the burst before it ended."""
    url = wrong.at("/x", honest(DATA, cut=30_000))
    handle = await fetched(url, **{**FAST, "BGFETCH_RESUMPTIONS": 1})
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA
    assert wrong.offsets("/x") == [0, 30_000, 60_000, 90_000]


async def test_a_truncated_body_without_a_validator_starts_again(fetched, wrong):
    cut = sends(head(f"Content-Length: {SIZE}") + DATA[:60_000])
    url = wrong.at("/x", cut, sends(whole(DATA)))
    handle = await fetched(url, **FAST)
    assert handle.records[0].path.read_bytes() == DATA
    assert wrong.offsets("/x") == [0, 0]


async def test_a_body_without_a_length_ends_with_its_connection(fetched, wrong):
    """Behaviour 53."""
    handle = await fetched(wrong.at("/x", sends(head() + DATA)), **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA


async def test_a_body_without_a_length_is_not_complete_after_a_reset(fetched, wrong):
    broken = then(sends(head(ETAG) + DATA[:60_000]), pauses(0.2), resets())
    handle = await fetched(wrong.at("/x", broken, honest(DATA)), **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA
    assert wrong.offsets("/x") == [0, 60_000]


async def test_an_error_page_that_is_cut_keeps_what_came_of_it(fetched, wrong):
    page = head("Content-Length: 500", status="404 Not Found") + b"not here"
    handle = await fetched(wrong.at("/x", sends(page)), **FAST)
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].path.read_bytes() == b"not here"
    assert len(wrong.peers) == 1


# -- chunks ------------------------------------------------------------------------

FIRST = CHUNKED + chunk(DATA[:60_000])
CUTS = {
    "before the last chunk": FIRST + chunk(DATA[60_000:]),
    "in the last chunk": FIRST + chunk(DATA[60_000:]) + b"0\r\n",
    "in a chunk": FIRST + chunk(DATA[60_000:])[:20_000],
    "in a size line": FIRST + b"9c",
    "before a chunk": FIRST,
}


@pytest.mark.parametrize("where", CUTS)
async def test_chunks_that_are_cut_are_resumed(fetched, wrong, where):
    def rest(peer):
        """Answer as RFC 9110 section 15.5.17 wants it when all is there."""
        if peer.offset < SIZE:
            return honest(DATA)(peer)
        field = f"Content-Range: bytes */{SIZE}"
        return peer.send(whole(b"", field, status="416 Range Not Satisfiable"))

    handle = await fetched(wrong.at("/x", sends(CUTS[where]), rest), **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA
    first, second = wrong.offsets("/x")
    assert first == 0
    assert second >= 60_000


@pytest.mark.parametrize(
    "bad", [b"xyz\r\n", b"-5\r\n", b"\r\n\r\n", b"f" * 40 + b"\r\n"]
)
async def test_a_chunk_with_a_bad_size_is_resumed(fetched, wrong, bad):
    """aiohttp closes the connection and leaves the reader waiting."""
    broken = then(sends(FIRST), pauses(0.2), stalls(bad))
    handle = await fetched(wrong.at("/x", broken, honest(DATA)), **FAST)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA
    assert wrong.offsets("/x") == [0, 60_000]


async def test_a_bad_chunk_in_the_first_packet_is_no_http(fetched, wrong):
    handle = await fetched(wrong.at("/x", sends(CHUNKED + b"xyz\r\n")), **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "Invalid character in chunk size" in handle.records[0].error
    assert len(wrong.peers) == 1


async def test_chunks_of_one_byte_are_put_together(fetched, wrong):
    data = DATA[:5000]
    pieces = b"".join(chunk(data[i : i + 1]) for i in range(len(data)))
    handle = await fetched(wrong.at("/x", sends(CHUNKED + pieces + chunk(b""))), **FAST)
    assert handle.records[0].path.read_bytes() == data
