"""Answers that come slowly, or not at all, and bodies that are not as coded."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
from scrapy import Request

from tests.support.misbehaving import (
    FAST,
    drips,
    endless,
    head,
    honest,
    misbehaving,
    sends,
    stalls,
    whole,
)
from tests.support.site import body

SIZE = 50_000
DATA = body("file", SIZE)
AT = 20_000
ETAG = 'ETag: "e"'
HEAD = head(f"Content-Length: {SIZE}", ETAG)
MiB = 1024 * 1024


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


def stored(handle):
    return handle.records[0].path.read_bytes()


def parts(folder):
    return list((folder / "bgfetch" / "parts").iterdir())


def impatient(url):
    return Request(url, meta={"download_timeout": 0.5})


# -- pace --------------------------------------------------------------------------


async def test_a_body_that_moves_has_all_the_time_it_needs(fetched, wrong):
    """Neither the time-out of stalls nor Scrapy's own ends it."""
    slow = drips(HEAD, DATA, step=5_000, pause=0.2)
    started = time.monotonic()
    request = Request(wrong.at("/x", slow), meta={"download_timeout": 1})
    handle = await fetched(request, BGFETCH_STALL_TIMEOUT=1)
    assert stored(handle) == DATA
    assert time.monotonic() - started > 1.5
    assert len(wrong.peers) == 1


async def test_a_body_that_stalls_is_broken_off_and_resumed(fetched, wrong):
    url = wrong.at("/x", stalls(HEAD + DATA[:AT]), honest(DATA))
    handle = await fetched(url, BGFETCH_STALL_TIMEOUT=0.3, **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT]


async def test_a_body_that_stalls_before_its_first_byte_is_resumed(fetched, wrong):
    url = wrong.at("/x", stalls(HEAD), honest(DATA))
    handle = await fetched(url, BGFETCH_STALL_TIMEOUT=0.3, **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, 0]


async def test_a_body_that_always_stalls_fails_and_says_so(fetched, wrong):
    url = wrong.at("/x", stalls(HEAD + DATA[:AT]), stalls(b""))
    handle = await fetched(
        url, BGFETCH_STALL_TIMEOUT=0.2, **{**FAST, "BGFETCH_RESUMPTIONS": 1}
    )
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "No try is left" in record.error
    assert wrong.offsets("/x") == [0, AT]


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_head_that_stalls_is_asked_for_again(fetched, wrong, said):
    url = wrong.at("/x", stalls(said), honest(DATA))
    handle = await fetched(impatient(url), **FAST)
    assert stored(handle) == DATA
    assert len(wrong.peers) == 2


async def test_a_head_that_always_stalls_fails_and_says_so(fetched, wrong):
    url = wrong.at("/x", stalls())
    handle = await fetched(impatient(url), **{**FAST, "BGFETCH_RESUMPTIONS": 1})
    assert handle.failure_reason == "fetch-error"
    assert "did not answer within 0.5 seconds" in handle.records[0].error
    assert len(wrong.peers) == 2


async def test_interim_answers_without_end_are_no_answer(fetched, wrong):
    interim = endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    url = wrong.at("/x", interim, honest(DATA))
    handle = await fetched(impatient(url), **FAST)
    assert stored(handle) == DATA
    assert len(wrong.peers) == 2


async def test_an_error_page_that_drips_does_not_hold_up_the_record(fetched, wrong):
    page = drips(head(status="404 Not Found"), b"n" * 1000, step=1, pause=0.1)
    started = time.monotonic()
    handle = await fetched(wrong.at("/x", page), BGFETCH_STALL_TIMEOUT=0.5)
    assert handle.failure_reason == "bad-status"
    assert time.monotonic() - started < 10


# -- content codings, though identity was asked for --------------------------------

GZIP = "Content-Encoding: gzip"
CODED = gzip.compress(DATA)


async def test_a_coded_body_is_decoded(fetched, wrong):
    """Behaviours 42, B12."""
    handle = await fetched(wrong.at("/x", sends(whole(CODED, GZIP, ETAG))), **FAST)
    assert stored(handle) == DATA
    assert wrong.peers[0].field("Accept-Encoding") == "identity"


async def test_a_coded_body_that_broke_off_is_not_resumed_by_range(fetched, wrong):
    """B12: its offsets are of other bytes."""
    cut = sends(whole(CODED, GZIP, ETAG)[:-10_000])
    url = wrong.at("/x", cut, sends(whole(CODED, GZIP, ETAG)))
    handle = await fetched(url, **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, 0]


async def test_a_coded_body_that_stays_short_of_its_end_fails(fetched, wrong):
    """Its Content-Length is right; its coding is not complete."""
    handle = await fetched(wrong.at("/x", sends(whole(CODED[:-100], GZIP))), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "gzip" in record.error
    assert record.path is None
    assert len(wrong.peers) <= 3


FLIPPED = CODED[:-8] + bytes([CODED[-8] ^ 1]) + CODED[-7:]


@pytest.mark.parametrize(
    "coded", [b"no gzip at all", CODED[:5000] + b"xx" + CODED[5002:], FLIPPED, b"\x1f"]
)
async def test_a_body_that_cannot_be_decoded_fails(fetched, wrong, tmp_path, coded):
    handle = await fetched(wrong.at("/x", sends(whole(coded, GZIP))), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "gzip" in record.error
    assert (record.path, handle.downloaded) == (None, 0)
    assert parts(tmp_path) == []
    assert len(wrong.peers) <= 3


async def test_an_unknown_coding_is_refused(fetched, wrong):
    said = sends(whole(DATA, "Content-Encoding: zoo"))
    handle = await fetched(wrong.at("/x", said), **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "zoo" in handle.records[0].error
    assert len(wrong.peers) == 1


def bombs():
    """Return the head and an endless supply of 16 MiB of zeros in 16 kB."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = deflate.compress(bytes(16 * MiB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return endless(head(GZIP) + first, first[10:])


async def test_an_endless_bomb_is_stopped_by_the_budget(fetched, wrong, tmp_path):
    """Behaviour 50, at the decoded size."""
    handle = await fetched(
        wrong.at("/x", bombs()), options={"download_total": MiB}, **FAST
    )
    assert handle.failure_reason == "download-total-exceeded"
    assert handle.downloaded == 0
    assert parts(tmp_path) == []
    assert len(wrong.peers) == 1
