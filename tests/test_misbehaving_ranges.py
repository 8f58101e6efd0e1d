"""Ranges that are not what was asked for, and files that change in between."""

from __future__ import annotations

import pytest

from tests.support.misbehaving import (
    FAST,
    chunk,
    head,
    honest,
    misbehaving,
    part,
    sends,
    whole,
)
from tests.support.site import body

SIZE = 50_000
DATA = body("file", SIZE)
OTHER = body("other", SIZE + 5_000)
AT = 20_000
ETAG = 'ETag: "e"'
PARTIAL = "206 Partial Content"
CUT = honest(DATA, cut=AT)


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


def stored(handle):
    return handle.records[0].path.read_bytes()


async def test_a_cut_body_goes_on_by_range(fetched, wrong):
    """Behaviours 42, 53, 55: what the tests below make go wrong."""
    handle = await fetched(wrong.at("/x", CUT, honest(DATA)), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT]
    assert wrong.peers[1].field("If-Range") == '"e"'


def span(value, *lines):
    fields = (f"Content-Range: {value}", ETAG, *lines)
    return whole(DATA[AT:], *fields, status=PARTIAL)


MULTIPART = "Content-Type: multipart/byteranges; boundary=x"
BAD_PARTS = {
    "from an earlier byte": part(DATA[AT - 1 :], AT - 1, SIZE, ETAG),
    "from a later byte": part(DATA[AT + 1 :], AT + 1, SIZE, ETAG),
    "from the first byte": part(DATA, 0, SIZE, ETAG),
    "of another length": part(DATA[AT:], AT, SIZE + 1, ETAG),
    "past its own length": span(f"bytes {AT}-{SIZE - 1}/{SIZE - 5}"),
    "backwards": span(f"bytes {SIZE - 1}-{AT}/{SIZE}"),
    "without Content-Range": whole(DATA[AT:], ETAG, status=PARTIAL),
    "with a bad Content-Range": span(f"bytes={AT}-{SIZE - 1}/{SIZE}"),
    "in another unit": span(f"lines {AT}-{SIZE - 1}/{SIZE}"),
    "with two Content-Ranges": span(
        f"bytes {AT}-{SIZE - 1}/{SIZE}", f"Content-Range: bytes 0-9/{SIZE}"
    ),
    "in several parts": span(f"bytes {AT}-{SIZE - 1}/{SIZE}", MULTIPART),
    "unsatisfied": span(f"bytes */{SIZE}"),
    "with another ETag": part(DATA[AT:], AT, SIZE, 'ETag: "f"'),
    "without an ETag": part(DATA[AT:], AT, SIZE),
    "with a content coding": part(DATA[AT:], AT, SIZE, ETAG, "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("kind", BAD_PARTS)
async def test_a_part_that_does_not_fit_starts_again(fetched, wrong, kind):
    """Behaviours 46, 61, 62, 63, 64, 65, 218, B11."""
    url = wrong.at("/x", CUT, sends(BAD_PARTS[kind]), sends(whole(DATA, ETAG)))
    handle = await fetched(url, **FAST)
    assert handle.result == "success"
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT, 0]


@pytest.mark.parametrize("kind", BAD_PARTS)
async def test_parts_that_never_fit_are_given_up(fetched, wrong, kind):
    """The server falls for every Range, and cuts every whole body."""

    def behave(peer):
        return (sends(BAD_PARTS[kind]) if peer.offset else CUT)(peer)

    handle = await fetched(wrong.at("/x", behave), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "BGFETCH_RESTARTS" in record.error
    assert len(wrong.peers) <= 12


# -- 206 unasked -------------------------------------------------------------------


async def test_a_part_that_was_not_asked_for_but_has_all_is_taken(fetched, wrong):
    """Behaviour 65."""
    handle = await fetched(wrong.at("/x", sends(part(DATA, 0, SIZE))), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0]


async def test_a_part_that_was_not_asked_for_is_completed(fetched, wrong):
    """Behaviours 53, 65, 218."""
    first = sends(part(DATA[:AT], 0, SIZE, ETAG))
    handle = await fetched(wrong.at("/x", first, honest(DATA)), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT]


async def test_a_part_from_the_middle_that_was_not_asked_for_fails(fetched, wrong):
    url = wrong.at("/x", sends(part(DATA[AT:], AT, SIZE, ETAG)))
    handle = await fetched(url, **FAST)
    assert handle.failure_reason == "fetch-error"
    assert f"206 from byte {AT} instead of 0" in handle.records[0].error
    assert len(wrong.peers) == 1


# -- parts that bring little or too much -------------------------------------------


def empty(peer):
    span = f"Content-Range: bytes {peer.offset}-{SIZE - 1}/{SIZE}"
    fields = ("Transfer-Encoding: chunked", ETAG, span)
    peer.send(head(*fields, status=PARTIAL) + chunk(b""))


async def test_parts_without_a_byte_are_given_up(fetched, wrong):
    """B5: they would go on for ever."""
    handle = await fetched(wrong.at("/x", CUT, empty), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "the part brought no new byte" in record.error
    assert wrong.offsets("/x") == [0, AT, AT]  # BGFETCH_RESUMPTIONS is 2


async def test_an_empty_part_between_others_costs_nothing(fetched, wrong):
    handle = await fetched(wrong.at("/x", CUT, empty, honest(DATA)), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT, AT]


async def test_parts_that_get_forward_are_all_taken(fetched, wrong):
    """However many: only attempts without progress are counted (B4)."""
    url = wrong.at("/x", honest(DATA, cut=5_000))
    handle = await fetched(url, **{**FAST, "BGFETCH_RESUMPTIONS": 1})
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == list(range(0, SIZE, 5_000))


async def test_parts_of_a_body_of_unknown_length_are_joined(fetched, wrong):
    """B4: 416 has the length at last (B6)."""

    def behave(peer):
        if peer.offset >= SIZE:
            field = f"Content-Range: bytes */{SIZE}"
            return peer.send(whole(b"", field, status="416 Range Not Satisfiable"))
        piece = DATA[peer.offset : peer.offset + 20_000]
        return peer.send(part(piece, peer.offset, "*", ETAG))

    handle = await fetched(wrong.at("/x", behave), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, 20_000, 40_000, SIZE]


async def test_a_part_that_goes_on_after_its_end_starts_again(fetched, wrong):
    span = f"Content-Range: bytes {AT}-{SIZE - 1}/{SIZE}"
    fields = ("Transfer-Encoding: chunked", ETAG, span)
    said = head(*fields, status=PARTIAL) + chunk(DATA[AT:] + b"more") + chunk(b"")
    url = wrong.at("/x", CUT, sends(said), sends(whole(DATA, ETAG)))
    handle = await fetched(url, **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT, 0]


# -- changed files -----------------------------------------------------------------


async def test_a_file_that_changes_while_it_comes_is_fetched_anew(fetched, wrong):
    url = wrong.at("/x", CUT, honest(OTHER, '"f"'))
    handle = await fetched(url, **FAST)
    assert stored(handle) == OTHER
    assert handle.downloaded == len(OTHER)
    assert wrong.offsets("/x") == [0, AT]


async def test_a_file_that_always_changes_is_given_up(fetched, wrong):
    """B11: bounded, also when the server cuts all of them."""
    answers = [honest(DATA, f'"{n}"', cut=AT) for n in range(20)]
    handle = await fetched(wrong.at("/x", *answers), **FAST)
    assert handle.failure_reason == "fetch-error"
    assert "No try is left" in handle.records[0].error
    assert len(wrong.peers) <= 6


async def test_the_same_etag_with_another_length_starts_again(fetched, wrong):
    url = wrong.at("/x", CUT, honest(OTHER), honest(OTHER))
    handle = await fetched(url, **FAST)
    assert stored(handle) == OTHER
    assert wrong.offsets("/x") == [0, AT, 0]


OLD = "Last-Modified: Mon, 02 Nov 2020 10:00:00 GMT"
NEW = "Last-Modified: Tue, 03 Nov 2020 10:00:00 GMT"
DATE = "Date: Fri, 06 Nov 2020 10:00:00 GMT"


async def test_a_date_of_the_file_that_changes_starts_again(fetched, wrong):
    first = sends(whole(DATA, OLD, DATE)[: -(SIZE - AT)])
    ignores = sends(part(DATA[AT:], AT, SIZE, NEW, DATE))
    url = wrong.at("/x", first, ignores, sends(whole(DATA, NEW, DATE)))
    handle = await fetched(url, **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT, 0]
    assert f"Last-Modified: {wrong.peers[1].field('If-Range')}" == OLD


@pytest.mark.parametrize("validator", ['ETag: W/"e"', OLD.replace("2020", "MMXX")])
async def test_what_is_no_strong_validator_is_no_reason_to_resume(
    fetched, wrong, validator
):
    """Behaviours 66, 218."""
    first = sends(whole(DATA, validator)[: -(SIZE - AT)])
    handle = await fetched(wrong.at("/x", first, sends(whole(DATA))), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, 0]


# -- other answers to a Range ------------------------------------------------------

NOT_SATISFIED = "416 Range Not Satisfiable"


@pytest.mark.parametrize(
    "lines",
    [(), (f"Content-Range: bytes */{SIZE}",), ("Content-Range: bytes */5",), ("X: y",)],
)
async def test_a_416_that_does_not_confirm_starts_again(fetched, wrong, lines):
    """Behaviours 217, B6."""
    refusal = sends(whole(b"no", *lines, status=NOT_SATISFIED))
    url = wrong.at("/x", CUT, refusal, sends(whole(DATA, ETAG)))
    handle = await fetched(url, **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT, 0]


async def test_a_416_for_a_request_of_everything_fails_at_once(fetched, wrong):
    """Behaviour 217."""
    said = whole(b"no", "Content-Range: bytes */0", status=NOT_SATISFIED)
    handle = await fetched(wrong.at("/x", sends(said)), **FAST)
    assert handle.failure_reason == "bad-status"
    assert len(wrong.peers) == 1


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow", "408 Timeout"])
async def test_a_server_in_trouble_does_not_cost_the_bytes(fetched, wrong, status):
    """Behaviours 47, B7."""
    trouble = sends(whole(b"oh no", status=status))
    handle = await fetched(wrong.at("/x", CUT, trouble, honest(DATA)), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT, AT]


async def test_a_redirect_on_the_way_is_followed_with_the_range(fetched, wrong):
    there = wrong.at("/there", honest(DATA))
    moved = sends(whole(b"", f"Location: {there}", status="302 Found"))
    handle = await fetched(wrong.at("/x", CUT, moved), **FAST)
    assert stored(handle) == DATA
    assert wrong.offsets("/x") == [0, AT]
    assert wrong.offsets("/there") == [AT]


async def test_a_304_on_the_way_fails_at_once(fetched, wrong):
    """Nobody asked for it: no If-None-Match was sent."""
    said = sends(head(ETAG, status="304 Not Modified"))
    handle = await fetched(wrong.at("/x", CUT, said), **FAST)
    assert handle.failure_reason == "bad-status"
    assert "answered 304" in handle.records[0].error
    assert len(wrong.peers) == 2


async def test_a_whole_body_instead_of_the_rest_replaces_it(fetched, wrong):
    """Behaviours 47, 218."""
    url = wrong.at("/x", CUT, sends(whole(OTHER, ETAG)))
    handle = await fetched(url, **FAST)
    assert stored(handle) == OTHER
    assert len(wrong.peers) == 2
