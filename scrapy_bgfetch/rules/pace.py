"""How fast bytes may come: a virtual clock that says how long to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE_LIMIT = "rate_limit"
CREDIT = 0.1  # seconds that one who comes late may make up for
_STEPS = 20  # a second
_MAX_STEP = 64 * 1024  # bytes


@define(eq=False)
class Pace:
    """Spreads bytes over time, ``rate`` a second.

    When the bytes of each :meth:`take` are used at the end of its wait, and the next
    take comes after that, then no interval of ``t`` seconds has more than
    ``rate * (t + CREDIT)`` bytes and those of one take. One who comes no later than
    CREDIT after a wait has ended loses nothing by it.
    """

    rate: int
    _due: float | None = field(default=None, init=False)

    @property
    def step(self) -> int:
        """How many bytes to take at a time, so that they come smoothly."""
        return min(max(self.rate // _STEPS, 1), _MAX_STEP)

    def take(self, size: int, now: float) -> float:
        """Take ``size`` bytes; return for how many seconds to wait, 0.0 for none."""
        begin = now if self._due is None else max(self._due, now - CREDIT)
        self._due = begin + size / self.rate
        return max(self._due - now, 0.0)


def rate_limit_of(options: Mapping[str, Any]) -> int:
    """Return the rate limit in the options of a registration, 0 for none.

    That of grouped requests is in what they said of their group.
    """
    return options.get("group", options).get(RATE_LIMIT) or 0
