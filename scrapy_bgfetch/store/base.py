"""What a store of state promises, whatever it is built on.

The contract is made for more than one worker: a worker claims a record and gets
an attempt number; a statement that comes with an older number changes nothing
(it is answered with ``Verdict.STALE``). Bytes are written before the statement
that speaks of them. Each coroutine here is one transaction: when it returns, all
of it is kept; when it raises, none of it. The statements about one record (claim,
keep_head, checkpoint, release, settle_records) take effect in the order in which their
coroutines began, also when nobody has waited for the earlier one. A caller that is
cancelled while it waits does not take its statement back.

Always true: ``downloaded`` of a registration is the sum of ``stored`` of its
records; its ``uploaded`` grows as theirs grow. What a failed record stores is in its
part file, for a later background fetch of the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, frozen

from scrapy_bgfetch.model import (
    AttemptRow,
    FailureReason,
    Head,
    RecordRow,
    RegistrationRow,
    Result,
    StrEnum,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


ATTEMPTS_KEPT = 100
"""How many attempts at one record are kept: those with the highest numbers."""


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

    ``stored`` is absolute. ``wire`` is the number of bytes that came over the network
    in all attempts, ``uploaded`` the number of bytes of the request's body that were
    sent: they never fall, a smaller number says nothing.
    ``segments`` says where they are, as in RecordRow.
    """

    uid: str
    index: int
    attempt: int
    stored: int
    wire: int = 0
    uploaded: int = 0
    segments: tuple[tuple[int, int], ...] = ()


@frozen
class Settlement:
    """A statement: this is how a record ended.

    ``stored`` is taken as it is said: the length of the body when it succeeded;
    when it failed the number of bytes that stay in its part file for a later
    background fetch of the same id, 0 for none. The page that came with a bad
    status is not counted, its length is the ``size``. ``path`` is relative to the
    file store. A ``size``, ``head`` or ``path`` of None leaves what was kept
    before. ``checksums`` are the digests of the settled file: lower-case hex by
    the algorithm's name. ``log`` is what the attempt came to, kept with its end.
    ``wire``, ``uploaded`` and ``segments`` are those of :class:`Mark`.
    ``not_modified`` says that ``path`` is the file of an earlier background fetch.
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
    encoded: bool | None = None
    checksums: Mapping[str, str] = field(factory=dict)
    log: AttemptRow | None = None
    uploaded: int = 0
    not_modified: bool = False
    segments: tuple[tuple[int, int], ...] = ()


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

    def hurry(self) -> None:
        """Wait for room on a full disk no longer: what does not fit now fails."""

    async def close(self) -> None:
        """Finish what is under way and release everything. May be called twice."""

    async def register(
        self,
        registration: RegistrationRow,
        records: Sequence[RecordRow],
        adopted: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Keep a new background fetch with its records, as they are given.

        The records may come with bytes (``stored``, ``segments``, ``size``, ``head``,
        ``encoded``) taken over from failed ones, the ``adopted`` (uid, index): in
        the same transaction those drop to ``stored`` = 0. Nothing happens to an
        adopted record that has not failed or is not there.

        :raises IdActive: another one of that id is active in the scope.
        :raises ValueError: a record is not of this registration, or its
            ``downloaded`` is not the sum of their ``stored``.
        """

    async def extend(
        self,
        uid: str,
        records: Sequence[RecordRow],
        adopted: Sequence[tuple[str, int]] = (),
        *,
        grows: bool = True,
    ) -> Verdict:
        """Add records to an active registration, all of them or none.

        STALE when it has settled. ``expected``, where there is a number, ``grows`` by
        as many, unless they are among those that were expected. They may come with
        bytes taken over from the failed records ``adopted``, as in ``register``; those
        are added to ``downloaded``. OVER_BUDGET when that would take it strictly over
        ``download_total`` (behaviour 50): nothing changed, they can be added without
        bytes. The bodies that their requests send are added to ``upload_total`` (98).

        :raises ValueError: a record is not of this registration.
        """

    async def amend(self, uid: str, **changes: Any) -> None:
        """Change columns of an active registration.

        Takes ``title icons download_total expected paused options``.
        A registration that has settled stays as it is, but for title and icons,
        which may change until its event was handled (85).

        :raises ValueError: another column is named; nothing was changed.
        """

    async def claim(self, uid: str, index: int) -> int | None:
        """Begin an attempt: the record is active, its new attempt number returned.

        Whoever held an older attempt has lost it. None when the record or its
        registration has settled.
        """

    async def release(
        self, uid: str, index: int, attempt: int, log: AttemptRow | None = None
    ) -> Verdict:
        """End an attempt without an outcome: the record is pending again.

        ``log`` is kept in the same transaction, unless the attempt is STALE.
        """

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
        ``stored`` is held against the budget like a mark. While a registration is
        active its ``failure_reason`` is that of the first record that failed.
        """

    async def announced(self, uid: str, *indexes: int) -> None:
        """The hooks of settled records have ended: never call them again.

        Nothing happens to a record that has not settled.
        """

    async def settle(
        self,
        uid: str,
        result: Result,
        reason: FailureReason,
        at: float,
        *,
        logs: Sequence[AttemptRow] = (),
        announced: Sequence[int] = (),
    ) -> Verdict:
        """Settle a registration, once: its id is free from here on (28, 72).

        Records that have not settled become settled as aborted in the same
        transaction, with nothing stored; the others keep their result (57). STALE
        when it has settled before: the first result stays. Of the ``logs`` those are
        kept whose attempts were under way. The records ``announced`` are marked as by
        :meth:`announced`, whatever the verdict.

        :raises ValueError: the result is the empty one.
        """

    async def delivered(self, uid: str) -> None:
        """The terminal event was handled: never send it again.

        This may take a moment, in which others come to share its transaction.
        Nothing happens when the registration has not settled.
        """

    async def get(self, uid: str) -> RegistrationRow | None:
        """Return one registration, active or not."""

    async def records(self, uid: str) -> list[RecordRow]:
        """Return the records of a registration in their order (by number)."""

    async def records_of(
        self, uids: Sequence[str], *, first: int = 0, limit: int
    ) -> list[RecordRow]:
        """Return the records of undelivered registrations, ``limit`` at most.

        The ``uids`` are sorted, and their records come in that order, of each by
        number; of the first registration those from number ``first`` on.
        """

    async def attempts(self, uid: str) -> list[AttemptRow]:
        """Return the attempts that have ended, by record and number.

        Of each record the last ATTEMPTS_KEPT numbers. One whose process died is not
        there; its number is missing, or used again when it had not been claimed.
        """

    async def undelivered(self, scope: str) -> list[RegistrationRow]:
        """Return what a new run takes up: all that is active or not delivered.

        The oldest first.
        """

    async def kept(self, scope: str, id: str) -> list[RecordRow]:
        """Return the records whose bytes a background fetch of this id can adopt.

        Those are the failed records with ``stored`` > 0 of the settled
        registrations of that scope and id, the last settled first; of one
        registration in their order.
        """

    async def kept_ids(self, scope: str) -> set[str]:
        """Return the ids of the scope for which ``kept`` has something."""

    async def parts(self) -> list[tuple[str, int]]:
        """Return (uid, index) of all records, of any scope, that may have a part.

        Those are the records of registrations that are not delivered whose own
        hooks have not ended, and the failed records with ``stored`` > 0.
        """

    async def history(self, scope: str, limit: int = 100) -> list[RegistrationRow]:
        """Return settled registrations of the scope, the last settled first."""

    async def last_settled(self, scope: str, id: str) -> RegistrationRow | None:
        """Return the registration of that scope and id that settled last.

        None when there is none, or when it was forgotten.
        """

    async def forget(self, scope: str, keep: int) -> bool:
        """Remove the oldest delivered registrations, their records and attempts.

        The ``keep`` last settled of those that were delivered stay; what is active
        or not delivered is never touched. Bytes kept of failed records are dropped
        (their part files are no ``parts`` any more); files stay. One call does a
        bounded piece of work, 10,000 rows at most: call it again while it says
        True. A registration that is removed in several calls is gone for ``get``,
        ``records``, ``attempts``, ``history`` and ``kept`` from the first one on.

        :return: whether more is left to remove.
        """

    async def stored_bytes(self) -> int:
        """Return the bytes that all background fetches have stored and not dropped.

        Those too that ``forget`` has removed from the state: their files are still
        there.
        """
