"""A body in segments: nothing overlaps, nothing is lost, the counts are right."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.model import Head, WithoutValidator
from scrapy_bgfetch.rules.asking import ask, stored_of
from scrapy_bgfetch.rules.resume import Append, Fail, Replace, Restart, decide, discards
from scrapy_bgfetch.rules.segments import Segments, divisible, front_of

VERIFY = WithoutValidator.VERIFY_TAIL
STRONG = (("ETag", '"a"'),)
MODIFIED = ("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")


def shape(segments: Segments) -> list[tuple[int, int, int]]:
    """Return all segments, those that are complete too."""
    return [(one.start, one.at, one.end) for one in segments._all]


def head(*fields: tuple[str, str], status: int = 200) -> Head:
    return Head("http://a/", status, fields)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((), [(0, 0, 100)]),
        (((0, 0),), [(0, 0, 100)]),
        (((0, 40),), [(0, 40, 100)]),
        (((0, 10), (50, 60)), [(0, 10, 50), (50, 60, 100)]),
        (((20, 30),), [(0, 0, 20), (20, 30, 100)]),
        (((0, 10), (50, 100)), [(0, 10, 50), (50, 100, 100)]),
        (((0, 10), (90, 120)), [(0, 10, 100)]),
    ],
)
def test_what_is_stored_makes_segments(stored, expected) -> None:
    """Whatever lies beyond the end is not believed."""
    assert shape(Segments(100, stored)) == expected


@pytest.mark.parametrize(
    ("stored", "count", "front", "extent", "open_ones"),
    [
        ((), 0, 0, 0, [0]),
        (((0, 40),), 40, 40, 40, [40]),
        (((0, 10), (50, 60)), 20, 10, 60, [10, 60]),
        (((20, 30),), 10, 0, 30, [0, 30]),
        (((0, 10), (50, 100)), 60, 10, 100, [10]),
        (((0, 100),), 100, 100, 100, []),
    ],
)
def test_what_is_stored_is_counted(stored, count, front, extent, open_ones) -> None:
    segments = Segments(100, stored)
    assert segments.stored == count
    assert segments.front == front == front_of(count, segments.stretches)
    assert segments.extent == extent
    assert segments.stretches == stored
    assert [one.at for one in segments.open] == open_ones


def test_without_stretches_all_is_at_the_front() -> None:
    assert front_of(7, ()) == 7


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (2, [(0, 20, 60), (60, 60, 100)]),
        (4, [(0, 20, 80), (80, 80, 100)]),
        (16, [(0, 20, 90), (90, 90, 100)]),  # not shorter than the least
    ],
)
def test_the_last_of_equal_parts_is_cut_off(parts, expected) -> None:
    segments = Segments(100, ((0, 20),))
    new = segments.split(segments.open[0], parts, 10)
    assert shape(segments) == expected
    assert new is segments.open[1]


def test_four_connections_get_equal_parts() -> None:
    segments = Segments(100)
    first = segments.open[0]
    for parts in (4, 3, 2):
        segments.split(first, parts, 1)
    assert shape(segments) == [(0, 0, 25), (25, 25, 50), (50, 50, 75), (75, 75, 100)]


def test_what_is_short_is_not_cut() -> None:
    segments = Segments(100, ((0, 81),))
    assert segments.split(segments.open[0], 2, 10) is None
    assert shape(segments) == [(0, 81, 100)]


def test_a_segment_takes_over_what_nobody_began() -> None:
    segments = Segments(100)
    first = segments.open[0]
    segments.split(first, 2, 1)
    assert segments.after(first) is segments.open[1]
    segments.absorb(first)
    assert shape(segments) == [(0, 0, 100)]
    assert segments.after(first) is None


def test_what_a_short_file_has_lost_is_not_stored() -> None:
    segments = Segments(100, ((0, 10), (50, 60), (80, 90)))
    segments.cut(55)
    assert segments.stretches == ((0, 10), (50, 55))


@st.composite
def lives(draw):
    """Segments in a random state: what was stored before, and then what happened."""
    size = draw(st.integers(1, 200))
    offsets = sorted(draw(st.sets(st.integers(0, size), max_size=8)))
    stored = tuple(zip(offsets[::2], offsets[1::2], strict=False))
    steps = st.tuples(
        st.sampled_from(["bring", "split", "absorb", "cut", "restart"]),
        st.integers(0, 10**6),
        st.integers(1, 16),
    )
    return size, stored, draw(st.lists(steps, max_size=30))


@given(lives())
def test_whatever_happens_no_byte_is_lost_or_stored_twice(life) -> None:
    """The model is the set of all stored offsets."""
    size, stored, steps = life
    segments = Segments(size, stored)
    model = {byte for first, end in stored for byte in range(first, end)}
    for step, number, amount in steps:
        left = segments.open
        one = left[number % len(left)] if left else None
        if step == "bring" and one is not None:
            brought = set(range(one.at, one.at + min(amount, one.left)))
            assert not brought & model
            model |= brought
            one.at += len(brought)
        elif step == "split" and one is not None:
            segments.split(one, amount + 1, amount)
        elif step == "absorb" and one is not None:
            other = segments.after(one)
            if other is not None and other.at == other.start:
                segments.absorb(one)
        elif step == "cut":
            segments.cut(number % (size + 1))
            model = {byte for byte in model if byte < number % (size + 1)}
        else:
            segments = Segments(size, segments.stretches)
        check(segments, model)


def check(segments: Segments, model: set[int]) -> None:
    everything = shape(segments)
    assert everything[0][0] == 0
    assert everything[-1][2] == segments.size
    for before, after in pairwise(everything):
        assert before[2] == after[0]
    assert all(start <= at <= end for start, at, end in everything)
    assert segments.stored == len(model)
    assert model == {
        byte for first, end in segments.stretches for byte in range(first, end)
    }
    missing = set(range(segments.size)) - model
    assert segments.front == min(missing, default=segments.size)
    assert segments.extent == max(model, default=-1) + 1
    assert sum(one.left for one in segments.open) == len(missing)


# -- whether a body may be divided ---------------------------------------------------

WHOLE = Replace(100)
REST = Append(10, 100, 100)


@pytest.mark.parametrize(
    ("decision", "fields", "status", "size", "expected"),
    [
        (WHOLE, STRONG, 200, 100, 100),
        (REST, STRONG, 206, 100, 100),
        (WHOLE, (*STRONG, ("Accept-Ranges", "bytes")), 200, 100, 100),
        (WHOLE, (*STRONG, ("Accept-Ranges", "None")), 200, 100, None),
        (WHOLE, (), 200, 100, None),
        (WHOLE, (("ETag", 'W/"a"'),), 200, 100, None),
        (WHOLE, (MODIFIED, ("Date", "Thu, 02 Jan 2020 00:00:00 GMT")), 200, 100, 100),
        (WHOLE, (MODIFIED,), 200, 100, None),
        (WHOLE, (*STRONG, ("Content-Encoding", "gzip")), 200, 100, None),
        (WHOLE, STRONG, 203, 100, None),
        (Replace(None), STRONG, 200, None, None),
        (Replace(0), STRONG, 200, 0, None),
        (Append(10, 100, 100, verify=5), STRONG, 206, 100, None),
    ],
)
def test_a_body_is_divided_only_where_parts_are_sure_to_fit(
    decision, fields, status, size, expected
) -> None:
    assert divisible(decision, head(*fields, status=status), size) == expected


# -- a gap is asked for, and what answers judged -------------------------------------


def gap(first: int, until: int | None = 50):
    return stored_of(first, head(*STRONG), 100, False, until)


@pytest.mark.parametrize(
    ("first", "until", "wanted"),
    [(10, 50, "bytes=10-49"), (0, 50, "bytes=0-49"), (10, None, "bytes=10-")],
)
def test_a_gap_is_asked_for_and_no_more(first, until, wanted) -> None:
    """Also one at the very beginning, with bytes behind it."""
    asked = ask(gap(first, until), VERIFY)
    assert asked.first == first
    assert (asked.fields["Range"], asked.fields["If-Range"]) == (wanted, '"a"')


@pytest.mark.parametrize("first", [0, 10])
@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (206, (*STRONG, ("Content-Range", "bytes {}-49/100")), Append),
        (206, (*STRONG, ("Content-Range", "bytes {}-49/101")), Restart),
        (206, (("ETag", '"b"'), ("Content-Range", "bytes {}-49/100")), Restart),
        (206, (*STRONG, ("Content-Range", "bytes 11-49/100")), Restart),
        (200, STRONG, Replace),
        (416, (("Content-Range", "bytes */100"),), Restart),
        (404, (), Fail),
    ],
)
def test_what_answers_for_a_gap_is_judged(first, status, fields, kind) -> None:
    """B6, B11, 61-65: what is behind the gap counts as stored."""
    stored = gap(first)
    filled = [(name, value.format(first)) for name, value in fields]
    decision = decide(stored, head(*filled, status=status), ask(stored, VERIFY))
    assert isinstance(decision, kind)
    assert discards(stored, decision) == (kind in {Restart, Replace})
