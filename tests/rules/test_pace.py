"""Bytes are spread over time: issue 4, item 7."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.rules.pace import CREDIT, Pace, rate_limit_of

RATES = st.integers(1, 10**9)
# What share of a second's bytes each take has, and how late the next one comes.
TAKES = st.lists(st.tuples(st.floats(0.001, 0.5), st.floats(0, 2)), min_size=1)


def used(rate: int, takes: list[tuple[float, float]]) -> list[tuple[float, int]]:
    """Return when how many bytes are used, by one who waits as it is told."""
    pace, now, when = Pace(rate), 1000.0, []
    for share, late in takes:
        size = max(int(rate * share), 1)
        now += pace.take(size, now)
        when.append((now, size))
        now += late
    return when


@given(rate=RATES, takes=TAKES)
def test_no_interval_has_more_than_its_share_and_a_small_burst(rate, takes) -> None:
    when = used(rate, takes)
    for first, (begin, _) in enumerate(when):
        total = 0
        for end, size in when[first + 1 :]:
            total += size
            assert total <= rate * (end - begin + CREDIT) * (1 + 1e-6) + 1e-3


@given(rate=RATES, shares=st.lists(st.floats(0.001, 0.5), min_size=1))
def test_one_who_is_always_there_gets_exactly_the_rate(rate, shares) -> None:
    when = used(rate, [(share, 0.0) for share in shares])
    total = sum(size for _, size in when)
    assert when[-1][0] - 1000.0 == pytest.approx(total / rate, rel=1e-6, abs=1e-6)


@given(
    rate=RATES,
    takes=st.lists(st.tuples(st.floats(0.11, 0.5), st.floats(0, CREDIT)), min_size=1),
)
def test_waking_up_a_little_late_each_time_costs_nothing(rate, takes) -> None:
    """Takes that last longer than one is late."""
    when = used(max(rate, 1000), takes)
    total = sum(size for _, size in when)
    assert when[-1][0] - 1000.0 == pytest.approx(total / max(rate, 1000), abs=1e-5)


def test_the_first_bytes_have_their_time_too() -> None:
    assert Pace(1000).take(500, 7.0) == 0.5


def test_there_is_no_wait_after_a_pause_as_long_as_the_credit() -> None:
    pace = Pace(1000)
    pace.take(500, 0.0)
    assert pace.take(int(1000 * CREDIT), 0.5 + CREDIT) == 0.0


def test_a_long_pause_gives_no_more_than_the_credit() -> None:
    pace = Pace(1000)
    pace.take(500, 0.0)
    assert pace.take(600, 3600.0) == pytest.approx(0.6 - CREDIT)


def test_another_rate_holds_from_the_next_bytes_on() -> None:
    pace = Pace(1000)
    pace.take(1000, 0.0)
    pace.rate = 500
    assert pace.take(1000, 1.0) == 2.0


@pytest.mark.parametrize(
    ("rate", "step"),
    [(1, 1), (19, 1), (1000, 50), (1024 * 1024, 52428), (2**63, 64 * 1024)],
)
def test_a_step_is_a_small_part_of_a_second_and_no_byte_less_than_one(rate, step):
    assert Pace(rate).step == step


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, 0),
        ({"fail_fast": True}, 0),
        ({"rate_limit": 5}, 5),
        ({"group": {}}, 0),
        ({"group": {"rate_limit": 5}}, 5),
        ({"group": {"rate_limit": None}}, 0),
    ],
)
def test_the_limit_is_read_from_what_is_kept(
    options: dict[str, Any], limit: int
) -> None:
    assert rate_limit_of(options) == limit
