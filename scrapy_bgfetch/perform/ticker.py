"""What is done by time, and never by chunks: progress, checkpoints, digests, room."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import Group
    from scrapy_bgfetch.perform.records import Records

_LOOK_INTERVAL = 0.1  # seconds between two looks at what can be hashed or announced
_ROOM_INTERVAL = 1.0  # seconds between two looks at the room that is left


class Ticker:
    """Looks after the active records: each purpose has an interval of its own.

    :param spawn: starts work that somebody waits for when the spider closes.
    """

    def __init__(
        self,
        context: Context,
        records: Records,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._context = context
        self._records = records
        self._spawn = spawn
        self._task: asyncio.Task[None] | None = None
        self._progress: dict[str, asyncio.Task[None]] = {}
        self._running: set[str] = set()
        self._checkpoint: asyncio.Task[None] | None = None
        self._report_at = self._checkpoint_at = 0.0
        self._look_at = self._room_at = 0.0

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    async def reported(self, group: Group) -> None:
        """Wait for the progress event of a group that is being handled, if one is."""
        progress = self._progress.pop(group.uid, None)
        if progress is not None:
            await asyncio.wait({progress})

    async def _run(self) -> None:
        while True:
            due = min(self._report_at, self._checkpoint_at, self._look_at)
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            self._tick(time.monotonic())

    def _tick(self, now: float) -> None:
        settings = self._context.settings
        if now >= self._look_at:
            self._look_at = now + _LOOK_INTERVAL
            self._look(now)
        if now >= self._report_at:
            self._report_at = now + settings.progress_interval
            self._report_all()
        if now >= self._checkpoint_at:
            over = _over(self._checkpoint)
            wait = settings.checkpoint_interval if over else _LOOK_INTERVAL
            self._checkpoint_at = now + wait
            if over:
                self._checkpoint = self._spawn(self._records.checkpoint())

    def _look(self, now: float) -> None:
        for record in self._records.active:
            if record.digests is not None:
                record.digests.follow(record.front)
        for group in self._groups():
            if group.to_announce:
                self._once(group.uid, partial(self._context.ledger.announced, group))
        if now >= self._room_at and self._context.space.limited:
            self._room_at = now + _ROOM_INTERVAL
            self._once("room", self._look_for_room)

    def _report_all(self) -> None:
        groups = self._groups()
        self._records.left = {group for group in groups if group.uid in self._progress}
        for group in groups:
            self.report(group)

    def _groups(self) -> set[Group]:
        """Return those that have active records, or had since the last report."""
        self._records.left = {g for g in self._records.left if g.records_available}
        return {record.group for record in self._records.active} | self._records.left

    def _once(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start work, unless that of this name still runs: nothing queues up."""
        if name not in self._running:
            self._running.add(name)
            task = self._spawn(work())
            task.add_done_callback(lambda _: self._running.discard(name))

    async def _look_for_room(self) -> None:
        await self._context.space.look()

    def report(self, group: Group) -> None:
        """Send a progress event, when bytes came or went since the last one."""
        numbers = group.downloaded, group.uploaded
        if numbers == group.reported or group.uid in self._progress:
            return
        if group.ending or group.delegate is None:
            return
        group.reported = numbers
        task = self._spawn(group.delegate.progress())
        self._progress[group.uid] = task
        task.add_done_callback(lambda _: self._progress.pop(group.uid, None))


def _over(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()
