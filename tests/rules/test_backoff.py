"""When to try again, and how often (DESIGN section 2, "Retry")."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.rules.backoff import (
    Budgets,
    delay,
    parse_http_date,
    parse_imf_fixdate,
    parse_retry_after,
)

EXAMPLE = 784111777.0  # the moment of RFC 9110's examples
IMF = "Sun, 06 Nov 1994 08:49:37 GMT"
RFC850 = "Sunday, 06-Nov-94 08:49:37 GMT"
ASCTIME = "Sun Nov  6 08:49:37 1994"

FACTORS = st.floats(0, 1, exclude_max=True)
SECONDS = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("retry", "jitter", "expected"),
    [
        (1, 0.0, 1.0),
        (1, 0.5, 1.5),
        (2, 0.0, 2.0),
        (3, 0.5, 6.0),
        (5, 0.0, 16.0),
        (6, 0.0, 30.0),
        (100, 0.5, 45.0),
        (10**9, 0.0, 30.0),
    ],
)
def test_the_delay_doubles_up_to_the_cap(
    retry: int, jitter: float, expected: float
) -> None:
    """Behaviours 45, 214."""
    assert delay(retry, base=2.0, cap=60.0, jitter=jitter) == expected


@given(st.integers(1, 10**12), SECONDS, SECONDS, FACTORS)
def test_the_delay_is_between_half_and_all_of_the_whole(
    retry: int, base: float, cap: float, jitter: float
) -> None:
    whole = min(cap, base * 2.0 ** min(retry - 1, 1000))
    waited = delay(retry, base=base, cap=cap, jitter=jitter)
    assert whole / 2 <= waited <= whole <= cap


@given(st.integers(1, 2000), SECONDS, SECONDS, FACTORS)
def test_a_later_retry_never_waits_less(
    retry: int, base: float, cap: float, jitter: float
) -> None:
    sooner = delay(retry, base=base, cap=cap, jitter=jitter)
    assert sooner <= delay(retry + 1, base=base, cap=cap, jitter=jitter)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7\t", 7.0),
        ("007", 7.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 5000, 3600.0),
        ("-5", 0.0),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Mon, 06 Nov 2094 08:00:00 GMT", 3600.0),
    ],
)
def test_retry_after_is_read_as_seconds_from_now(value: str, expected: float) -> None:
    assert parse_retry_after(value, now=EXAMPLE, cap=3600.0) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "1.5",
        "1e3",
        "+5",
        "--5",
        "5, 10",
        "5 seconds",
        "0x10",
        "\u0665",
        "Sun, 06 Nov 1994",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 30 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
    ],
)
def test_a_retry_after_without_sense_is_none(value: str | None) -> None:
    assert parse_retry_after(value, now=EXAMPLE, cap=3600.0) is None


@given(st.text() | st.integers().map(str), SECONDS, st.floats(0, 4e9))
def test_retry_after_is_never_negative_nor_over_the_cap(
    value: str, cap: float, now: float
) -> None:
    seconds = parse_retry_after(value, now=now, cap=cap)
    assert seconds is None or 0 <= seconds <= cap


@pytest.mark.parametrize("value", [IMF, RFC850, ASCTIME])
def test_the_three_forms_of_a_date_name_one_moment(value: str) -> None:
    assert parse_http_date(value, now=EXAMPLE) == EXAMPLE


@pytest.mark.parametrize("value", [None, "", RFC850, ASCTIME, IMF + " ", IMF.lower()])
def test_only_the_preferred_form_is_an_imf_fixdate(value: str | None) -> None:
    assert parse_imf_fixdate(value) is None


@given(st.integers(0, 4_000_000_000))
def test_an_imf_fixdate_is_read_back(seconds: int) -> None:
    assert parse_imf_fixdate(formatdate(seconds, usegmt=True)) == seconds


def test_a_leap_second_is_the_second_after_59() -> None:
    last = parse_imf_fixdate("Sat, 31 Dec 2016 23:59:59 GMT")
    leap = parse_imf_fixdate("Sat, 31 Dec 2016 23:59:60 GMT")
    assert last is not None
    assert leap == last + 1


@pytest.mark.parametrize(
    ("two_digits", "year"),
    [("94", 1994), ("26", 2026), ("76", 2076), ("77", 1977), ("00", 2000)],
)
def test_a_year_of_two_digits_is_at_most_50_years_ahead(
    two_digits: str, year: int
) -> None:
    now = datetime(2026, 6, 1, tzinfo=timezone.utc).timestamp()
    moment = parse_http_date(f"Sunday, 06-Nov-{two_digits} 08:49:37 GMT", now=now)
    assert moment is not None
    assert datetime.fromtimestamp(moment, timezone.utc).year == year


def test_each_budget_is_spent_alone_until_it_is_used_up() -> None:
    one = Budgets(restarts=1, resumptions=1)
    assert one.spend_restart() == Budgets(restarts=0, resumptions=1)
    assert one.spend_resumption() == Budgets(restarts=1, resumptions=0)
    assert Budgets(restarts=0, resumptions=1).spend_restart() is None
    assert Budgets(restarts=1, resumptions=0).spend_resumption() is None


def test_progress_refills_the_resumptions() -> None:
    """Behaviour 215."""
    initial = Budgets(restarts=2, resumptions=5)
    assert Budgets(restarts=2, resumptions=0).progressed(initial) == initial


def test_progress_never_refills_the_restarts() -> None:
    initial = Budgets(restarts=2, resumptions=5)
    left = Budgets(restarts=0, resumptions=0).progressed(initial)
    assert left.spend_restart() is None
