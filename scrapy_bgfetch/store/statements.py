"""The store's statements in SQL: each function is the inside of one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.model import RecordState
from scrapy_bgfetch.store import attempts
from scrapy_bgfetch.store.base import Verdict
from scrapy_bgfetch.store.forgetting import half_forgotten
from scrapy_bgfetch.store.rows import (
    head_json,
    record_row,
    registration_row,
    segments_json,
    to_json,
    values_of,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from scrapy_bgfetch.model import (
        AttemptRow,
        FailureReason,
        Head,
        RecordRow,
        RegistrationRow,
        Result,
    )
    from scrapy_bgfetch.store.base import Mark, Settlement

_REGISTRATIONS = """
    SELECT uid, scope, id, delivered, paused, expected, downloaded, download_total,
        uploaded, upload_total, result, failure_reason, created_at, settled_at,
        title, base_url, icons, options
    FROM registrations
"""
GET = _REGISTRATIONS + "WHERE uid = ? AND forgotten = 0"
UNDELIVERED = (
    _REGISTRATIONS + "WHERE scope = ? AND delivered = 0 ORDER BY created_at, rowid"
)
HISTORY = (
    _REGISTRATIONS + "WHERE scope = ? AND active = 0 AND forgotten = 0 "
    "ORDER BY settled_at DESC, rowid DESC LIMIT ?"
)
LAST_SETTLED = (
    _REGISTRATIONS + "WHERE scope = ? AND id = ? AND active = 0 AND forgotten = 0 "
    "ORDER BY settled_at DESC, rowid DESC LIMIT 1"
)
_RECORDS = """
    SELECT records.uid, idx AS "index", state, attempt, stored, size, wire, encoded,
        announced, records.failure_reason, method, url, path, error, head, request,
        checksums, records.uploaded, not_modified, segments
"""
RECORDS = _RECORDS + "FROM records WHERE uid = ? ORDER BY idx"
RECORDS_FROM = _RECORDS + "FROM records WHERE uid = ? AND idx >= ? ORDER BY idx LIMIT ?"
RECORDS_OF = (
    _RECORDS  # noqa: S608
    + """
    FROM records WHERE uid IN (SELECT value FROM json_each(?)) ORDER BY uid, idx LIMIT ?
"""
)
# CROSS JOIN keeps this order: from the few registrations to their records.
KEPT = (
    _RECORDS
    + """
    FROM registrations CROSS JOIN records ON records.uid = registrations.uid
    WHERE scope = ? AND id = ? AND active = 0 AND forgotten = 0
        AND records.failure_reason != '' AND stored > 0
    ORDER BY settled_at DESC, registrations.rowid DESC, idx
"""
)
KEPT_IDS = """
    SELECT DISTINCT id FROM records
    CROSS JOIN registrations ON registrations.uid = records.uid
    WHERE records.failure_reason != '' AND stored > 0
        AND scope = ? AND active = 0 AND forgotten = 0
"""
AMEND = {
    "title": "UPDATE registrations SET title = ? WHERE uid = ? AND delivered = 0",
    "icons": "UPDATE registrations SET icons = ? WHERE uid = ? AND delivered = 0",
    "download_total": (
        "UPDATE registrations SET download_total = ? WHERE uid = ? AND active = 1"
    ),
    "expected": "UPDATE registrations SET expected = ? WHERE uid = ? AND active = 1",
    "paused": "UPDATE registrations SET paused = ? WHERE uid = ? AND active = 1",
    "options": "UPDATE registrations SET options = ? WHERE uid = ? AND active = 1",
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
# Triggers carry the change of stored and uploaded to the registration.
MARK = """
    UPDATE records SET stored = :stored, wire = max(wire, :wire),
        uploaded = max(uploaded, :uploaded), segments = :segments
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
        stored = :stored, wire = max(wire, :wire), size = coalesce(:size, size),
        head = coalesce(:head, head), path = coalesce(:path, path), error = :error,
        encoded = coalesce(:encoded, encoded), checksums = :checksums,
        uploaded = max(uploaded, :uploaded), not_modified = :not_modified,
        segments = :segments
    WHERE uid = :uid AND idx = :index AND attempt = :attempt AND state != 'settled'
        AND EXISTS (
            SELECT 1 FROM registrations
            WHERE registrations.uid = records.uid AND active = 1
                AND (
                    download_total = 0 OR :stored <= records.stored
                    OR downloaded - records.stored + :stored <= download_total
                )
        )
"""
STANDING = """
    SELECT state FROM records JOIN registrations ON registrations.uid = records.uid
    WHERE records.uid = ? AND idx = ? AND attempt = ? AND active = 1
"""
FIRST_FAILURE = """
    UPDATE registrations SET failure_reason = ?
    WHERE uid = ? AND active = 1 AND failure_reason = ''
"""
ANNOUNCED = """
    UPDATE records SET announced = 1 WHERE uid = ? AND idx = ? AND state = 'settled'
"""
SETTLE = """
    UPDATE registrations SET active = 0, result = ?, failure_reason = ?, settled_at = ?
    WHERE uid = ? AND active = 1
"""
ABORT_RECORDS = """
    UPDATE records SET state = 'settled', failure_reason = 'aborted', stored = 0,
        segments = NULL
    WHERE uid = ? AND state != 'settled'
"""
DELIVERED = """
    UPDATE registrations SET delivered = 1
    WHERE uid IN (SELECT value FROM json_each(?)) AND active = 0
"""
PARTS = """
    SELECT records.uid, idx FROM registrations
    CROSS JOIN records ON records.uid = registrations.uid
    WHERE delivered = 0 AND announced = 0
    UNION
    SELECT uid, idx FROM records WHERE failure_reason != '' AND stored > 0
"""
STORED_BYTES = "SELECT downloaded FROM totals"


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


def release(
    con: sqlite3.Connection,
    uid: str,
    index: int,
    attempt: int,
    log: AttemptRow | None = None,
) -> Verdict:
    verdict = _verdict(con.execute(RELEASE, (uid, index, attempt)))
    if verdict is Verdict.KEPT and log is not None:
        attempts.keep(con, log)
    return verdict


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
    con: sqlite3.Connection,
    uid: str,
    result: Result,
    reason: FailureReason,
    at: float,
    *,
    logs: Sequence[AttemptRow] = (),
    announced: Sequence[int] = (),
) -> Verdict:
    if not result:
        raise ValueError("a background fetch settles as success or as failure")
    con.executemany(ANNOUNCED, [(uid, index) for index in announced])
    verdict = _verdict(con.execute(SETTLE, (result, reason, at, uid)))
    if verdict is Verdict.KEPT:
        attempts.keep_open(con, logs)
        con.execute(ABORT_RECORDS, (uid,))
    return verdict


def delivered(con: sqlite3.Connection, uids: Sequence[str]) -> None:
    con.execute(DELIVERED, (to_json(uids),))


def get(con: sqlite3.Connection, uid: str) -> RegistrationRow | None:
    found = con.execute(GET, (uid,)).fetchone()
    return None if found is None else registration_row(found)


def records(con: sqlite3.Connection, uid: str) -> list[RecordRow]:
    if half_forgotten(con, uid):
        return []
    return [record_row(found) for found in con.execute(RECORDS, (uid,))]


def records_of(
    con: sqlite3.Connection, uids: Sequence[str], first: int, limit: int
) -> list[RecordRow]:
    found = []
    if first:
        found = con.execute(RECORDS_FROM, (uids[0], first, limit)).fetchall()
        uids = uids[1:]
    found += con.execute(RECORDS_OF, (to_json(uids), limit - len(found)))
    return [record_row(row) for row in found]


def undelivered(con: sqlite3.Connection, scope: str) -> list[RegistrationRow]:
    return [registration_row(found) for found in con.execute(UNDELIVERED, (scope,))]


def history(con: sqlite3.Connection, scope: str, limit: int) -> list[RegistrationRow]:
    found = con.execute(HISTORY, (scope, max(limit, 0)))
    return [registration_row(row) for row in found]


def last_settled(
    con: sqlite3.Connection, scope: str, id: str
) -> RegistrationRow | None:
    found = con.execute(LAST_SETTLED, (scope, id)).fetchone()
    return None if found is None else registration_row(found)


def kept(con: sqlite3.Connection, scope: str, id: str) -> list[RecordRow]:
    return [record_row(found) for found in con.execute(KEPT, (scope, id))]


def kept_ids(con: sqlite3.Connection, scope: str) -> set[str]:
    return {found[0] for found in con.execute(KEPT_IDS, (scope,))}


def parts(con: sqlite3.Connection) -> list[tuple[str, int]]:
    return [(found[0], found[1]) for found in con.execute(PARTS)]


def stored_bytes(con: sqlite3.Connection) -> int:
    (stored,) = con.execute(STORED_BYTES).fetchone()
    return int(stored)


def _verdict(cursor: sqlite3.Cursor) -> Verdict:
    return Verdict.KEPT if cursor.rowcount else Verdict.STALE


def _mark(con: sqlite3.Connection, mark: Mark) -> Verdict:
    values = {
        **values_of(mark),
        "segments": segments_json(mark.segments),
    }
    if con.execute(MARK, values).rowcount:
        return Verdict.KEPT
    return _why_not(con, mark, (RecordState.ACTIVE,))


def _settle_record(con: sqlite3.Connection, end: Settlement) -> Verdict:
    values = {
        **values_of(end),
        "head": head_json(end.head),
        "checksums": to_json(dict(end.checksums)),
        "segments": segments_json(end.segments),
    }
    del values["log"]
    if con.execute(SETTLE_RECORD, values).rowcount:
        if end.log is not None:
            attempts.keep(con, end.log)
        if end.failure_reason:
            con.execute(FIRST_FAILURE, (end.failure_reason, end.uid))
        return Verdict.KEPT
    return _why_not(con, end, (RecordState.PENDING, RecordState.ACTIVE))


def _why_not(
    con: sqlite3.Connection, said: Mark | Settlement, states: Sequence[RecordState]
) -> Verdict:
    found = con.execute(STANDING, (said.uid, said.index, said.attempt)).fetchone()
    standing = found is not None and found["state"] in states
    return Verdict.OVER_BUDGET if standing else Verdict.STALE
