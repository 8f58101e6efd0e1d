"""What a store of state promises, whatever it is built on.

The contract is made for more than one worker: a worker claims a record and gets
an attempt number; a statement that comes with an older number changes nothing
(it is answered with ``Verdict.STALE``). Bytes are written before the statement
that speaks of them. Each coroutine here is one transaction: when it returns, all
of it is kept; when it raises, none of it. A caller that is cancelled while it
waits does not take its statement back.

Always true: ``downloaded`` of a registration is the sum of ``stored`` of its
records; one that failed stores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from scrapy_bgfetch.model import (
    FailureReason,
    Head,
    RecordRow,
    RegistrationRow,
    Result,
    StrEnum,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Verdict(StrEnum):
    """What a store did with a statement about a record."""

    KEPT = "kept"
    STALE = "stale"  # an older attempt, or the record or its group has settled
    OVER_BUDGET = "over-budget"  # it would break download_total: nothing changed


class IdActive(Exception):  # noqa: N818
    """The id names an active background fetch of the scope (behaviour 16)."""


@frozen
class Mark:
    """A statement: record (uid, index) has ``stored`` bytes, says this attempt.

    ``stored`` is absolute. ``wire`` is the number of bytes that came over the
    network since the attempt's last statement.
    """

    uid: str
    index: int
    attempt: int
    stored: int
    wire: int = 0


@frozen
class Settlement:
    """A statement: this is how a record ended.

    ``stored`` is the length of the body when it succeeded. A record that failed
    stores nothing, whatever is said; the page that came with a bad status is not
    counted, its length is the ``size``. ``path`` is relative to the file store. A
    ``size``, ``head`` or ``path`` of None leaves what was kept before.
    """

    uid: str
    index: int
    attempt: int
    failure_reason: FailureReason
    stored: int
    wire: int = 0
    size: int | None = None
    head: Head | None = None
    path: str | None = None
    error: str = ""


class Store(Protocol):
    """Where registrations and records are kept. All coroutines may run at once.

    Any of them raises :class:`scrapy_bgfetch.exceptions.StoreError` when the state
    cannot be read or written, or is not open.
    """

    async def open(self) -> None:
        """Open or create the state. Nothing happens when it is open already.

        :raises scrapy_bgfetch.exceptions.StoreError: it cannot be used; the
            message says why and what to do.
        """

    async def close(self) -> None:
        """Finish what is under way and release everything. May be called twice."""

    async def register(
        self, registration: RegistrationRow, records: Sequence[RecordRow]
    ) -> None:
        """Keep a new background fetch with its records, as they are given.

        :raises IdActive: another one of that id is active in the scope.
        :raises ValueError: a record is not of this registration.
        """

    async def append(self, record: RecordRow) -> Verdict:
        """Add a record to an active registration (STALE when it has settled)."""

    async def amend(self, uid: str, **changes: Any) -> None:
        """Change columns of an active registration.

        Takes ``title icons download_total expected paused options uploaded``.
        A registration that has settled stays as it is, but for title and icons,
        which may change until its event was handled (85).

        :raises ValueError: another column is named; nothing was changed.
        """

    async def claim(self, uid: str, index: int) -> int | None:
        """Begin an attempt: the record is active, its new attempt number returned.

        Whoever held an older attempt has lost it. None when the record or its
        registration has settled.
        """

    async def release(self, uid: str, index: int, attempt: int) -> Verdict:
        """End an attempt without an outcome: the record is pending again."""

    async def keep_head(
        self,
        uid: str,
        index: int,
        attempt: int,
        head: Head,
        *,
        size: int | None,
        encoded: bool,
    ) -> Verdict:
        """Keep the head of the response that the record's bytes belong to."""

    async def checkpoint(self, marks: Sequence[Mark]) -> list[Verdict]:
        """Set absolute offsets, one verdict for each mark, all in one transaction.

        Only the attempt that is under way may mark. The marks are judged one
        after another. The difference is added to the registration's
        ``downloaded``, which falls when the offset falls (behaviour 49); a mark
        that adds bytes and would take it strictly over ``download_total`` (when
        that is not 0) is refused (behaviour 50).
        """

    async def settle_records(self, ends: Sequence[Settlement]) -> list[Verdict]:
        """Settle records, one verdict for each, all in one transaction.

        A record settles once, by its last attempt: 0 when it was never claimed.
        ``stored`` of a success is held against the budget like a mark.
        """

    async def announced(self, uid: str, *indexes: int) -> None:
        """The hooks of settled records have ended: never call them again.

        Nothing happens to a record that has not settled.
        """

    async def settle(
        self, uid: str, result: Result, reason: FailureReason, at: float
    ) -> Verdict:
        """Settle a registration, once: its id is free from here on (28, 72).

        Records that have not settled become settled as aborted in the same
        transaction, with nothing stored; the others keep their result (57). STALE
        when it has settled before: the first result stays.

        :raises ValueError: the result is the empty one.
        """

    async def delivered(self, uid: str) -> None:
        """The terminal event was handled: never send it again.

        Nothing happens when the registration has not settled.
        """

    async def get(self, uid: str) -> RegistrationRow | None:
        """Return one registration, active or not."""

    async def records(self, uid: str) -> list[RecordRow]:
        """Return the records of a registration in their order (by number)."""

    async def undelivered(self, scope: str) -> list[RegistrationRow]:
        """Return what a new run takes up: all that is active or not delivered.

        The oldest first.
        """

    async def unannounced(self) -> list[tuple[str, int]]:
        """Return (uid, index) of all records, of any scope, that may have a part.

        Those are the records of registrations that are not delivered whose own
        hooks have not ended.
        """

    async def history(self, scope: str, limit: int = 100) -> list[RegistrationRow]:
        """Return settled registrations of the scope, the last settled first."""

    async def stored_bytes(self) -> int:
        """Return ``downloaded`` of all registrations together, settled ones too."""
