"""State folders of many background fetches, settled or unfinished."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

from attrs import evolve, frozen
from scrapy import Request

from scrapy_bgfetch.model import (
    FailureReason,
    Head,
    RecordRow,
    RecordState,
    RegistrationRow,
    Result,
)
from scrapy_bgfetch.perform.requests import to_json
from scrapy_bgfetch.rules.file_names import part_name
from scrapy_bgfetch.store import adding, rows, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE_FILE = "state.sqlite"
_KEPT_EACH = 1000  # one settled record of so many has failed and keeps bytes
_STORED = 1000  # bytes of each record that has any
_HEADERS = (("ETag", '"0123456789"'), ("Content-Type", "audio/mpeg"))


@frozen
class Case:
    """What is in a state folder.

    :ivar registrations: how many background fetches, none for an empty folder.
    :ivar records: how many records they have, all of them together.
    :ivar settled: whether they have ended.
    :ivar part_files: whether each record has its bytes in a part file.
    """

    name: str
    registrations: int = 0
    records: int = 0
    settled: bool = False
    part_files: bool = False

    @property
    def unfinished(self) -> int:
        """How many background fetches a crawl takes up."""
        return 0 if self.settled else self.registrations


def build(case: Case, folder: Path, *, scope: str, base: str) -> None:
    """Make the state folder of a case.

    :param scope: the name of the spider.
    :param base: the URL of a server that the records are asked of.
    """
    (folder / "parts").mkdir(parents=True)
    with closing(sqlite3.connect(folder / STATE_FILE, isolation_level=None)) as con:
        con.execute("PRAGMA journal_mode = WAL")
        con.execute("PRAGMA synchronous = OFF")
        schema.prepare(con)
        con.execute("BEGIN")
        registrations = map(rows.registration_values, _registrations(case, scope))
        con.executemany(adding.INSERT_REGISTRATION, registrations)
        records = map(rows.record_values, _records(case, base))
        con.executemany(adding.INSERT_RECORD, records)
        if case.settled:
            con.execute("UPDATE registrations SET delivered = 1")
        con.execute("COMMIT")
    if case.part_files:
        for row in _records(case, base):
            (folder / "parts" / part_name(row.uid, row.index)).write_bytes(
                bytes(row.stored)
            )


def _sizes(case: Case) -> Iterator[tuple[str, int]]:
    """Return the unique id of each background fetch, and how many records it has."""
    for number in range(case.registrations):
        theirs = case.records // case.registrations
        yield f"{number:032x}", theirs + (number < case.records % case.registrations)


def _registrations(case: Case, scope: str) -> Iterator[RegistrationRow]:
    stored = _STORED if case.settled or case.part_files else 0
    for number, (uid, theirs) in enumerate(_sizes(case)):
        row = RegistrationRow(
            uid=uid,
            id=f"id-{number}",
            scope=scope,
            title=f"Episode {number}",
            expected=theirs,
            downloaded=theirs * stored,
            created_at=float(number),
        )
        if case.settled:
            row = evolve(row, result=Result.SUCCESS, settled_at=float(number))
        yield row


def _records(case: Case, base: str) -> Iterator[RecordRow]:
    kept = to_json(Request(base), spider=None, credentials=False)
    numbers = count()
    for uid, theirs in _sizes(case):
        for index, number in zip(range(theirs), numbers, strict=False):
            url = f"{base}/{number}.mp3"
            request = {**kept, "url": url}
            row = RecordRow(uid=uid, index=index, url=url, request=request)
            if case.settled or case.part_files:
                head = Head(url, 200, _HEADERS)
                row = evolve(row, stored=_STORED, size=2 * _STORED, head=head)
            yield _settled(row, number) if case.settled else row


def _settled(row: RecordRow, number: int) -> RecordRow:
    failed = number % _KEPT_EACH == 0
    return evolve(
        row,
        state=RecordState.SETTLED,
        failure_reason=FailureReason.FETCH_ERROR if failed else FailureReason.NONE,
        size=_STORED,
        path=None if failed else f"{row.uid}/{row.index}.mp3",
        announced=True,
    )
