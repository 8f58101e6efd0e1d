"""When writes are left to threads: a pure rule, on times that are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.rules.slow_writes import PATIENCE, QUICK, SLOW, SPAN, SlowWrites


def after(*writes: tuple[float, float]) -> tuple[SlowWrites, float]:
    """Return what is known after pauses and writes of so many seconds, and when."""
    disk, now = SlowWrites(), 1000.0
    for pause, took in writes:
        begin = now + pause
        now = begin + took
        disk.took(0, begin, now)
    return disk, now


def test_a_new_disk_is_not_slow():
    assert not SlowWrites().slow(1000.0)


def test_one_long_write_makes_a_disk_slow_for_a_while():
    disk, now = after((0, 2 * PATIENCE))
    assert disk.slow(now)
    assert disk.slow(now + 0.9 * SPAN)
    assert not disk.slow(now + 1.1 * SPAN)


@pytest.mark.parametrize("took", [PATIENCE / 3, PATIENCE / 30])
def test_many_writes_in_a_row_count_together(took):
    """64 transfers write in one turn of the loop."""
    writes = int(PATIENCE / took * 1.1) + 1
    disk, now = after(*[(0, took)] * writes)
    assert disk.slow(now)


@given(st.lists(st.integers(0, 2**30), max_size=100))
def test_quick_writes_never_make_a_disk_slow_however_many(sizes):
    """A transfer from next door may write most of the time."""
    disk, now = SlowWrites(), 0.0
    for size in sizes:
        disk.took(size, now, now + size / QUICK)
        now += size / QUICK
    assert not disk.slow(now)


@given(st.lists(st.floats(0, PATIENCE), max_size=100))
def test_a_disk_that_leaves_as_much_time_as_it_takes_is_never_slow(times):
    disk, now = after(*((took, took) for took in times))
    assert not disk.slow(now)


def test_a_slow_write_by_a_thread_prolongs_it():
    disk, now = after((0, 2 * PATIENCE))
    later = now + 0.9 * SPAN
    disk.took_thread(later - 2 * SLOW, later)
    assert disk.slow(later + 0.9 * SPAN)


def test_a_quick_write_by_a_thread_does_not():
    disk, now = after((0, 2 * PATIENCE))
    later = now + 0.9 * SPAN
    disk.took_thread(later - SLOW / 2, later)
    assert not disk.slow(now + 1.1 * SPAN)


def test_a_disk_that_was_slow_is_judged_anew():
    disk, now = after((0, 2 * PATIENCE))
    later = now + 1.1 * SPAN
    disk.took(0, later, later + PATIENCE / 2)
    assert not disk.slow(later + PATIENCE / 2)
