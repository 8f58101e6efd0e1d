"""What to do with answers about bytes without a strong validator: each policy's cells.

Behaviours 61-66, B4-B7, B11, B12; RFC 9110 sections 14.4, 15.3.7, 15.5.17.
"""

from __future__ import annotations

import pytest

from scrapy_bgfetch.model import Head, WithoutValidator
from scrapy_bgfetch.rules.asking import Stored, ask
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
    tail_differs,
)

VERIFY_TAIL = WithoutValidator.VERIFY_TAIL
RESTART = WithoutValidator.RESTART
TRUST = WithoutValidator.TRUST

MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"

TEN = Stored(10, complete_length=30)
UNSIZED = Stored(10)
WHOLE = Stored(10, complete_length=10)
WEAK = Stored(10, 'W/"a"', MODIFIED, 30, date=MODIFIED)


def head(status: int, *lines: str) -> Head:
    pairs = [line.split(": ", 1) for line in lines]
    return Head("http://example/f", status, tuple((k, v) for k, v in pairs))


def part(field: str, *lines: str) -> Head:
    return head(206, f"Content-Range: bytes {field}", *lines)


def decided(without: WithoutValidator, stored: Stored, answer: Head) -> Decision:
    """Return the decision when 4 bytes are the tail: verify-tail asks from byte 6."""
    return decide(stored, answer, ask(stored, without, tail=4))


# -- the head of the answer --------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "stored", "answer", "expected"),
    [
        (VERIFY_TAIL, TEN, part("6-29/30"), Append(10, 30, 30, verify=4)),
        (VERIFY_TAIL, TEN, part("6-29/*"), Append(10, 30, 30, verify=4)),
        (VERIFY_TAIL, TEN, part("6-10/30"), Append(10, 11, 30, verify=4)),
        (VERIFY_TAIL, UNSIZED, part("6-29/30"), Append(10, 30, 30, verify=4)),
        (VERIFY_TAIL, UNSIZED, part("6-19/*"), Append(10, 20, None, verify=4)),
        (VERIFY_TAIL, UNSIZED, part("6-9/10"), Append(10, 10, 10, verify=4)),
        (VERIFY_TAIL, UNSIZED, part("6-9/*"), Append(10, 10, None, verify=4)),
        (VERIFY_TAIL, WHOLE, part("6-9/10"), Append(10, 10, 10, verify=4)),
        (VERIFY_TAIL, TEN, part("6-7/30"), Append(10, 8, 30, verify=4)),
        (VERIFY_TAIL, UNSIZED, part("6-7/*"), Append(10, 8, None, verify=4)),
        (
            VERIFY_TAIL,
            TEN,
            part("6-29/30", "Content-Length: 24"),
            Append(10, 30, 30, verify=4),
        ),
        (VERIFY_TAIL, TEN, part("6-29/30", 'ETag: "b"'), Append(10, 30, 30, verify=4)),
        (
            VERIFY_TAIL,
            WEAK,
            part("6-29/30", 'ETag: W/"a"', f"Last-Modified: {MODIFIED}"),
            Append(10, 30, 30, verify=4),
        ),
        (TRUST, TEN, part("10-29/30"), Append(10, 30, 30)),
        (TRUST, UNSIZED, part("10-19/*"), Append(10, 20, None)),
        (
            TRUST,
            WEAK,
            part("10-29/30", 'ETag: W/"a"', f"Last-Modified: {MODIFIED}"),
            Append(10, 30, 30),
        ),
        (RESTART, TEN, part("0-29/30"), Append(0, 30, 30)),  # 65
    ],
)
def test_a_part_that_fits_is_compared_and_appended_as_the_policy_says(
    without: WithoutValidator, stored: Stored, answer: Head, expected: Append
) -> None:
    assert decided(without, stored, answer) == expected


@pytest.mark.parametrize(
    ("without", "stored", "answer"),
    [
        (VERIFY_TAIL, TEN, part("10-29/30")),  # 62: not what was asked for
        (VERIFY_TAIL, TEN, part("0-29/30")),
        (VERIFY_TAIL, TEN, part("5-29/30")),
        (VERIFY_TAIL, TEN, part("7-29/30")),
        (VERIFY_TAIL, TEN, part("6-29/31")),  # 64
        (VERIFY_TAIL, TEN, part("6-30/*")),
        (VERIFY_TAIL, UNSIZED, part("6-8/9")),  # it has shrunk
        (VERIFY_TAIL, UNSIZED, part("6-6/9")),
        (VERIFY_TAIL, TEN, part("6-29/30", "Content-Length: 20")),
        (VERIFY_TAIL, TEN, part("6-29/30", "Content-Encoding: gzip")),  # B12
        (VERIFY_TAIL, TEN, part("6-29/30", "Content-Type: multipart/byteranges")),
        (VERIFY_TAIL, TEN, head(206)),  # 61
        (TRUST, TEN, part("6-29/30")),
        (TRUST, TEN, part("10-30/31")),
        (TRUST, TEN, part("10-30/*")),
        (RESTART, TEN, part("10-29/30")),
        (RESTART, TEN, part("6-29/30")),
    ],
)
def test_a_part_that_does_not_fit_restarts(
    without: WithoutValidator, stored: Stored, answer: Head
) -> None:
    decision = decided(without, stored, answer)
    assert isinstance(decision, Restart)  # B11
    assert decision.why


@pytest.mark.parametrize(
    ("without", "field"), [(VERIFY_TAIL, "6-29/30"), (TRUST, "10-29/30")]
)
@pytest.mark.parametrize(
    "lines",
    [
        (),  # a 206 must have what a 200 would have: RFC 9110 15.3.7
        ('ETag: W/"a"',),
        (f"Last-Modified: {MODIFIED}",),
        ('ETag: W/"b"', f"Last-Modified: {MODIFIED}"),
        ('ETag: "a"', f"Last-Modified: {MODIFIED}"),
        ('ETag: W/"a"', f"Last-Modified: {LATER}"),
    ],
)
def test_a_weak_validator_that_is_another_or_missing_restarts(
    without: WithoutValidator, field: str, lines: tuple[str, ...]
) -> None:
    assert isinstance(decided(without, WEAK, part(field, *lines)), Restart)  # 63, 66


@pytest.mark.parametrize(
    ("without", "stored", "field", "expected"),
    [
        (VERIFY_TAIL, UNSIZED, "bytes */10", Restart),  # byte 6 of 10 is there
        (VERIFY_TAIL, WHOLE, "bytes */10", Restart),
        (VERIFY_TAIL, UNSIZED, "bytes */6", Restart),  # it has shrunk
        (VERIFY_TAIL, UNSIZED, "bytes */0", Restart),
        (VERIFY_TAIL, UNSIZED, "bytes */11", Restart),
        (VERIFY_TAIL, UNSIZED, "nonsense", Restart),
        (TRUST, UNSIZED, "bytes */10", Done),  # B6
        (TRUST, WHOLE, "bytes */10", Done),
        (TRUST, TEN, "bytes */10", Restart),  # it was 30 before
        (TRUST, UNSIZED, "bytes */9", Restart),
        (TRUST, UNSIZED, "bytes */11", Restart),
        (TRUST, UNSIZED, "nonsense", Restart),
        (RESTART, UNSIZED, "bytes */10", Fail),  # to a request without Range
    ],
)
def test_a_416_confirms_nothing_when_stored_bytes_were_asked_for(
    without: WithoutValidator, stored: Stored, field: str, expected: type[Decision]
) -> None:
    answer = head(416, f"Content-Range: {field}")
    assert type(decided(without, stored, answer)) is expected


@pytest.mark.parametrize("without", list(WithoutValidator))
@pytest.mark.parametrize("stored", [Stored(), Stored(3), TEN, UNSIZED, WEAK])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (head(200, "Content-Length: 30"), Replace),
        (head(200), Replace),
        (head(206, "Content-Length: 3, 4"), Fail),
        (head(304), Fail),
        (head(403), Fail),
        (head(404), Fail),
        (head(429), RetryLater),  # B7
        (head(503), RetryLater),
    ],
)
def test_every_other_answer_gets_the_same_decision_under_every_policy(
    without: WithoutValidator, stored: Stored, answer: Head, expected: type[Decision]
) -> None:
    assert type(decided(without, stored, answer)) is expected


@pytest.mark.parametrize("without", list(WithoutValidator))
@pytest.mark.parametrize("stored", [Stored(), Stored(10, encoded=True)])
def test_a_416_with_nothing_to_resume_is_a_bad_status(
    without: WithoutValidator, stored: Stored
) -> None:
    answer = head(416, "Content-Range: bytes */10")
    assert isinstance(decided(without, stored, answer), Fail)


# -- the end of the body -----------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    ("stored_length", "decision", "compared", "expected"),
    [
        (30, Append(10, 30, 30, verify=4), 4, Done),  # 53
        (30, Append(10, 30, 30, verify=4), 0, Done),  # new bytes follow compared ones
        (20, Append(10, 30, 30, verify=4), 4, RetryLater),  # 55
        (20, Append(10, 20, 30, verify=4), 4, RetryLater),
        (20, Append(10, 20, None, verify=4), 4, RetryLater),  # B4: ask once more
        (31, Append(10, 30, 30, verify=4), 4, Restart),
        (11, Append(10, 10, 10, verify=4), 4, Restart),
        (11, Append(10, 8, 30, verify=4), 4, Restart),
        (10, Append(10, 10, 10, verify=4), 4, Done),
        (10, Append(10, 10, 10, verify=4), 3, RetryLater),
        (10, Append(10, 10, 10, verify=4), 0, RetryLater),
        (10, Append(10, 30, 30, verify=4), 4, RetryLater),  # B5
        (10, Append(10, 30, None, verify=4), 4, RetryLater),
        (10, Append(10, 30, None, verify=4), 2, RetryLater),
        (10, Append(10, 10, None, verify=4), 3, RetryLater),
        (10, Append(10, 8, 30, verify=4), 2, RetryLater),
        (10, Append(10, 8, 10, verify=4), 2, RetryLater),  # two bytes not compared
        (10, Append(10, 8, None, verify=4), 2, RetryLater),
    ],
)
def test_a_compared_part_is_done_when_all_was_compared_and_nothing_is_missing(
    clean: bool,
    stored_length: int,
    decision: Append,
    compared: int,
    expected: type[Decision],
) -> None:
    received = stored_length - decision.at
    after = after_body(
        stored_length, decision, received=received, clean=clean, compared=compared
    )
    assert type(after) is expected


def test_a_compared_part_of_unknown_total_without_a_new_byte_is_the_end() -> None:
    decision = Append(10, 10, None, verify=4)
    ended = after_body(10, decision, received=0, clean=True, compared=4)
    broken = after_body(10, decision, received=0, clean=False, compared=4)
    assert ended == Done(10)  # B4
    assert isinstance(broken, RetryLater)


def test_a_part_that_was_not_compared_is_not_the_end_without_a_new_byte() -> None:
    decision = Append(10, 20, None)
    after = after_body(10, decision, received=0, clean=True)
    assert isinstance(after, RetryLater)  # B5


def test_a_tail_that_differs_restarts_and_says_what_was_compared() -> None:
    decision = tail_differs(Append(100_000, 200_000, 200_000, verify=65_536))
    assert isinstance(decision, Restart)
    assert discards(Stored(100_000), decision)
    assert "65536" in decision.why
    assert "changed" in decision.why
