"""Why a background fetch failed (behaviours 33, 34, 203, B1, B2, B8)."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.rules.reasons import first_of, result_of

NONE = FailureReason.NONE
ABORTED = FailureReason.ABORTED
BAD_STATUS = FailureReason.BAD_STATUS
FETCH_ERROR = FailureReason.FETCH_ERROR
QUOTA = FailureReason.QUOTA_EXCEEDED
TOTAL = FailureReason.DOWNLOAD_TOTAL_EXCEEDED

ORDINARY = (BAD_STATUS, FETCH_ERROR, QUOTA)
REASONS = st.sampled_from(FailureReason)


def after(*reasons: FailureReason) -> FailureReason:
    """Return the reason after these, in their order, while nothing has settled."""
    return reduce(lambda old, new: first_of(old, new, settled=False), reasons, NONE)


@pytest.mark.parametrize("reason", list(FailureReason))
def test_a_single_failure_is_the_reason(reason: FailureReason) -> None:
    """B1."""
    assert after(NONE, reason, NONE) is reason  # B1


@pytest.mark.parametrize("first", ORDINARY)
@pytest.mark.parametrize("later", [*ORDINARY, TOTAL])
def test_the_first_failure_wins(first: FailureReason, later: FailureReason) -> None:
    """B2."""
    assert after(first, later) is first


@pytest.mark.parametrize("first", ORDINARY)
def test_an_abort_overrides_an_earlier_failure(first: FailureReason) -> None:
    """Behaviours 33, 203, B8."""
    assert after(first, ABORTED) is ABORTED  # 33, B8, 203


@pytest.mark.parametrize("later", [*ORDINARY, TOTAL])
def test_nothing_overrides_an_abort(later: FailureReason) -> None:
    assert after(ABORTED, later) is ABORTED


def test_download_total_exceeded_dominates_the_aborts_that_it_causes() -> None:
    """Behaviours 32, B2."""
    assert after(TOTAL, ABORTED, ABORTED) is TOTAL  # 32, B2


# What stands after the reason in a row was followed by the one in a column.
_ORDER = (NONE, ABORTED, BAD_STATUS, FETCH_ERROR, QUOTA, TOTAL)
_TABLE = {
    NONE: _ORDER,
    ABORTED: (ABORTED,) * 6,
    BAD_STATUS: (BAD_STATUS, ABORTED, *(BAD_STATUS,) * 4),
    FETCH_ERROR: (FETCH_ERROR, ABORTED, *(FETCH_ERROR,) * 4),
    QUOTA: (QUOTA, ABORTED, *(QUOTA,) * 4),
    TOTAL: (TOTAL,) * 6,
}


@pytest.mark.parametrize(
    ("current", "new", "expected"),
    [
        (current, new, expected)
        for current, row in _TABLE.items()
        for new, expected in zip(_ORDER, row, strict=True)
    ],
)
def test_the_precedence_of_reasons(
    current: FailureReason, new: FailureReason, expected: FailureReason
) -> None:
    assert first_of(current, new, settled=False) is expected  # 31-33, 203, B1, B2, B8
    assert first_of(current, new, settled=True) is current


def test_the_table_has_all_reasons() -> None:
    assert set(_TABLE) == set(_ORDER) == set(FailureReason)


@given(REASONS, REASONS)
def test_a_settled_reason_is_frozen(current: FailureReason, new: FailureReason) -> None:
    """B2."""
    assert first_of(current, new, settled=True) is current  # B2


@given(st.lists(REASONS))
def test_the_reason_is_empty_only_when_nothing_failed(
    reasons: list[FailureReason],
) -> None:
    assert (after(*reasons) is NONE) == all(reason is NONE for reason in reasons)


@given(st.lists(REASONS))
def test_the_reason_is_the_first_failure_unless_aborted(
    reasons: list[FailureReason],
) -> None:
    failures = [reason for reason in reasons if reason is not NONE]
    if not failures:
        return
    aborted = ABORTED in failures and failures[0] is not TOTAL
    assert after(*reasons) is (ABORTED if aborted else failures[0])


@pytest.mark.parametrize("reason", list(FailureReason))
def test_a_reason_makes_a_failure_and_none_a_success(reason: FailureReason) -> None:
    """Behaviour 34."""
    expected = Result.SUCCESS if reason is NONE else Result.FAILURE
    assert result_of(reason) is expected  # 34
