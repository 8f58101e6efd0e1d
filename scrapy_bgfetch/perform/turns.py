"""Long work on the event loop, done in turns with everybody else's."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURN = 0.01  # seconds


class Turns:
    """Gives the event loop to others now and then."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + _TURN

    @property
    def over(self) -> bool:
        """Whether this turn has been long enough."""
        return time.perf_counter() > self._end

    async def next(self) -> None:
        """Let others have the loop."""
        await asyncio.sleep(0)
        self._end = time.perf_counter() + _TURN


@contextmanager
def uncollected() -> Iterator[None]:
    """Make many objects that stay, without a search for garbage among them.

    Python would search all that there is several times, and nothing else would run
    meanwhile: half of the time that 10,000 background fetches take. Afterwards the
    new ones count as old, as they would after those searches.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # somebody else's
            gc.freeze()
            gc.unfreeze()
        gc.enable()
