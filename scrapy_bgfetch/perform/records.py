"""Complete a record: attempts, one after another, until it has ended."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from attrs import evolve

from scrapy_bgfetch.exceptions import NotAllowedError
from scrapy_bgfetch.model import AttemptOutcome, FailureReason, RecordState
from scrapy_bgfetch.perform.attempt import Attempt
from scrapy_bgfetch.perform.attempt_log import begin
from scrapy_bgfetch.perform.intake import watch_digests
from scrapy_bgfetch.perform.outcome import (
    Again,
    Failed,
    Full,
    NotModified,
    Outcome,
    Unconfirmed,
    asked_to_wait,
    quota_exceeded,
    refused,
)
from scrapy_bgfetch.perform.publishing import (
    drop,
    keep_error_body,
    make_room,
    worth_keeping,
)
from scrapy_bgfetch.perform.revalidation import accept, disown
from scrapy_bgfetch.perform.space import LEAST
from scrapy_bgfetch.rules.backoff import delay
from scrapy_bgfetch.rules.resume import Restart, RetryLater
from scrapy_bgfetch.store.base import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import Group, LiveRecord
    from scrapy_bgfetch.rules.backoff import Budgets

logger = logging.getLogger(__name__)

_FULL_RETRY = 2.0  # seconds until a record looks again whether it fits
_RENEWABLE = {401, 403, 404, 410}


class Records:
    """Completes records, one attempt at a time.

    :param failed: called at once with a record whose outcome is a failure,
        before it is kept.
    :param waiting: called with a record that may go on now.
    :param full: called when there is no room for a record and BGFETCH_ON_FULL is
        ``pause``.
    :param vacate: called with a record whose body is complete, before it is flushed
        to the disk (BGFETCH_DURABILITY ``power``).
    :ivar left: the background fetches of records that were active since somebody
        last looked: their numbers may be new.
    """

    def __init__(
        self,
        context: Context,
        *,
        failed: Callable[[LiveRecord, FailureReason], None],
        waiting: Callable[[LiveRecord], None],
        full: Callable[[Full], None],
        vacate: Callable[[LiveRecord], None],
    ) -> None:
        self._context = context
        self._ledger = context.ledger
        self._failed = failed
        self._waiting = waiting
        self._full = full
        self._vacate = vacate
        self._budgets = context.budgets
        self.active: set[LiveRecord] = set()
        self.left: set[Group] = set()

    async def attempt(self, record: LiveRecord) -> bool:
        """Make one attempt and act on its outcome; return whether it has ended.

        A request that may be sent again does not wait until its attempt is claimed.
        """
        if record.cut_off:
            return await self._fail(record, _CUT_OFF)
        number, before = record.attempt + 1, record.stored
        claim = self._ledger.claim(record, number)
        if not record.repeatable and not await claim:
            return False
        record.attempt, record.state = number, RecordState.ACTIVE
        self.active.add(record)  # until it is written down what came of it
        try:
            outcome = await self._outcome(record, number)
            if not await claim or record.group.ending:
                return False
            return await self._conclude(
                record, outcome, progress=_progressed(record, before)
            )
        finally:
            self.active.discard(record)
            self.left.add(record.group)

    async def give_up(self, record: LiveRecord, error: Exception) -> bool:
        """Let a record fail with an error that nobody foresaw."""
        why = f"{type(error).__name__}: {error}"
        return await self._fail(record, Failed(FailureReason.FETCH_ERROR, why))

    async def checkpoint(self) -> None:
        """Record how far the active records have come, all in one transaction."""
        await self._ledger.mark([record for record in self.active if _unmarked(record)])

    async def keep(self, groups: Iterable[Group]) -> None:
        """Record how far those came that were stopped before it was written down."""
        records = [record for group in groups for record in group.records]
        await self._ledger.mark(
            [r for r in records if r.state is RecordState.ACTIVE and _unmarked(r)]
        )

    async def _outcome(self, record: LiveRecord, number: int) -> Outcome | None:
        """Return what came of an attempt, None when it was interrupted."""
        attempt = Attempt(self._context, record, number, begin(record, number))
        task = asyncio.ensure_future(attempt.run())
        record.attempt_task = task
        group = record.group
        if group.ending or group.paused or group.suspended:
            task.cancel()
        await asyncio.wait({task})
        record.attempt_task = None
        if record.over_budget:
            return _OVER_BUDGET
        if task.cancelled():
            return None
        error = task.exception()
        if error is None:
            return task.result()
        logger.error(
            "The attempt at %s failed unexpectedly.", record.url, exc_info=error
        )
        why = f"{type(error).__name__}: {error}"
        return Failed(FailureReason.FETCH_ERROR, why)

    async def _conclude(
        self, record: LiveRecord, outcome: Outcome | None, *, progress: bool
    ) -> bool:
        if outcome is None:
            await self._release(record)
            return False
        if isinstance(outcome, Again):
            return await self._again(record, outcome, progress=progress)
        if isinstance(outcome, Full):
            return await self._no_room(record, outcome, progress=progress)
        if isinstance(outcome, Failed):
            return await self._renew(record, outcome, progress=progress)
        if isinstance(outcome, (NotModified, Unconfirmed)):
            return await self._confirm(record, outcome)
        return await self._succeed(record)

    async def _confirm(
        self, record: LiveRecord, outcome: NotModified | Unconfirmed
    ) -> bool:
        """Let a record succeed with an earlier file, or ask for its own one now."""
        if not await accept(self._context, record, outcome):
            await self._release(record)
            return False
        verdict = await self._ledger.end(record, FailureReason.NONE, path=record.path)
        if verdict is not Verdict.KEPT:
            disown(record)
        return self._end(record, FailureReason.NONE, verdict, path=None)

    async def _no_room(self, record: LiveRecord, full: Full, *, progress: bool) -> bool:
        """Go on at once if there is room after all, otherwise pause or fail."""
        room = await self._context.space.room_for(full.need)
        if room.left >= full.need:
            again = Again(RetryLater(full.why), quota_exceeded(full, room))
            return await self._again(record, again, progress=progress)
        pauses = self._context.settings.on_full == "pause"
        if not pauses or full.need > room.most or not record.repeatable:
            return await self._fail(record, quota_exceeded(full, room))
        await self._release(record, AttemptOutcome.NO_ROOM, full.why)
        if room.left < LEAST:
            self._full(full)
        else:  # the others have room
            logger.info("%s waits for room: %s: %s", record.url, full.why, room)
            self._wake_later(record, _FULL_RETRY)
        return False

    async def _renew(
        self, record: LiveRecord, failed: Failed, *, progress: bool
    ) -> bool:
        if await self._refreshed(record, failed):
            again = Again(RetryLater(failed.why), failed)
            return await self._again(record, again, progress=progress, wait=0.0)
        return await self._fail(record, failed)

    async def _refreshed(self, record: LiveRecord, failed: Failed) -> bool:
        """Let plug-ins renew a request that was refused; the bytes are kept."""
        status = failed.head.status if failed.head is not None else None
        if status not in _RENEWABLE or not record.repeatable:
            return False
        assert record.request is not None
        assert record.group.delegate is not None
        new = await record.group.delegate.refresh_request(record, failed.why)
        if new is not None:
            meta = {**record.request.meta, **new.meta}
            record.request = record.request.replace(
                url=new.url, headers=new.headers, cookies=new.cookies, meta=meta
            )
        return new is not None

    async def _again(
        self,
        record: LiveRecord,
        again: Again,
        *,
        progress: bool,
        wait: float | None = None,
    ) -> bool:
        """Let a record wait and go on, as long as its budgets last."""
        budgets = record.budgets or self._budgets
        if progress:
            budgets = budgets.progressed(self._budgets)
        restart = isinstance(again.decision, Restart)
        left = budgets.spend_restart() if restart else budgets.spend_resumption()
        if not record.repeatable:
            return await self._fail(record, again.last)
        if left is None:
            setting = "BGFETCH_RESTARTS" if restart else "BGFETCH_RESUMPTIONS"
            advice = f"No try is left: start again later, or raise {setting}."
            why = f"{again.last.why} {advice}"
            last = evolve(again.last, why=why, keeps=not restart)
            return await self._fail(record, last)
        record.budgets = left
        if restart:
            drop(self._context, record)
        outcome = AttemptOutcome.RESTART if restart else AttemptOutcome.RETRY
        await self._release(record, outcome, again.last.why)
        if wait is None:
            wait = self._wait(record, again, left)
        logger.info("%s is tried again in %.1f s: %s", record.url, wait, again.last.why)
        self._wake_later(record, wait)
        return False

    def wake_not_before(self, record: LiveRecord) -> bool:
        """Let a record wait on that its server has asked to; return whether it does."""
        left = record.not_before - time.monotonic()
        if left > 0:
            self._wake_later(record, left)
        return left > 0

    def _wake_later(self, record: LiveRecord, wait: float) -> None:
        loop = asyncio.get_running_loop()
        record.timer = loop.call_later(wait, self._timed, record)

    def _timed(self, record: LiveRecord) -> None:
        record.timer = None
        self._waiting(record)

    def _wait(self, record: LiveRecord, again: Again, left: Budgets) -> float:
        """Return how long to wait: as the server asks, but never less than without.

        One that asks for no time at all would have all tries at once.
        """
        if isinstance(again.decision, Restart):
            return 0.0
        settings, cap = self._context.settings, self._context.settings.retry_max_delay
        retry = max(self._budgets.resumptions - left.resumptions, 1)
        jitter = random.random()  # noqa: S311
        wait = delay(retry, base=settings.retry_delay, cap=cap, jitter=jitter)
        asked = asked_to_wait(again.decision, again.last.head, cap=cap)
        if asked is None:
            return wait
        record.not_before = time.monotonic() + max(asked, wait)
        return max(asked, wait)

    async def _release(
        self,
        record: LiveRecord,
        outcome: AttemptOutcome = AttemptOutcome.INTERRUPTED,
        why: str = "",
    ) -> None:
        """Let it be taken up again, unless it must not be repeated (219)."""
        if record.log is not None:
            record.log.comes_to(outcome, why)
        if record.begun and not record.repeatable:
            await self._ledger.mark([record])
            return
        await self._ledger.release(record)
        record.state = RecordState.PENDING

    async def _succeed(self, record: LiveRecord) -> bool:
        have = self._context.bodies.part_length(record.part)
        if have != record.stored:
            why = f"the part file of {record.url} has {have} of {record.stored} bytes."
            failed = Failed(FailureReason.FETCH_ERROR, why)
            again = Again(Restart(why), failed)
            return await self._again(record, again, progress=False)
        assert record.group.delegate is not None
        record.size = record.stored
        try:
            await self._verify(record)
            name = await record.group.delegate.file_name(record)
            path = make_room(self._context, record, name)
            if self._ledger.flushes:
                self._vacate(record)
            verdict = await self._ledger.end(record, FailureReason.NONE, path=path)
        except (OSError, NotAllowedError) as error:
            if record.group.ending or record.group.suspended:
                await self._release(record)
                return False
            return await self._conclude(record, refused(error), progress=False)
        if verdict is Verdict.OVER_BUDGET:
            return await self._fail(record, _OVER_BUDGET)
        return self._end(record, FailureReason.NONE, verdict, path=path)

    async def _verify(self, record: LiveRecord) -> None:
        """Let its digests be there, and the plug-ins look at the complete body.

        :raises NotAllowedError: one refused it.
        :raises OSError: it cannot be read.
        """
        assert record.group.delegate is not None
        digests = watch_digests(self._context, record)
        if digests is not None:
            record.checksums = await digests.finish(record.stored)
        await record.group.delegate.body_complete(record)

    async def _fail(self, record: LiveRecord, failed: Failed) -> bool:
        self._failed(record, failed.reason)
        if not worth_keeping(record, failed):
            drop(self._context, record)
        elif not record.stored:  # an empty file is nothing to go on with
            self._context.bodies.discard(record.part)
        path = None
        if failed.reason is FailureReason.BAD_STATUS:
            path = keep_error_body(self._context, record, failed.head, failed.body)
        why = failed.why
        if record.stored:
            why += f" {record.stored} bytes are kept for the next fetch of its id."
        verdict = await self._end_failed(record, failed.reason, path=path, why=why)
        return self._end(record, failed.reason, verdict, path=path, why=why)

    async def _end_failed(
        self, record: LiveRecord, reason: FailureReason, *, path: str | None, why: str
    ) -> Verdict:
        try:
            verdict = await self._ledger.end(record, reason, path=path, why=why)
        except OSError:  # what cannot be flushed cannot be kept
            verdict = Verdict.OVER_BUDGET
        if verdict is Verdict.OVER_BUDGET:
            drop(self._context, record)
            verdict = await self._ledger.end(record, reason, path=None, why=why)
        return verdict

    def _end(
        self,
        record: LiveRecord,
        reason: FailureReason,
        verdict: Verdict,
        *,
        path: str | None,
        why: str = "",
    ) -> bool:
        """Let the record end as it was kept; False when that came too late."""
        if verdict is not Verdict.KEPT:
            return False
        if path is not None:
            self._context.bodies.publish(record.part, path)
            record.path = path
        self._context.bodies.uploads.discard(record.upload)
        record.settle(reason, why)
        return True


def _unmarked(record: LiveRecord) -> bool:
    return (record.stored, record.uploaded) != (record.marked, record.marked_upload)


def _progressed(record: LiveRecord, before: int) -> bool:
    """Whether an attempt has come further: one that begins anew never has."""
    return record.row.method == "GET" and record.stored > before


_CUT_OFF = Failed(
    FailureReason.FETCH_ERROR,
    "The spider stopped while it was under way, and the server may have got it: it is "
    "not sent again. Fetch it again, or with retry_uploads=True.",
)
_OVER_BUDGET = Failed(
    FailureReason.DOWNLOAD_TOTAL_EXCEEDED,
    "The state says that these bytes are over the download_total.",
)
