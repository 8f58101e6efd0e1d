"""What an attempt asks for, gets and comes to, noted while it is under way (N3)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from attrs import define, field

from scrapy_bgfetch.model import AttemptOutcome, AttemptRow, Taken
from scrapy_bgfetch.rules.manifest import bare_text, bare_url
from scrapy_bgfetch.rules.resume import Append, Replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.rules.resume import Decision

_LONGEST = 1000  # characters of an error


@define(eq=False)
class AttemptLog:
    """The notes of one attempt, which was interrupted unless something else is said.

    :param number: that of the attempt.
    :param before: how many bytes were stored when it began.
    :param wire_before: how many had come over the network.
    """

    number: int
    before: int
    wire_before: int
    started_at: float = field(factory=time.time)
    urls: list[str] = field(factory=list)
    fields: Mapping[str, str] = field(factory=dict)
    head: Head | None = None
    taken: Taken = Taken.NOTHING
    outcome: AttemptOutcome = AttemptOutcome.INTERRUPTED
    error: str = ""
    connections: int = 1

    def asks(self, url: str) -> None:
        """Note a URL that is asked, the next one after each redirect (221)."""
        self.urls.append(bare_url(url))

    def takes(self, decision: Decision) -> None:
        """Note what is done with the body."""
        if isinstance(decision, (Append, Replace)):
            append = isinstance(decision, Append)
            self.taken = Taken.APPEND if append else Taken.REPLACE

    def comes_to(self, outcome: AttemptOutcome, error: str = "") -> None:
        """Note what it came to; the last word counts."""
        self.outcome, self.error = outcome, error


def begin(record: LiveRecord, number: int) -> AttemptLog:
    """Let a record have the log of a new attempt, and return it."""
    record.log = AttemptLog(number, record.stored, record.wire)
    return record.log


def row_of(record: LiveRecord) -> AttemptRow | None:
    """Return what is kept of a record's attempt if it ends now; None without one."""
    log = record.log
    if log is None:
        return None
    answered = log.head.get if log.head is not None else _nothing
    return AttemptRow(
        uid=record.row.uid,
        index=record.index,
        number=log.number,
        started_at=log.started_at,
        ended_at=max(time.time(), log.started_at),
        urls=tuple(log.urls),
        range=log.fields.get("Range", ""),
        if_range=log.fields.get("If-Range", ""),
        status=log.head.status if log.head is not None else None,
        content_range=answered("Content-Range") or "",
        content_encoding=answered("Content-Encoding") or "",
        etag=answered("ETag") or "",
        last_modified=answered("Last-Modified") or "",
        wire=record.wire - log.wire_before,
        before=log.before,
        after=record.stored,
        taken=log.taken,
        outcome=log.outcome,
        error=bare_text(log.error)[:_LONGEST],
        connections=log.connections,
    )


def rows_of(records: Iterable[LiveRecord]) -> list[AttemptRow]:
    """Return what is kept of all attempts that are under way when they end now."""
    return [row for row in map(row_of, records) if row is not None]


def _nothing(_name: str) -> None:
    return None
