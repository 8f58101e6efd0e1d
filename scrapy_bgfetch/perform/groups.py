"""Perform a background fetch: its records in parallel, one outcome at the end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import InvalidStateError, StoreError
from scrapy_bgfetch.model import FailureReason
from scrapy_bgfetch.perform.hold import Hold
from scrapy_bgfetch.perform.records import Records
from scrapy_bgfetch.perform.slots import Slots
from scrapy_bgfetch.perform.ticker import Ticker
from scrapy_bgfetch.perform.waiters import release, settled, tell_suspended
from scrapy_bgfetch.rules.reasons import first_of, result_of, why_aborted
from scrapy_bgfetch.store.base import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import Group, LiveRecord
    from scrapy_bgfetch.perform.turns import Turns

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
        self._slots = Slots(total, host_limit, self._start, context.extras)
        self._hold = Hold(context.space, self._stop_all, self._go_on)
        self._records = Records(
            context,
            failed=self._failed,
            waiting=self._wait_turn,
            full=self._hold.begin,
            vacate=self._slots.vacate,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ticker = Ticker(context, self._records, self._spawn)
        self.groups: dict[str, Group] = {}
        self.suspended = False

    def open(self) -> None:
        """Let downloads begin."""
        self._ticker.start()
        self._go_on()

    def add(self, group: Group) -> None:
        """Perform a new background fetch."""
        self.admit(group)
        if not group.suspended:
            for record in group.records:
                self.take_up(record)
            self._maybe_end(group)

    def admit(self, group: Group) -> None:
        """Take a background fetch in, and let none of its records begin yet."""
        loop = asyncio.get_running_loop()
        group.freed, group.finished = loop.create_future(), loop.create_future()
        self.groups[group.uid] = group
        if group.ending:
            group.freed.set_result(None)
        if self.suspended:
            self._suspend(group)
            tell_suspended(group)

    async def go_on(self, group: Group, turns: Turns) -> None:
        """Go on with one of an earlier run, which was admitted."""
        if group.suspended:
            return
        if group.row.result:
            self._spawn(self._to_end(group, self._finish(group, group.failure_reason)))
            return
        for record in group.records:
            self._failed(record, record.failure_reason)
        with self.growing(group):
            for record in tuple(group.records):
                if group.ending or group.suspended:
                    return  # whoever ends it looks after its records
                self.take_up(record)
                if turns.over:
                    await turns.next()

    def close_group(self, group: Group) -> None:
        """No more requests will join: it settles with those that it has."""
        if group.expected is not None:
            logger.warning(
                "The group %r ends with %d of its %d requests: the others never came.",
                *(group.row.id, len(group.records), group.expected),
            )
        group.expected = min(len(group.records), group.expected or len(group.records))
        self._maybe_end(group)

    @contextmanager
    def growing(self, group: Group) -> Iterator[None]:
        """Let no group end because all of its records have, while more are added."""
        group.unannounced += 1
        try:
            yield
        finally:
            group.unannounced -= 1
            self._maybe_end(group)

    def reprioritize(self, group: Group, before: int) -> None:
        """Take note of another priority than it had before."""
        self._slots.moved(group, before)

    async def abort(self, group: Group) -> bool:
        """Abort; False when it had ended already (71).

        When this returns the id is free and the transfers have been cut.

        :raises InvalidStateError: it is being registered and may be refused.
        :raises SuspendedError: the spider is closing, it goes on next time.
        """
        if not (group.ending or group.freed):
            raise InvalidStateError(
                f"{group.row.id!r} is not registered yet: raise to refuse it."
            )
        first = self._claim_end(group)
        if first:
            self._spawn(self._to_end(group, self._end(group, FailureReason.ABORTED)))
        if group.freed is not None:
            await asyncio.shield(group.freed)  # whoever gives up waiting stops nothing
        return first

    async def pause(self, group: Group) -> None:
        """Stop its bytes and keep them, until :meth:`resume` (56)."""
        self._check_pausable(group)
        group.paused = True
        for record in group.records:
            record.interrupt()
        self._ticker.report(group)
        await self._context.store.amend(group.uid, paused=True)

    async def resume(self, group: Group) -> None:
        """Go on after :meth:`pause`, or for the first time (87, B23)."""
        self._check_active(group)
        group.paused = False
        await self._context.store.amend(group.uid, paused=False)
        for record in group.records:
            self._wait_turn(record)

    async def suspend(self) -> None:
        """Stop everything and keep every byte, for the next run to go on with."""
        if not self.suspended:
            self.suspended = True
            self._slots.open = False
            self._hold.end()
            self._context.store.hurry()
            for group in self.groups.values():
                self._suspend(group)
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_PATIENCE)
        self._ticker.stop()
        await self._guard(self._records.keep(self.groups.values()))
        for group in self.groups.values():
            tell_suspended(group)
            await self._guard(self._context.ledger.announced(group))

    def _stop_all(self) -> None:
        self._slots.open = False
        for record in self._records.active:
            if record.row.method == "GET":
                record.interrupt()
                self._ticker.report(record.group)

    def _go_on(self) -> None:
        self._slots.open = not self.suspended
        self._slots.pump()

    @staticmethod
    def _suspend(group: Group) -> None:
        group.suspended = True
        for record in group.records:
            record.interrupt()
            record.stop_digests()
            record.wake()
        if not group.ending:
            tell_suspended(group)

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
        if group.ending or group.paused or group.suspended:
            return
        if not self._records.wake_not_before(record):
            self._slots.put(record)

    def _start(self, record: LiveRecord) -> None:
        record.task = self._spawn(self._complete(record))

    async def _complete(self, record: LiveRecord) -> None:
        """Attempt it, and announce its end; then its slot is free.

        Slow hooks so slow the transfers down.
        """
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
        if (fatal or group.options.fail_fast) and self._claim_end(group, spare=record):
            end = self._end(group, group.first_failure, after=record)
            self._spawn(self._to_end(group, end))

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
        group.announced(record)
        record.request = None
        self._maybe_end(group)

    def _maybe_end(self, group: Group) -> None:
        if group.unannounced:
            return
        if not group.complete:
            self._idle()  # only an idle spider knows that no more will join
        elif self._claim_end(group):
            self._spawn(self._to_end(group, self._end(group, group.first_failure)))

    def _claim_end(self, group: Group, *, spare: LiveRecord | None = None) -> bool:
        """Be the one who ends the group: everything else of it stops now."""
        if group.ending or group.suspended:
            return False
        group.ending = True
        for record in group.records:
            if record is not spare:
                record.interrupt()
                record.stop_digests()
        return True

    async def _to_end(self, group: Group, end: Coroutine[Any, Any, None]) -> None:
        """Leave a group to the next run whose end met what is unforeseen."""
        try:
            await end
        except StoreError:
            raise
        except Exception:
            self.groups.pop(group.uid, None)
            self._idle()
            raise

    async def _end(
        self, group: Group, reason: FailureReason, after: LiveRecord | None = None
    ) -> None:
        """End a group that is claimed: settle it, then deliver its outcome."""
        try:
            if after is not None:
                await settled(after)
            await self._settle(group, reason)
        finally:
            release(group, group.freed)
        await self._finish(group, reason)

    async def _settle(self, group: Group, reason: FailureReason) -> None:
        """Keep the outcome; the id is free from here on (33, 34, 72)."""
        verdict = await self._context.ledger.settle(group, reason)
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
                self._context.bodies.uploads.discard(record.upload)
                record.settle(FailureReason.ABORTED, why_aborted(reason))
        group.failure_reason, group.result = reason, result_of(reason)
        assert group.delegate is not None
        group.delegate.updated()
        release(group, group.finished)
        for record in group.records:
            if not record.announced:
                await self._announce(record)
        await self._deliver(group)

    async def _deliver(self, group: Group) -> None:
        assert group.delegate is not None
        await self._ticker.reported(group)
        await self._context.ledger.announced(group)
        try:
            await group.delegate.settled()
        finally:
            group.records_available = False
        await self._context.store.delivered(group.uid)
        self.groups.pop(group.uid, None)
        self._context.space.settled(group.downloaded)
        if not self.groups:
            self._idle()

    @staticmethod
    def _check_active(group: Group) -> None:
        if group.ending:
            raise InvalidStateError(f"{group.row.id!r} has ended already.")

    def _check_pausable(self, group: Group) -> None:
        self._check_active(group)
        if any(r.row.method != "GET" for r in group.records):
            raise InvalidStateError(
                f"{group.row.id!r} cannot be paused: only a background fetch whose "
                "requests are all GET can."
            )

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
