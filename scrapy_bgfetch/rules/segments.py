"""A body that arrives in several places at once: what is stored, who takes what.

All offsets and lengths are in bytes of the stored body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import define

from scrapy_bgfetch.rules.asking import resumable, stored_of
from scrapy_bgfetch.rules.resume import Append, Replace, content_encoded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy_bgfetch.model import Head

LEAST = 1024 * 1024
"""What a connection of its own is opened for, at least."""

Stretches: TypeAlias = tuple[tuple[int, int], ...]
"""Stored bytes: (first, end) of each stretch, in their order; none touches the next."""


@define(eq=False)
class Segment:
    """A stretch of a body: ``at`` is the first byte of it that is not stored yet."""

    start: int
    at: int
    end: int

    @property
    def left(self) -> int:
        """How many bytes of it are not stored."""
        return self.end - self.at


class Segments:
    """A body of ``size`` bytes as segments, in their order, without gap or overlap.

    :param stored: the stretches that are stored, as :attr:`stretches` has them.
    """

    def __init__(self, size: int, stored: Iterable[tuple[int, int]] = ()) -> None:
        self.size = size
        known = [pair for pair in stored if pair[0] < pair[1] <= size]
        if not known or known[0][0]:
            known.insert(0, (0, 0))
        ends = [first for first, _ in known[1:]] + [size]
        self._all = [Segment(*pair, end) for pair, end in zip(known, ends, strict=True)]

    @property
    def stored(self) -> int:
        """How many bytes are stored, wherever."""
        return sum(one.at - one.start for one in self._all)

    @property
    def front(self) -> int:
        """How many bytes are stored before the first that is not."""
        return next((one.at for one in self._all if one.left), self.size)

    @property
    def extent(self) -> int:
        """The offset after the last byte that is stored."""
        stored = (one.at for one in reversed(self._all) if one.at > one.start)
        return next(stored, 0)

    @property
    def open(self) -> list[Segment]:
        """The segments that are not complete, in their order."""
        return [one for one in self._all if one.left]

    @property
    def stretches(self) -> Stretches:
        """The stretches that are stored."""
        found: list[tuple[int, int]] = []
        for one in self._all:
            if found and found[-1][1] == one.start:
                found[-1] = (found[-1][0], one.at)
            elif one.at > one.start:
                found.append((one.start, one.at))
        return tuple(found)

    def split(self, segment: Segment, parts: int, least: int = LEAST) -> Segment | None:
        """Cut off the last of so many equal parts of what is left of a segment.

        None, and nothing changes, when one of the two would be shorter than ``least``.
        """
        if segment.left < 2 * least:
            return None
        cut = segment.end - max(segment.left // parts, least)
        new = Segment(cut, cut, segment.end)
        self._all.insert(self._all.index(segment) + 1, new)
        segment.end = cut
        return new

    def after(self, segment: Segment) -> Segment | None:
        """Return the segment behind one, None when it is the last."""
        place = self._all.index(segment) + 1
        return self._all[place] if place < len(self._all) else None

    def absorb(self, segment: Segment) -> None:
        """Let a segment have the one behind it too, of which nothing is stored."""
        other = self.after(segment)
        assert other is not None
        assert other.at == other.start
        self._all.remove(other)
        segment.end = other.end

    def cut(self, length: int) -> None:
        """Count only what is stored before an offset."""
        for one in self._all:
            one.at = max(one.start, min(one.at, length))


def front_of(stored: int, stretches: Stretches) -> int:
    """Return how many bytes are stored before the first that is not.

    :param stored: how many are stored in all.
    :param stretches: where they are; () when they are one stretch from byte 0 on.
    """
    if not stretches:
        return stored
    first, end = stretches[0]
    return 0 if first else end


def divisible(decision: Append | Replace, head: Head, size: int | None) -> int | None:
    """Return the length of a body that may be fetched in parts, None when it may not.

    It must be known, with a strong validator (in ``head``, the one that the stored
    bytes belong to) and without a content coding, and the server must not have said
    that it knows no ranges (RFC 9110 section 14.3).
    """
    ranges = (head.get("Accept-Ranges") or "").strip(" \t").lower()
    whole = isinstance(decision, Replace) or not decision.verify
    vouched = resumable(stored_of(1, head, size, content_encoded(head)))
    possible = whole and vouched and ranges != "none" and head.status in {200, 206}
    return size if size and possible else None
