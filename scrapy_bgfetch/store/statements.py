"""The store's statements in SQL: each function is the inside of one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import asdict

from scrapy_bgfetch.model import RecordState
from scrapy_bgfetch.store.base import IdActive, Verdict
from scrapy_bgfetch.store.rows import (
    head_json,
    record_row,
    record_values,
    registration_row,
    registration_values,
    to_json,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from scrapy_bgfetch.model import (
        FailureReason,
        Head,
        RecordRow,
        RegistrationRow,
        Result,
    )
    from scrapy_bgfetch.store.base import Mark, Settlement

INSERT_REGISTRATION = """
    INSERT INTO registrations (
        uid, scope, id, active, delivered, paused, expected, downloaded,
        download_total, uploaded, upload_total, result, failure_reason,
        created_at, settled_at, title, base_url, icons, options
    ) VALUES (
        :uid, :scope, :id, :active, :delivered, :paused, :expected, :downloaded,
        :download_total, :uploaded, :upload_total, :result, :failure_reason,
        :created_at, :settled_at, :title, :base_url, :icons, :options
    )
"""
INSERT_RECORD = """
    INSERT INTO records (
        uid, idx, state, attempt, stored, size, wire, encoded, announced,
        failure_reason, method, url, path, error, head, request
    ) VALUES (
        :uid, :index, :state, :attempt, :stored, :size, :wire, :encoded, :announced,
        :failure_reason, :method, :url, :path, :error, :head, :request
    )
"""
_REGISTRATIONS = """
    SELECT uid, scope, id, delivered, paused, expected, downloaded, download_total,
        uploaded, upload_total, result, failure_reason, created_at, settled_at,
        title, base_url, icons, options
    FROM registrations
"""
GET = _REGISTRATIONS + "WHERE uid = ?"
UNDELIVERED = (
    _REGISTRATIONS + "WHERE scope = ? AND delivered = 0 ORDER BY created_at, rowid"
)
HISTORY = (
    _REGISTRATIONS + "WHERE scope = ? AND active = 0 "
    "ORDER BY settled_at DESC, rowid DESC LIMIT ?"
)
RECORDS = """
    SELECT uid, idx AS "index", state, attempt, stored, size, wire, encoded,
        announced, failure_reason, method, url, path, error, head, request
    FROM records WHERE uid = ? ORDER BY idx
"""
ID_ACTIVE = "SELECT 1 FROM registrations WHERE scope = ? AND id = ? AND active = 1"
UID_ACTIVE = "SELECT 1 FROM registrations WHERE uid = ? AND active = 1"
AMEND = {
    "title": "UPDATE registrations SET title = ? WHERE uid = ? AND delivered = 0",
    "icons": "UPDATE registrations SET icons = ? WHERE uid = ? AND delivered = 0",
    "download_total": (
        "UPDATE registrations SET download_total = ? WHERE uid = ? AND active = 1"
    ),
    "expected": "UPDATE registrations SET expected = ? WHERE uid = ? AND active = 1",
    "paused": "UPDATE registrations SET paused = ? WHERE uid = ? AND active = 1",
    "options": "UPDATE registrations SET options = ? WHERE uid = ? AND active = 1",
    "uploaded": "UPDATE registrations SET uploaded = ? WHERE uid = ? AND active = 1",
}
_IN_JSON: Mapping[str, Callable[[object], Any]] = {"icons": to_json, "options": to_json}
CLAIM = """
    UPDATE records SET state = 'active', attempt = attempt + 1
    WHERE uid = ? AND idx = ? AND state != 'settled'
        AND uid IN (SELECT uid FROM registrations WHERE uid = ? AND active = 1)
"""
ATTEMPT = "SELECT attempt FROM records WHERE uid = ? AND idx = ?"
RELEASE = """
    UPDATE records SET state = 'pending'
    WHERE uid = ? AND idx = ? AND attempt = ? AND state = 'active'
"""
KEEP_HEAD = """
    UPDATE records SET head = ?, size = ?, encoded = ?
    WHERE uid = ? AND idx = ? AND attempt = ? AND state = 'active'
"""
# The trigger records_counted carries the change of stored to the registration.
MARK = """
    UPDATE records SET stored = :stored, wire = wire + :wire
    WHERE uid = :uid AND idx = :index AND attempt = :attempt AND state = 'active'
        AND EXISTS (
            SELECT 1 FROM registrations
            WHERE registrations.uid = records.uid AND active = 1
                AND (
                    download_total = 0 OR :stored <= records.stored
                    OR downloaded - records.stored + :stored <= download_total
                )
        )
"""
SETTLE_RECORD = """
    UPDATE records SET state = 'settled', failure_reason = :failure_reason,
        stored = CASE :failure_reason WHEN '' THEN :stored ELSE 0 END,
        wire = wire + :wire, size = coalesce(:size, size),
        head = coalesce(:head, head), path = coalesce(:path, path), error = :error
    WHERE uid = :uid AND idx = :index AND attempt = :attempt AND state != 'settled'
        AND EXISTS (
            SELECT 1 FROM registrations
            WHERE registrations.uid = records.uid AND active = 1
                AND (
                    :failure_reason != '' OR download_total = 0
                    OR :stored <= records.stored
                    OR downloaded - records.stored + :stored <= download_total
                )
        )
"""
STANDING = """
    SELECT state FROM records JOIN registrations ON registrations.uid = records.uid
    WHERE records.uid = ? AND idx = ? AND attempt = ? AND active = 1
"""
ANNOUNCED = """
    UPDATE records SET announced = 1 WHERE uid = ? AND idx = ? AND state = 'settled'
"""
SETTLE = """
    UPDATE registrations SET active = 0, result = ?, failure_reason = ?, settled_at = ?
    WHERE uid = ? AND active = 1
"""
ABORT_RECORDS = """
    UPDATE records SET state = 'settled', failure_reason = 'aborted', stored = 0
    WHERE uid = ? AND state != 'settled'
"""
DELIVERED = "UPDATE registrations SET delivered = 1 WHERE uid = ? AND active = 0"
# CROSS JOIN keeps this order: from the few registrations to their records.
UNANNOUNCED = """
    SELECT records.uid, idx FROM registrations
    CROSS JOIN records ON records.uid = registrations.uid
    WHERE delivered = 0 AND announced = 0
"""
STORED_BYTES = "SELECT downloaded FROM totals"


def register(
    con: sqlite3.Connection,
    registration: RegistrationRow,
    records: Sequence[RecordRow],
) -> None:
    if any(record.uid != registration.uid for record in records):
        raise ValueError(f"a record is not of registration {registration.uid}")
    if con.execute(ID_ACTIVE, (registration.scope, registration.id)).fetchone():
        raise IdActive(registration.id)
    con.execute(INSERT_REGISTRATION, registration_values(registration))
    con.executemany(INSERT_RECORD, map(record_values, records))


def append(con: sqlite3.Connection, record: RecordRow) -> Verdict:
    if con.execute(UID_ACTIVE, (record.uid,)).fetchone() is None:
        return Verdict.STALE
    con.execute(INSERT_RECORD, record_values(record))
    return Verdict.KEPT


def amend(con: sqlite3.Connection, uid: str, changes: Mapping[str, Any]) -> None:
    if unknown := changes.keys() - AMEND.keys():
        raise ValueError(f"amend() cannot change {', '.join(sorted(unknown))}")
    for name, value in changes.items():
        to_column = _IN_JSON.get(name)
        con.execute(AMEND[name], (to_column(value) if to_column else value, uid))


def claim(con: sqlite3.Connection, uid: str, index: int) -> int | None:
    if not con.execute(CLAIM, (uid, index, uid)).rowcount:
        return None
    (attempt,) = con.execute(ATTEMPT, (uid, index)).fetchone()
    return int(attempt)


def release(con: sqlite3.Connection, uid: str, index: int, attempt: int) -> Verdict:
    return _verdict(con.execute(RELEASE, (uid, index, attempt)))


def keep_head(
    con: sqlite3.Connection,
    uid: str,
    index: int,
    attempt: int,
    head: Head,
    *,
    size: int | None,
    encoded: bool,
) -> Verdict:
    values = (head_json(head), size, encoded, uid, index, attempt)
    return _verdict(con.execute(KEEP_HEAD, values))


def checkpoint(con: sqlite3.Connection, marks: Sequence[Mark]) -> list[Verdict]:
    return [_mark(con, mark) for mark in marks]


def settle_records(
    con: sqlite3.Connection, ends: Sequence[Settlement]
) -> list[Verdict]:
    return [_settle_record(con, end) for end in ends]


def announced(con: sqlite3.Connection, uid: str, indexes: Sequence[int]) -> None:
    con.executemany(ANNOUNCED, [(uid, index) for index in indexes])


def settle(
    con: sqlite3.Connection, uid: str, result: Result, reason: FailureReason, at: float
) -> Verdict:
    if not result:
        raise ValueError("a background fetch settles as success or as failure")
    verdict = _verdict(con.execute(SETTLE, (result, reason, at, uid)))
    if verdict is Verdict.KEPT:
        con.execute(ABORT_RECORDS, (uid,))
    return verdict


def delivered(con: sqlite3.Connection, uid: str) -> None:
    con.execute(DELIVERED, (uid,))


def get(con: sqlite3.Connection, uid: str) -> RegistrationRow | None:
    found = con.execute(GET, (uid,)).fetchone()
    return None if found is None else registration_row(found)


def records(con: sqlite3.Connection, uid: str) -> list[RecordRow]:
    return [record_row(found) for found in con.execute(RECORDS, (uid,))]


def undelivered(con: sqlite3.Connection, scope: str) -> list[RegistrationRow]:
    return [registration_row(found) for found in con.execute(UNDELIVERED, (scope,))]


def history(con: sqlite3.Connection, scope: str, limit: int) -> list[RegistrationRow]:
    found = con.execute(HISTORY, (scope, max(limit, 0)))
    return [registration_row(row) for row in found]


def unannounced(con: sqlite3.Connection) -> list[tuple[str, int]]:
    return [(found[0], found[1]) for found in con.execute(UNANNOUNCED)]


def stored_bytes(con: sqlite3.Connection) -> int:
    (stored,) = con.execute(STORED_BYTES).fetchone()
    return int(stored)


def _verdict(cursor: sqlite3.Cursor) -> Verdict:
    return Verdict.KEPT if cursor.rowcount else Verdict.STALE


def _mark(con: sqlite3.Connection, mark: Mark) -> Verdict:
    if con.execute(MARK, asdict(mark)).rowcount:
        return Verdict.KEPT
    return _why_not(con, mark, (RecordState.ACTIVE,))


def _settle_record(con: sqlite3.Connection, end: Settlement) -> Verdict:
    values = {**asdict(end, recurse=False), "head": head_json(end.head)}
    if con.execute(SETTLE_RECORD, values).rowcount:
        return Verdict.KEPT
    return _why_not(con, end, (RecordState.PENDING, RecordState.ACTIVE))


def _why_not(
    con: sqlite3.Connection, said: Mark | Settlement, states: Sequence[RecordState]
) -> Verdict:
    found = con.execute(STANDING, (said.uid, said.index, said.attempt)).fetchone()
    standing = found is not None and found["state"] in states
    return Verdict.OVER_BUDGET if standing else Verdict.STALE
