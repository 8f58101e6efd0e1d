"""Hold everything while there is no room (BGFETCH_ON_FULL ``pause``)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from scrapy_bgfetch.perform.space import LEAST

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.perform.outcome import Full
    from scrapy_bgfetch.perform.space import Space

logger = logging.getLogger(__name__)

_LOOK_INTERVAL = 1.0  # seconds between two looks whether there is room


class Hold:
    """Waits for room, then lets transfers go on.

    :param stop: called when everything must stop.
    :param go_on: called when there is room again, for LEAST bytes.
    """

    def __init__(
        self, space: Space, stop: Callable[[], None], go_on: Callable[[], None]
    ) -> None:
        self._space = space
        self._stop = stop
        self._go_on = go_on
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def begin(self, full: Full) -> None:
        """Stop everything until there is room."""
        if self._task is None and not self._ended:
            logger.warning(
                "All background fetches pause: %s. They go on when there is room.",
                full.why,
            )
            self._stop()
            self._task = asyncio.ensure_future(self._wait())

    def end(self) -> None:
        """Wait no longer: the spider closes."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    async def _wait(self) -> None:
        while not await self._has_room():
            await asyncio.sleep(_LOOK_INTERVAL)
        logger.info("There is room again: the background fetches go on.")
        self._task = None
        self._go_on()

    async def _has_room(self) -> bool:
        try:
            return (await self._space.room_for(LEAST)).left >= LEAST
        except OSError as error:
            logger.warning("The room that is left cannot be measured: %s", error)
            return False
