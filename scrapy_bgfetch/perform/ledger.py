"""What the state is told about records: bytes first, then what speaks of them."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import AttemptOutcome
from scrapy_bgfetch.perform.attempt_log import row_of, rows_of
from scrapy_bgfetch.perform.flushing import Flusher
from scrapy_bgfetch.perform.requests import head_to_keep
from scrapy_bgfetch.rules.reasons import result_of
from scrapy_bgfetch.store.base import Mark, Settlement, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.model import FailureReason
    from scrapy_bgfetch.perform.live import Group, LiveRecord
    from scrapy_bgfetch.settings import Settings
    from scrapy_bgfetch.store.base import Store


class Ledger:
    """Writes down how far records have come, and how they ended.

    With BGFETCH_DURABILITY ``power`` the bytes are flushed to the disk before the
    state speaks of them; many files in one go.

    :ivar flushes: whether they are.
    """

    def __init__(self, store: Store, bodies: LocalBodies, settings: Settings) -> None:
        self._store = store
        self._bodies = bodies
        self._credentials = settings.store_credentials
        self.flushes = bodies.durable = settings.durability == "power"
        bodies.uploads.durable = self.flushes
        self._flusher = Flusher(bodies)
        self._marking = asyncio.Lock()  # an older mark never follows a newer one
        self._in_mark: frozenset[LiveRecord] = frozenset()
        self._ending: set[LiveRecord] = set()

    def claim(self, record: LiveRecord, number: int) -> asyncio.Task[bool]:
        """Write down that an attempt of this number begins.

        What is written down of it from the loop's next turn on follows this, also when
        nobody waits for it. The result is False when its background fetch is ending;
        then, and when the claim fails, the attempt is interrupted. It raises
        StoreError, also when somebody else has begun or ended the record.
        """
        record.claim = claim = asyncio.ensure_future(self._claim(record, number))
        claim.add_done_callback(partial(_claim_is_over, record))
        return claim

    async def _claim(self, record: LiveRecord, number: int) -> bool:
        claimed = await self._store.claim(record.row.uid, record.index)
        if claimed is None and record.group.ending:
            return False
        if claimed != number:
            raise StoreError(
                f"{record.url} was begun or ended in the state by somebody else."
            )
        return True

    async def mark(self, records: Sequence[LiveRecord]) -> None:
        """Record how far these active records have come, in one transaction.

        Those whose end is being written down are left out: it says all of it.

        :raises StoreError: the bytes cannot be flushed, or the state not written.
        """
        records = [record for record in records if record not in self._ending]
        if not records:
            return
        async with self._marking:
            self._in_mark = frozenset(records)
            try:
                verdicts = await self._write(records)
            finally:
                self._in_mark = frozenset()
        for record, verdict in zip(records, verdicts, strict=True):
            if verdict is Verdict.OVER_BUDGET:
                record.over_budget = True
                record.interrupt()

    async def _write(self, records: Sequence[LiveRecord]) -> Sequence[Verdict]:
        await asyncio.gather(*(self._keep_head(r) for r in records if not r.head_kept))
        marks = [_mark(record) for record in records]
        await self._flush_parts(records)
        return await self._store.checkpoint(marks)

    async def forget_bytes(self, record: LiveRecord) -> None:
        """Let the state forget a record's bytes before new ones can follow them.

        Where it knows of none there is nothing to wait for: a flush takes its time.
        """
        self._flusher.forget(record.part)
        if not record.marked and record not in self._in_mark:
            return
        if record.claim is not None:
            await asyncio.shield(record.claim)  # without it the state forgets nothing
        async with self._marking:
            if record.marked:
                record.marked = 0
                mark = Mark(record.row.uid, record.index, record.attempt, stored=0)
                await self._store.checkpoint([mark])

    async def release(self, record: LiveRecord) -> None:
        """Write down that an attempt has ended, and how, without the record's end."""
        await self.mark([record])
        await self._store.release(
            record.row.uid, record.index, record.attempt, row_of(record)
        )
        record.log = None

    async def keep_uploads(self, group: Group) -> None:
        """Record what was sent by records that will not end by themselves (200)."""
        if not any(r.uploaded or r in self._in_mark for r in group.records):
            return
        async with self._marking:
            marks = [
                _upload_mark(record)
                for record in group.records
                if record.uploaded != record.marked_upload and not record.settled
            ]
            if marks:
                await self._store.checkpoint(marks)

    async def end(
        self,
        record: LiveRecord,
        reason: FailureReason,
        *,
        path: str | None,
        why: str = "",
    ) -> Verdict:
        """Write down the end of a record.

        :raises OSError: its bytes cannot be flushed to the disk.
        """
        self._ending.add(record)
        try:
            verdict = await self._end(record, reason, path, why)
        finally:
            self._ending.discard(record)
        if verdict is Verdict.KEPT:
            record.log = None
        return verdict

    async def _end(
        self, record: LiveRecord, reason: FailureReason, path: str | None, why: str
    ) -> Verdict:
        own = path is not None and not record.not_modified
        if self.flushes and (own or record.stored):
            await self._flusher.flush(record.part)
        if record.log is not None:
            failed = AttemptOutcome.FAILED if reason else AttemptOutcome.COMPLETE
            record.log.comes_to(failed, why)
        end = Settlement(
            uid=record.row.uid,
            index=record.index,
            attempt=record.attempt,
            failure_reason=reason,
            stored=record.stored,
            wire=record.wire,
            size=record.size,
            head=record.head
            and head_to_keep(record.head, credentials=self._credentials),
            path=path,
            error=why,
            encoded=record.encoded,
            checksums=record.checksums,
            log=row_of(record),
            uploaded=record.uploaded,
            not_modified=record.not_modified,
            segments=record.stretches,
        )
        (verdict,) = await self._store.settle_records([end])
        return verdict

    async def announced(self, group: Group) -> None:
        """Write down which of its records were announced, many at a time.

        :raises StoreError: the names of their files cannot be flushed, or the state
            not written; then they are announced again after a restart.
        """
        indexes = await self._announced(group)
        if indexes:
            await self._store.announced(group.uid, *indexes)

    async def settle(self, group: Group, reason: FailureReason) -> Verdict:
        """Write down the end of a background fetch, and what was announced of it.

        :raises StoreError: as :meth:`announced`.
        """
        await self.keep_uploads(group)
        announced = await self._announced(group)
        group.settled_at = time.time()
        return await self._store.settle(
            *(group.uid, result_of(reason), reason, group.settled_at),
            logs=rows_of(group.records),
            announced=announced,
        )

    async def _announced(self, group: Group) -> Sequence[int]:
        """Return which of its records can be written down as announced."""
        if self.flushes:
            return await self._flush_renames(group)
        indexes, group.to_announce = group.to_announce, None
        return indexes or ()

    async def _flush_parts(self, records: Sequence[LiveRecord]) -> None:
        if not self.flushes:
            return
        names = [record.part for record in records if record.stored]
        try:
            await asyncio.gather(*map(self._flusher.flush, names))
        except OSError as error:
            raise _not_flushed("part files", error) from error

    async def _flush_renames(self, group: Group) -> Sequence[int]:
        """Flush the names of announced files; return whose they are.

        Those that somebody else has flushed meanwhile are not among them.
        """
        flushing = set(group.to_announce or ())
        paths = [r.path for r in group.records if r.path and r.index in flushing]
        try:
            if paths:
                await self._flusher.flush_renames(paths)
        except OSError as error:
            raise _not_flushed("names of the files", error) from error
        noted = group.to_announce or ()
        group.to_announce = [index for index in noted if index not in flushing] or None
        return [index for index in noted if index in flushing]

    async def _keep_head(self, record: LiveRecord) -> None:
        """Write the head that the bytes belong to, no later than their number."""
        record.head_kept = True
        if record.head is not None:
            await self._store.keep_head(
                record.row.uid,
                record.index,
                record.attempt,
                head_to_keep(record.head, credentials=self._credentials),
                size=record.size,
                encoded=record.encoded,
            )


def _claim_is_over(record: LiveRecord, claim: asyncio.Task[bool]) -> None:
    """Stop an attempt whose claim failed or came too late; keep none that holds."""
    if claim.cancelled():
        return
    if claim.exception() is None and claim.result():
        record.claim = None
    else:
        record.interrupt()


def _mark(record: LiveRecord) -> Mark:
    record.marked, record.marked_upload = record.stored, record.uploaded
    return Mark(
        *(record.row.uid, record.index, record.attempt, record.stored, record.wire),
        uploaded=record.uploaded,
        segments=record.stretches,
    )


def _upload_mark(record: LiveRecord) -> Mark:
    record.marked_upload = record.uploaded
    return Mark(
        *(record.row.uid, record.index, record.attempt, record.marked),
        uploaded=record.uploaded,
    )


def _not_flushed(what: str, error: OSError) -> StoreError:
    return StoreError(
        f"the {what} cannot be flushed to the disk: {error}. Check the disk; what the "
        "state speaks of is safe."
    )
