"""Complete a record: attempts, one after another, until it has ended."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from attrs import evolve

from scrapy_bgfetch.model import FailureReason, RecordState
from scrapy_bgfetch.perform.attempt import Attempt
from scrapy_bgfetch.perform.outcome import Again, Failed, Outcome, disk_failure
from scrapy_bgfetch.perform.requests import head_to_keep
from scrapy_bgfetch.rules.backoff import delay, parse_retry_after
from scrapy_bgfetch.rules.file_names import file_name
from scrapy_bgfetch.rules.resume import Restart, RetryLater
from scrapy_bgfetch.store.base import Mark, Settlement, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.rules.backoff import Budgets

logger = logging.getLogger(__name__)

_RENEWABLE = {401, 403, 404, 410}


class Records:
    """Completes records, one attempt at a time.

    :param failed: called at once with a record whose outcome is a failure,
        before it is kept.
    :param waiting: called with a record that may go on now.
    """

    def __init__(
        self,
        context: Context,
        *,
        failed: Callable[[LiveRecord, FailureReason], None],
        waiting: Callable[[LiveRecord], None],
    ) -> None:
        self._context = context
        self._failed = failed
        self._waiting = waiting
        self._budgets = context.budgets
        self.active: set[LiveRecord] = set()

    async def attempt(self, record: LiveRecord) -> bool:
        """Make one attempt and act on its outcome; return whether it has ended."""
        number = await self._context.store.claim(record.row.uid, record.index)
        if number is None:
            record.settle(FailureReason.ABORTED, "The state has it as ended.")
            return True
        record.attempt, record.state = number, RecordState.ACTIVE
        before = record.stored
        self.active.add(record)
        try:
            outcome = await self._outcome(record, number)
        finally:
            self.active.discard(record)
        if record.group.ending:
            return False
        return await self._conclude(record, outcome, progress=record.stored > before)

    async def give_up(self, record: LiveRecord, error: Exception) -> bool:
        """Let a record fail with an error that nobody foresaw."""
        why = f"{type(error).__name__}: {error}"
        return await self._fail(record, Failed(FailureReason.FETCH_ERROR, why))

    async def checkpoint(self) -> None:
        """Record how far the active records have come, all in one transaction."""
        records = [r for r in self.active if r.stored != r.marked]
        await self.mark(records)

    async def mark(self, records: list[LiveRecord]) -> None:
        """Record how far these records have come."""
        if not records:
            return
        await asyncio.gather(*(self._keep_head(r) for r in records if not r.head_kept))
        verdicts = await self._context.store.checkpoint([_mark(r) for r in records])
        for record, verdict in zip(records, verdicts, strict=True):
            if verdict is Verdict.OVER_BUDGET:
                record.over_budget = True
                record.interrupt()

    async def _keep_head(self, record: LiveRecord) -> None:
        """Write the head that the bytes belong to, no later than their number."""
        record.head_kept = True
        if record.head is None:
            return
        credentials = self._context.settings.store_credentials
        await self._context.store.keep_head(
            record.row.uid,
            record.index,
            record.attempt,
            head_to_keep(record.head, credentials=credentials),
            size=record.size,
            encoded=record.encoded,
        )

    async def _outcome(self, record: LiveRecord, number: int) -> Outcome | None:
        """Return what came of an attempt, None when it was interrupted."""
        attempt = Attempt(self._context, record, number)
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
        if isinstance(outcome, Failed):
            if await self._refreshed(record, outcome):
                again = Again(RetryLater(outcome.why, "0"), outcome)
                return await self._again(record, again, progress=progress)
            return await self._fail(record, outcome)
        return await self._succeed(record)

    async def _refreshed(self, record: LiveRecord, failed: Failed) -> bool:
        """Let plug-ins renew a request that was refused; the bytes are kept."""
        status = failed.head.status if failed.head is not None else None
        if status not in _RENEWABLE or record.row.method != "GET":
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

    async def _again(self, record: LiveRecord, again: Again, *, progress: bool) -> bool:
        budgets = record.budgets or self._budgets
        if progress:
            budgets = budgets.progressed(self._budgets)
        restart = isinstance(again.decision, Restart)
        left = budgets.spend_restart() if restart else budgets.spend_resumption()
        if record.row.method != "GET":
            return await self._fail(record, again.last)
        if left is None:
            setting = "BGFETCH_RESTARTS" if restart else "BGFETCH_RESUMPTIONS"
            advice = f"No try is left: start again later, or raise {setting}."
            last = evolve(again.last, why=f"{again.last.why} {advice}")
            return await self._fail(record, last)
        record.budgets = left
        if restart:
            self._drop(record)
        await self._release(record)
        wait = self._wait(again.decision, left)
        logger.info("%s is tried again in %.1f s: %s", record.url, wait, again.last.why)
        loop = asyncio.get_running_loop()
        record.timer = loop.call_later(wait, self._timed, record)
        return False

    def _timed(self, record: LiveRecord) -> None:
        record.timer = None
        self._waiting(record)

    def _wait(self, decision: RetryLater | Restart, left: Budgets) -> float:
        if isinstance(decision, Restart):
            return 0.0
        settings, cap = self._context.settings, self._context.settings.retry_max_delay
        asked = parse_retry_after(decision.after, now=time.time(), cap=cap)
        if asked is not None:
            return asked
        retry = max(self._budgets.resumptions - left.resumptions, 1)
        jitter = random.random()  # noqa: S311
        return delay(retry, base=settings.retry_delay, cap=cap, jitter=jitter)

    async def _release(self, record: LiveRecord) -> None:
        await self.mark([record])
        store = self._context.store
        await store.release(record.row.uid, record.index, record.attempt)
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
        name = await record.group.delegate.file_name(record)
        try:
            path = self._make_room(record, name)
        except OSError as error:
            return await self._fail(record, disk_failure(error))
        verdict = await self._keep(record, FailureReason.NONE, path=path)
        if verdict is Verdict.OVER_BUDGET:
            return await self._fail(record, _OVER_BUDGET)
        return self._end(record, FailureReason.NONE, verdict, path=path)

    async def _fail(self, record: LiveRecord, failed: Failed) -> bool:
        self._failed(record, failed.reason)
        self._drop(record)
        path = None
        if failed.reason is FailureReason.BAD_STATUS:
            path = self._keep_error_body(record, failed.head, failed.body)
        verdict = await self._keep(record, failed.reason, path=path, why=failed.why)
        return self._end(record, failed.reason, verdict, path=path, why=failed.why)

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
        record.settle(reason, why)
        return True

    def _keep_error_body(
        self, record: LiveRecord, head: Head | None, body: bytes
    ) -> str | None:
        """Write the page that came with a bad status; it is exposed too (83).

        None when there is none, or when it cannot be written: the status counts.
        """
        record.head, record.size = head, len(body)
        if head is None or not body:
            return None
        try:
            part = self._context.bodies.open_part(record.part, 0)
            try:
                part.write(body)
            finally:
                part.close()
            name = f"{file_name(record.url, head)}.{head.status}"
            return self._make_room(record, name)
        except OSError as error:
            logger.warning("The error page of %s is not kept: %s", record.url, error)
            self._context.bodies.discard(record.part)
            record.size = 0
            return None

    async def _keep(
        self,
        record: LiveRecord,
        reason: FailureReason,
        *,
        path: str | None,
        why: str = "",
    ) -> Verdict:
        """Write the end of a record to the store."""
        credentials = self._context.settings.store_credentials
        head = record.head and head_to_keep(record.head, credentials=credentials)
        end = Settlement(
            uid=record.row.uid,
            index=record.index,
            attempt=record.attempt,
            failure_reason=reason,
            stored=record.stored,
            wire=record.wire - record.marked_wire,
            size=record.size,
            head=head,
            path=path,
            error=why,
        )
        return (await self._context.store.settle_records([end]))[0]

    def _make_room(self, record: LiveRecord, name: str) -> str:
        """Return the path that the file will have; its folder is there.

        :raises OSError: the folder cannot be made.
        """
        group = record.group
        path = group.reserve(f"{group.folder}/{name}")
        self._context.bodies.make_folder(path)
        return path

    def _drop(self, record: LiveRecord) -> None:
        """Forget the bytes that came so far, and the head they belong to."""
        record.drop_bytes()
        record.head, record.size, record.encoded = None, None, False
        self._context.bodies.discard(record.part)


_OVER_BUDGET = Failed(
    FailureReason.DOWNLOAD_TOTAL_EXCEEDED,
    "The state says that these bytes are over the download_total.",
)


def _mark(record: LiveRecord) -> Mark:
    wire = record.wire - record.marked_wire
    record.marked, record.marked_wire = record.stored, record.wire
    return Mark(record.row.uid, record.index, record.attempt, record.stored, wire)
