"""One of several connections that bring one body."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    import asyncio

    from scrapy_bgfetch.perform.attempt import Attempt
    from scrapy_bgfetch.rules.segments import Segment
    from scrapy_bgfetch.transport.base import Exchange

_LATE = 5.0  # seconds without an answer


@define(eq=False)
class Connection:
    """One connection, on its segment.

    ``until`` is the offset after the last byte that it can bring, None before it has
    answered. ``attempt`` is None for the first one. ``extra`` says that it has taken
    room at its host.
    """

    segment: Segment
    exchange: Exchange | None = None
    until: int | None = None
    attempt: Attempt | None = None
    extra: bool = False
    brought: int = 0
    task: asyncio.Task[None] | None = None
    began: float = field(factory=time.monotonic)

    @property
    def answered(self) -> bool:
        """Whether it brings its segment."""
        return self.until is not None

    @property
    def late(self) -> bool:
        """Whether one who is done should take its segment over."""
        return not self.answered and time.monotonic() >= self.began + _LATE

    def stop(self) -> None:
        """Close it at once; what it has brought stays."""
        if self.task is not None:
            self.task.cancel()
        self.close()

    def close(self) -> None:
        """Close it when it has ended; may be called again."""
        if self.attempt is not None:
            self.attempt.end()
        elif self.exchange is not None:
            self.exchange.close()
