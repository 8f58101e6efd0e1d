"""The group's byte budget (behaviour 50)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.model import FailureReason, Head
from scrapy_bgfetch.rules.asking import Ask, Stored
from scrapy_bgfetch.rules.budget import announced_excess, would_exceed
from scrapy_bgfetch.rules.resume import (
    Append,
    Decision,
    Done,
    Fail,
    Replace,
    Restart,
    RetryLater,
    decide,
)

SIZES = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("download_total", "stored", "more", "expected"),
    [
        (100, 0, 99, False),
        (100, 0, 100, False),  # equality passes
        (100, 0, 101, True),
        (100, 60, 40, False),
        (100, 60, 41, True),
        (100, 100, 0, False),
        (100, 100, 1, True),
        (0, 10**12, 10**12, False),  # 0 is no limit
    ],
)
def test_strictly_more_than_the_budget_exceeds_it(
    download_total: int, stored: int, more: int, expected: bool
) -> None:
    assert would_exceed(download_total, stored, more) is expected


@given(SIZES, SIZES)
def test_without_a_download_total_nothing_exceeds(stored: int, more: int) -> None:
    assert not would_exceed(0, stored, more)


def head(status: int, **fields: str) -> Head:
    names = {name.replace("_", "-"): value for name, value in fields.items()}
    return Head("http://example/f", status, tuple(names.items()))


@pytest.mark.parametrize(
    ("answer", "stored", "ranged", "expected"),
    [
        (head(200, Content_Length="40"), 0, False, None),  # equality passes
        (head(200, Content_Length="41"), 0, False, 1),
        (head(200, Content_Length="41"), 30, True, 1),  # what it replaces is gone
        (head(200), 0, False, None),
        (head(200, Content_Length="x"), 0, False, None),
        (head(200, Content_Length="41", Content_Encoding="gzip"), 0, False, None),
        (head(200, Content_Length="41", Transfer_Encoding="chunked"), 0, False, None),
        (head(204, Content_Length="41"), 0, False, None),
        (head(206, Content_Range="bytes 10-19/40"), 10, True, None),
        (head(206, Content_Range="bytes 10-19/45"), 10, True, 5),
        (head(206, Content_Range="bytes 10-39/*"), 10, True, None),
        (head(206, Content_Range="bytes 10-42/*"), 10, True, 3),
        (head(206, Content_Range="bytes 0-9/45"), 0, False, 5),
        (head(206, Content_Range="bytes 11-19/45"), 10, True, None),  # refused anyway
        (head(404, Content_Length="4100"), 0, False, None),  # an error body is outside
        (head(503, Content_Length="4100"), 10, True, None),
    ],
)
def test_an_answer_that_announces_too_much_is_refused_early(
    answer: Head, stored: int, ranged: bool, expected: int | None
) -> None:
    decision = decide(Stored(stored), answer, Ask({}, stored if ranged else None))
    assert announced_excess(100, 60, decision) == expected


def test_a_total_that_was_known_before_counts_for_a_part_of_unknown_total() -> None:
    answer = head(206, Content_Range="bytes 10-19/*")
    decision = decide(Stored(10, complete_length=50), answer, Ask({}, 10))
    assert announced_excess(100, 60, decision) == 10


@pytest.mark.parametrize(
    "decision",
    [
        Done(5000),
        RetryLater("later"),
        Restart("changed"),
        Fail(FailureReason.FETCH_ERROR, "broken"),
    ],
)
def test_an_answer_without_a_body_to_store_announces_nothing(
    decision: Decision,
) -> None:
    assert announced_excess(100, 60, decision) is None


@given(SIZES, SIZES, SIZES, st.booleans())
def test_early_refusal_says_what_the_check_of_every_write_will_say(
    download_total: int, others: int, length: int, whole: bool
) -> None:
    decision: Decision = Replace(length) if whole else Append(0, length, None)
    excess = announced_excess(download_total, others, decision)
    assert (excess is not None) == would_exceed(download_total, others, length)
    if excess is not None:
        assert others + length - excess == download_total
