"""When a disk is too slow to be written to while everybody waits."""

from __future__ import annotations

from attrs import define

QUICK = 200_000_000
"""Bytes a second that any disk takes which is not slow: the page cache takes ten times
as many. What a write takes no longer for plays no role."""

PATIENCE = 0.03
"""Seconds that writes may take longer than that, in a row; time between them makes up
for twice its length."""

SLOW = 0.02
"""Seconds that a write by a thread takes at least when the disk still is slow; some of
it is the wait for its turn in the interpreter."""

SPAN = 1.0
"""Seconds for which a disk counts as slow after it last was."""

_MAKES_UP = 2.0


@define
class SlowWrites:
    """Judges a disk by what writes to it took; times are of one monotonic clock."""

    _owed: float = 0.0
    _ended: float = 0.0
    _until: float = 0.0

    def slow(self, now: float) -> bool:
        """Say whether writes should be left to threads now."""
        return now < self._until

    def took(self, size: int, begin: float, end: float) -> None:
        """Take note of a write of so many bytes that everybody waited for."""
        pause = max(begin - self._ended, 0.0)
        longer = max(end - begin - size / QUICK, 0.0)
        self._owed = max(self._owed - _MAKES_UP * pause, 0.0) + longer
        self._ended = end
        if self._owed > PATIENCE:
            self._owed = 0.0
            self._until = end + SPAN

    def took_thread(self, begin: float, end: float) -> None:
        """Take note of a write that a thread made."""
        if end - begin > SLOW:
            self._until = max(self._until, end + SPAN)
