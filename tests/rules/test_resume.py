"""What to do with an answer and with the end of its body: the whole table.

Behaviours 46, 47, 53-55, 61-66, 215-218, B4-B7, B10-B12.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.model import FailureReason, Head, WithoutValidator
from scrapy_bgfetch.rules.asking import Ask, Stored, ask
from scrapy_bgfetch.rules.resume import (
    Append,
    Decision,
    Done,
    Fail,
    Replace,
    Restart,
    RetryLater,
    after_body,
    decide,
    discards,
)

MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"

BAD_STATUS, FETCH_ERROR = FailureReason.BAD_STATUS, FailureReason.FETCH_ERROR

TEN = Stored(10, etag='"a"', complete_length=30)
UNSIZED = Stored(10, etag='"a"')


WHOLE = Ask({})


def rest(stored: Stored) -> Ask:
    return Ask({}, stored.length)


def head(status: int, *lines: str) -> Head:
    pairs = [line.split(": ", 1) for line in lines]
    return Head("http://example/f", status, tuple((k, v) for k, v in pairs))


def part(field: str, *lines: str, etag: str = '"a"') -> Head:
    return head(206, f"Content-Range: {field}", f"ETag: {etag}", *lines)


# -- the head of the answer --------------------------------------------------------


@pytest.mark.parametrize("status", [200, 203, 206, 226])
@pytest.mark.parametrize("value", ["30, 31", "30, x", "30, -30"])
@pytest.mark.parametrize("stored", [Stored(), TEN])
def test_contradictory_content_lengths_fail(
    status: int, value: str, stored: Stored
) -> None:
    answer = head(status, f"Content-Length: {value}", "Content-Range: bytes 10-29/30")
    decision = decide(stored, answer, rest(TEN) if stored is TEN else WHOLE)
    assert isinstance(decision, Fail)  # RFC 9112 6.3
    assert decision.reason is FETCH_ERROR


@pytest.mark.parametrize("stored", [Stored(), TEN])
@pytest.mark.parametrize("asked", [WHOLE, rest(TEN), Ask({}, 4)])
@pytest.mark.parametrize(
    ("answer", "length"),
    [
        (head(200, "Content-Length: 30"), 30),
        (head(200), None),
        (head(200, "Content-Length: 12", "Content-Encoding: gzip"), None),
        (head(200, "Content-Length: x"), None),
        (head(201, "Content-Length: 3"), 3),
        (head(203), None),
        (head(204), 0),
        (head(205, "Content-Length: 3"), 0),
        (head(299, "Content-Length: 3"), 3),
    ],
)
def test_a_2xx_that_is_not_206_replaces_what_is_stored(
    stored: Stored, asked: Ask, answer: Head, length: int | None
) -> None:
    """Behaviours 47, 54, B7."""
    assert decide(stored, answer, asked) == Replace(length)  # 47, 54, B7


@pytest.mark.parametrize("stored", [Stored(), TEN])
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 599])
@pytest.mark.parametrize("after", [None, "120", "nonsense"])
def test_a_passing_trouble_keeps_the_bytes(
    stored: Stored, status: int, after: str | None
) -> None:
    """Behaviour B7."""
    answer = head(status, *([f"Retry-After: {after}"] if after else []))
    decision = decide(stored, answer, rest(TEN) if stored is TEN else WHOLE)
    assert isinstance(decision, RetryLater)  # B7
    assert decision.after == after
    assert str(status) in decision.why


@pytest.mark.parametrize("stored", [Stored(), TEN])
@pytest.mark.parametrize(
    "status",
    [100, 101, 199, 300, 302, 304, 400, 401, 403, 404, 407, 410, 412, 451, 499, 600, 0],
)
def test_any_other_status_is_a_bad_status(stored: Stored, status: int) -> None:
    decision = decide(stored, head(status), rest(TEN) if stored is TEN else WHOLE)
    assert isinstance(decision, Fail)
    assert decision.reason is BAD_STATUS  # 54
    assert decision.why == f"answered {status}"  # the caller says what it keeps


@pytest.mark.parametrize(
    ("stored", "answer", "expected"),
    [
        (TEN, part("bytes 10-29/30"), Append(10, 30, 30)),
        (TEN, part("bytes 10-19/30"), Append(10, 20, 30)),
        (TEN, part("bytes 10-19/*"), Append(10, 20, 30)),
        (UNSIZED, part("bytes 10-29/30"), Append(10, 30, 30)),
        (UNSIZED, part("bytes 10-19/*"), Append(10, 20, None)),
        (TEN, part("bytes 10-29/30", "Content-Length: 20"), Append(10, 30, 30)),
        (TEN, part("bytes 10-29/30", "Content-Length: x"), Append(10, 30, 30)),
        (TEN, part("bytes 10-29/30", f"Last-Modified: {LATER}"), Append(10, 30, 30)),
        (TEN, part("bytes 10-29/30", "Content-Encoding: identity"), Append(10, 30, 30)),
    ],
)
def test_a_part_that_fits_is_appended(
    stored: Stored, answer: Head, expected: Append
) -> None:
    assert decide(stored, answer, rest(stored)) == expected


def test_last_modified_may_be_missing_beside_the_same_strong_etag() -> None:
    stored = Stored(10, '"a"', MODIFIED, 30)
    answer = part("bytes 10-29/30")
    assert decide(stored, answer, rest(stored)) == Append(10, 30, 30)  # 9110 15.3.7


@pytest.mark.parametrize(
    ("stored", "answer"),
    [
        (TEN, head(206, 'ETag: "a"')),  # 61
        (TEN, part("bytes=10-29/30")),  # B10
        (TEN, part("bytes */30")),
        (TEN, part("bytes 10-29/30", "Content-Range: bytes 10-29/30")),
        (TEN, part("bytes 0-29/30")),  # 62
        (TEN, part("bytes 9-29/30")),
        (TEN, part("bytes 11-29/30")),
        (TEN, part("bytes 10-29/30", etag='"b"')),  # 63
        (TEN, part("bytes 10-29/30", etag='W/"a"')),
        (TEN, head(206, "Content-Range: bytes 10-29/30")),
        (Stored(10, last_modified=MODIFIED), part("bytes 10-29/30")),
        (
            Stored(10, last_modified=MODIFIED),
            part("bytes 10-29/30", f"Last-Modified: {LATER}"),
        ),
        (
            Stored(10, '"a"', MODIFIED),
            part("bytes 10-29/30", f"Last-Modified: {LATER}"),
        ),
        (Stored(10, 'W/"a"', MODIFIED), part("bytes 10-29/30", etag='W/"a"')),
        (TEN, part("bytes 10-29/31")),  # 64
        (TEN, part("bytes 10-28/29")),
        (TEN, part("bytes 10-30/*")),
        (TEN, part("bytes 10-29/30", "Content-Length: 19")),
        (TEN, part("bytes 10-29/30", "Content-Encoding: gzip")),  # B12
        (TEN, part("bytes 10-29/30", "Content-Type: Multipart/ByteRanges; boundary=x")),
    ],
)
def test_a_part_that_does_not_fit_restarts(stored: Stored, answer: Head) -> None:
    """Behaviours 61, 62, 63, 64, B10, B11, B12."""
    decision = decide(stored, answer, rest(stored))
    assert isinstance(decision, Restart)  # B11
    assert decision.why


@pytest.mark.parametrize("stored", [Stored(), Stored(10, 'W/"a"', complete_length=30)])
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("bytes 0-29/30", Append(0, 30, 30)),
        ("bytes 0-9/31", Append(0, 10, 31)),
        ("bytes 0-9/*", Append(0, 10, None)),
    ],
)
def test_a_part_that_nobody_asked_for_is_the_first_part(
    stored: Stored, field: str, expected: Append
) -> None:
    assert decide(stored, part(field, etag='"b"'), WHOLE) == expected  # 65


@pytest.mark.parametrize(
    "answer",
    [
        head(206),
        part("bytes 1-29/30"),
        part("bytes 10-29/30"),
        part("bytes */30"),
        part("bytes 0-29/30", "Content-Encoding: gzip"),
        part("bytes 0-29/30", "Content-Length: 31"),
        part("bytes 0-29/30", "Content-Type: multipart/byteranges"),
    ],
)
def test_an_unasked_part_that_is_not_the_first_is_refused(answer: Head) -> None:
    fresh = decide(Stored(), answer, WHOLE)
    assert isinstance(fresh, Fail)
    assert fresh.reason is FETCH_ERROR  # 46, 218
    assert isinstance(decide(Stored(10), answer, WHOLE), Restart)


@pytest.mark.parametrize(
    ("stored", "answer", "expected"),
    [
        (UNSIZED, head(416, "Content-Range: bytes */10"), Done),  # B6
        (UNSIZED, head(416, "Content-Range: bytes */10", 'ETag: "a"'), Done),
        (Stored(10, '"a"', None, 10), head(416, "Content-Range: bytes */10"), Done),
        (UNSIZED, head(416, "Content-Range: bytes */10", 'ETag: "b"'), Restart),
        (
            Stored(10, None, MODIFIED),
            head(416, "Content-Range: bytes */10", f"Last-Modified: {LATER}"),
            Restart,
        ),
        (TEN, head(416, "Content-Range: bytes */10"), Restart),  # it was 30 before
        (UNSIZED, head(416, "Content-Range: bytes */9"), Restart),
        (UNSIZED, head(416, "Content-Range: bytes */11"), Restart),
        (UNSIZED, head(416, "Content-Range: bytes 0-9/10"), Restart),
        (UNSIZED, head(416), Restart),
    ],
)
def test_a_416_is_success_when_it_confirms_what_is_stored(
    stored: Stored, answer: Head, expected: type[Decision]
) -> None:
    """Behaviours 217, B6."""
    decision = decide(stored, answer, rest(stored))
    assert type(decision) is expected
    if isinstance(decision, Done):
        assert decision.length == stored.length


@pytest.mark.parametrize("stored", [Stored(), Stored(10)])
def test_a_416_without_a_range_is_a_bad_status(stored: Stored) -> None:
    answer = head(416, "Content-Range: bytes */10")
    decision = decide(stored, answer, WHOLE)
    assert isinstance(decision, Fail)
    assert decision.reason is BAD_STATUS


# -- the end of the body -----------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    ("stored_length", "decision", "received", "expected"),
    [
        (30, Append(10, 30, 30), 20, Done),  # 53
        (30, Append(0, 30, 30), 30, Done),
        (20, Append(10, 30, 30), 10, RetryLater),  # 55
        (20, Append(10, 20, 30), 10, RetryLater),  # 53: there is more
        (10, Append(10, 30, 30), 0, RetryLater),  # B5
        (10, Append(10, 30, None), 0, RetryLater),
        (20, Append(10, 20, None), 10, RetryLater),  # B4
        (15, Append(10, 20, None), 5, RetryLater),
        (31, Append(10, 30, 30), 21, Restart),
        (30, Append(10, 20, 30), 20, Restart),
        (21, Append(10, 20, None), 11, Restart),
        (30, Replace(30), 30, Done),
        (0, Replace(0), 0, Done),  # 54
        (29, Replace(30), 29, RetryLater),
        (0, Replace(30), 0, RetryLater),
        (31, Replace(30), 31, Fail),
    ],
)
def test_a_body_with_a_known_end_is_done_there_and_only_there(
    clean: bool,
    stored_length: int,
    decision: Append | Replace,
    received: int,
    expected: type[Decision],
) -> None:
    after = after_body(stored_length, decision, received=received, clean=clean)
    assert type(after) is expected
    if isinstance(after, Done):
        assert after.length == stored_length
    elif isinstance(after, Fail):
        assert after.reason is FETCH_ERROR


@pytest.mark.parametrize("length", [0, 30])
def test_a_body_without_a_length_is_done_when_its_end_is_clean(length: int) -> None:
    ended = after_body(length, Replace(None), received=length, clean=True)
    broken = after_body(length, Replace(None), received=length, clean=False)
    assert ended == Done(length)
    assert isinstance(broken, RetryLater)


# -- what holds for all answers ----------------------------------------------------

ETAGS = st.sampled_from([None, '"a"', '"b"', 'W/"a"', "a"])
FIELDS = st.tuples(
    st.sampled_from(
        ["Content-Range", "Content-Length", "Content-Encoding", "ETag", "Retry-After"]
    ),
    st.from_regex(r"bytes (\d{1,2}-\d{1,2}|\*)/(\d{1,2}|\*)", fullmatch=True)
    | st.from_regex(r"\d{1,2}", fullmatch=True)
    | st.sampled_from(['"a"', 'W/"a"', "gzip", ""])
    | st.text(),
)
ANSWERS = st.builds(
    Head,
    st.just("http://example/f"),
    st.sampled_from([200, 204, 206, 206, 206, 404, 416, 416, 503]) | st.integers(0),
    st.lists(FIELDS, max_size=5).map(tuple),
)


STORED = st.builds(Stored, st.integers(0, 20), ETAGS, complete_length=st.none())


@given(STORED, ANSWERS, st.sampled_from(WithoutValidator))
def test_every_answer_gets_a_safe_decision(
    stored: Stored, answer: Head, without: WithoutValidator
) -> None:
    asked = ask(stored, without, tail=4)
    decision = decide(stored, answer, asked)
    if discards(stored, decision):
        assert 200 <= answer.status < 300 or answer.status == 416  # B7
    if isinstance(decision, Append):
        first = asked.first or 0
        assert decision.at == (stored.length if first else 0)
        assert decision.verify == decision.at - first
        assert first < decision.until
    if isinstance(decision, Restart):
        assert discards(stored, decision)
    if isinstance(decision, Done):
        assert answer.status == 416
        assert decision.length == stored.length > 0


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Replace(30), True),
        (Restart("changed"), True),
        (Append(0, 5, None), True),
        (Append(10, 30, 30), False),
        (Append(10, 30, 30, verify=4), False),
        (Append(10, 8, 30, verify=4), False),
        (RetryLater("later"), False),
        (Done(10), False),
        (Fail(BAD_STATUS, "gone"), False),
    ],
)
def test_what_throws_stored_bytes_away_is_known(
    decision: Decision, expected: bool
) -> None:
    assert discards(Stored(10), decision) is expected
    assert not discards(Stored(), decision)
