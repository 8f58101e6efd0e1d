"""Perform a background fetch: its records in parallel, one outcome at the end."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import InvalidStateError, StoreError, SuspendedError
from scrapy_bgfetch.model import FailureReason
from scrapy_bgfetch.perform.records import Records
from scrapy_bgfetch.perform.slots import Slots
from scrapy_bgfetch.rules.reasons import first_of, result_of
from scrapy_bgfetch.store.base import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import Group, LiveRecord

logger = logging.getLogger(__name__)

_PATIENCE = 1.0  # seconds that hooks get to end when the spider closes


class Performer:
    """Performs background fetches until they end or the spider closes.

    :param host_limit: how many records of a host may be active, 0 for no limit.
    :param idle: called when the last background fetch has been delivered, and when
        one waits for nothing but more requests.
    :param broken: called when the state cannot be written any more.
    """

    def __init__(
        self,
        context: Context,
        *,
        host_limit: Callable[[str], int],
        idle: Callable[[], None],
        broken: Callable[[StoreError], None],
    ) -> None:
        self._context = context
        self._idle = idle
        self._broken = broken
        total = context.settings.concurrent_records
        self._slots = Slots(total, host_limit, self._start)
        self._records = Records(context, failed=self._failed, waiting=self._wait_turn)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._progress: dict[str, asyncio.Task[None]] = {}
        self.groups: dict[str, Group] = {}
        self.suspended = False

    def open(self) -> None:
        """Let downloads begin."""
        self._slots.open = True
        self._ticker = asyncio.ensure_future(self._tick())
        self._slots.pump()

    def add(self, group: Group) -> None:
        """Perform a background fetch, new or taken up from an earlier run."""
        loop = asyncio.get_running_loop()
        group.freed, group.finished = loop.create_future(), loop.create_future()
        self.groups[group.uid] = group
        self._publish_left(group)
        if self.suspended:
            self._suspend(group)
            return
        if group.ending:
            self._spawn(self._finish(group, group.failure_reason))
            return
        for record in group.records:
            if record.settled:
                self._failed(record, record.failure_reason)
        for record in group.records:
            self.take_up(record)
        self._maybe_end(group)

    def close_group(self, group: Group) -> None:
        """No more requests will join: it settles with those that it has."""
        if group.expected is not None:
            logger.warning(
                "The group %r ends with %d of its %d requests: the others never came.",
                *(group.row.id, len(group.records), group.expected),
            )
        group.expected = min(len(group.records), group.expected or len(group.records))
        self._maybe_end(group)

    async def abort(self, group: Group) -> bool:
        """Abort; False when it had ended already (71).

        When this returns the id is free and the transfers have been cut.
        """
        if not self._claim_end(group):
            return False
        self._spawn(self._end(group, FailureReason.ABORTED))
        assert group.freed is not None
        await asyncio.shield(group.freed)  # whoever gives up waiting stops nothing
        return True

    async def pause(self, group: Group) -> None:
        """Stop its bytes and keep them, until :meth:`resume` (56)."""
        self._check_pausable(group)
        group.paused = True
        for record in group.records:
            record.interrupt()
        await self._context.store.amend(group.uid, paused=True)

    async def resume(self, group: Group) -> None:
        """Go on after :meth:`pause`."""
        self._check_pausable(group)
        group.paused = False
        await self._context.store.amend(group.uid, paused=False)
        for record in group.records:
            self._wait_turn(record)

    async def suspend(self) -> None:
        """Stop everything and keep every byte, for the next run to go on with."""
        if not self.suspended:
            self.suspended = True
            self._slots.open = False
            for group in self.groups.values():
                self._suspend(group)
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_PATIENCE)
        if self._ticker is not None:
            self._ticker.cancel()
        for group in self.groups.values():
            await self._guard(self._flush(group))

    async def _flush(self, group: Group) -> None:
        """Write which records were announced: many at a time."""
        indexes, group.to_announce = group.to_announce, []
        if indexes:
            await self._context.store.announced(group.uid, *indexes)

    @staticmethod
    def _suspend(group: Group) -> None:
        group.suspended = True
        for record in group.records:
            record.interrupt()
            record.wake()
        for waited_for in (group.freed, group.finished):
            if waited_for is not None and not (group.ending or waited_for.done()):
                waited_for.set_exception(_suspended(group))
                waited_for.exception()  # nobody has to be waiting for it

    def _publish_left(self, group: Group) -> None:
        """Rename or drop the part files that an earlier run settled, and no more."""
        bodies = self._context.bodies
        for record in group.records:
            if record.announced or not record.settled:
                continue
            if record.path is None:
                bodies.discard(record.part)
            elif bodies.has_part(record.part):
                bodies.publish(record.part, record.path)

    # -- records -----------------------------------------------------------------

    def take_up(self, record: LiveRecord) -> None:
        """Go on with one record, wherever it is in its life."""
        if not record.settled:
            self._slots.put(record)
        elif not record.announced:
            record.task = self._spawn(self._announce_again(record))

    def _wait_turn(self, record: LiveRecord) -> None:
        group = record.group
        if record.settled or record.timer is not None:
            return
        if not (group.ending or group.paused or group.suspended):
            self._slots.put(record)

    def _start(self, record: LiveRecord) -> None:
        record.task = self._spawn(self._complete(record))

    async def _complete(self, record: LiveRecord) -> None:
        """Give the slot back only when the hooks have ended: they slow it down."""
        try:
            if await self._attempt(record):
                await self._announce(record)
        finally:
            record.task = None
            record.wake()
            self._slots.done(record)
            self._wait_turn(record)

    async def _attempt(self, record: LiveRecord) -> bool:
        """Make an attempt; whatever is unforeseen in it is the record's failure."""
        try:
            return await self._records.attempt(record)
        except StoreError:
            raise
        except Exception as error:
            logger.exception("%s met an unexpected error.", record.url)
            return await self._records.give_up(record, error)

    def _failed(self, record: LiveRecord, reason: FailureReason) -> None:
        """Take note of a failure at once, so that nobody goes on for nothing."""
        group = record.group
        if not reason:
            return
        group.first_failure = first_of(
            group.first_failure, reason, settled=group.ending
        )
        fatal = reason is FailureReason.DOWNLOAD_TOTAL_EXCEEDED
        if (fatal or group.row.options.get("fail_fast")) and self._claim_end(
            group, spare=record
        ):
            self._spawn(self._end(group, group.first_failure, after=record))

    async def _announce_again(self, record: LiveRecord) -> None:
        """Call the hooks that an earlier run did not come to."""
        try:
            await self._announce(record)
        finally:
            record.task = None

    async def _announce(self, record: LiveRecord) -> None:
        group = record.group
        assert group.delegate is not None
        await group.delegate.record_settled(record)
        group.to_announce.append(record.index)
        record.announced = True
        record.request = None
        group.unannounced -= 1
        self._maybe_end(group)

    # -- groups ------------------------------------------------------------------

    def _maybe_end(self, group: Group) -> None:
        if group.unannounced:
            return
        if not group.complete:
            self._idle()  # only an idle spider knows that no more will join
        elif self._claim_end(group):
            self._spawn(self._end(group, group.first_failure))

    def _claim_end(self, group: Group, *, spare: LiveRecord | None = None) -> bool:
        """Be the one who ends the group: everything else of it stops now."""
        if group.ending or group.suspended:
            return False
        group.ending = True
        for record in group.records:
            if record is not spare:
                record.interrupt()
        return True

    async def _end(
        self, group: Group, reason: FailureReason, after: LiveRecord | None = None
    ) -> None:
        """End a group that is claimed: settle it, then deliver its outcome."""
        try:
            if after is not None:
                await _wait_settled(after)
            await self._settle(group, reason)
        finally:
            _release_waiters(group, group.freed)
        await self._finish(group, reason)

    async def _settle(self, group: Group, reason: FailureReason) -> None:
        """Keep the outcome; the id is free from here on (33, 34, 72)."""
        await self._flush(group)
        group.settled_at = time.time()
        verdict = await self._context.store.settle(
            group.uid, result_of(reason), reason, group.settled_at
        )
        if verdict is not Verdict.KEPT:
            raise StoreError(
                f"the background fetch {group.row.id!r} was settled by somebody else."
            )
        group.outcome = reason
        assert group.delegate is not None
        group.delegate.released()

    async def _finish(self, group: Group, reason: FailureReason) -> None:
        """Let the rest settle, then deliver the outcome (35, 36, 38, 39)."""
        running = {r.task for r in group.records if r.task is not None}
        running.discard(asyncio.current_task())
        if running:
            await asyncio.wait(running)
        for record in group.records:
            if not record.settled:
                record.drop_bytes()
                self._context.bodies.discard(record.part)
                record.settle(FailureReason.ABORTED, _aborted(reason))
        group.failure_reason, group.result = reason, result_of(reason)
        assert group.delegate is not None
        group.delegate.updated()
        _release_waiters(group, group.finished)
        for record in group.records:
            if not record.announced:
                await self._announce(record)
        await self._deliver(group)

    async def _deliver(self, group: Group) -> None:
        assert group.delegate is not None
        progress = self._progress.pop(group.uid, None)
        if progress is not None:
            await asyncio.wait({progress})
        await self._flush(group)
        await group.delegate.settled()
        await self._context.store.delivered(group.uid)
        group.records_available = False
        self.groups.pop(group.uid, None)
        if not self.groups:
            self._idle()

    @staticmethod
    def _check_pausable(group: Group) -> None:
        if group.ending:
            raise InvalidStateError(f"{group.row.id!r} has ended already.")
        if any(r.row.method != "GET" for r in group.records):
            raise InvalidStateError(
                f"{group.row.id!r} cannot be paused: only a background fetch whose "
                "requests are all GET can."
            )

    # -- time --------------------------------------------------------------------

    async def _tick(self) -> None:
        settings = self._context.settings
        checkpoint_at, checkpoint = 0.0, None
        while True:
            await asyncio.sleep(settings.progress_interval)
            for group in {record.group for record in self._records.active}:
                self._report(group)
                if group.to_announce:
                    self._spawn(self._flush(group))
            if time.monotonic() < checkpoint_at or (
                checkpoint and not checkpoint.done()
            ):
                continue
            checkpoint_at = time.monotonic() + settings.checkpoint_interval
            checkpoint = self._spawn(self._records.checkpoint())

    def _report(self, group: Group) -> None:
        if group.downloaded == group.reported or group.uid in self._progress:
            return
        if group.ending or group.delegate is None:
            return
        group.reported = group.downloaded
        task = self._spawn(group.delegate.progress())
        self._progress[group.uid] = task
        task.add_done_callback(lambda _: self._progress.pop(group.uid, None))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreError as error:
            self._broken(error)
        except Exception:
            logger.exception("A background fetch met an unexpected error.")


def _aborted(reason: FailureReason) -> str:
    if reason is FailureReason.ABORTED:
        return "The background fetch was aborted."
    return f"The background fetch ended with {reason}."


def _release_waiters(group: Group, waited_for: asyncio.Future[None] | None) -> None:
    """Wake those who wait; after an exception they are told to try again."""
    if waited_for is None or waited_for.done():
        return
    if sys.exc_info()[0] is None:
        waited_for.set_result(None)
    else:
        waited_for.set_exception(_suspended(group))
        waited_for.exception()  # nobody has to be waiting for it


def _suspended(group: Group) -> SuspendedError:
    return SuspendedError(
        f"the spider is closing: the background fetch {group.row.id!r} is suspended "
        "and goes on when the spider is started again."
    )


async def _wait_settled(record: LiveRecord) -> None:
    while not record.settled and record.task is not None:
        await record.changed()
