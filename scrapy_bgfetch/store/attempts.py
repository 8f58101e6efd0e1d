"""The log of attempts in the SQLite store; each function is inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.store.base import ATTEMPTS_KEPT
from scrapy_bgfetch.store.forgetting import half_forgotten
from scrapy_bgfetch.store.rows import attempt_row, attempt_values

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from scrapy_bgfetch.model import AttemptRow

_COLUMNS = """
    number, started_at, ended_at, status, wire, before, after, taken, outcome, range,
    if_range, content_range, content_encoding, etag, last_modified, error, urls,
    connections
"""
_VALUES = """
    :uid, :index, :number, :started_at, :ended_at, :status, :wire, :before, :after,
    :taken, :outcome, :range, :if_range, :content_range, :content_encoding, :etag,
    :last_modified, :error, :urls, :connections
"""
INSERT = f"INSERT INTO attempts (uid, idx, {_COLUMNS}) VALUES ({_VALUES})"  # noqa: S608
INSERT_OPEN = f"""
    INSERT INTO attempts (uid, idx, {_COLUMNS}) SELECT {_VALUES}
    WHERE EXISTS (
        SELECT 1 FROM records
        WHERE uid = :uid AND idx = :index AND attempt = :number AND state = 'active'
    )
"""  # noqa: S608
DROP_OLD = "DELETE FROM attempts WHERE uid = ? AND idx = ? AND number <= ?"
ATTEMPTS = f"""
    SELECT uid, idx AS "index", {_COLUMNS} FROM attempts WHERE uid = ?
    ORDER BY idx, number
"""  # noqa: S608


def keep(con: sqlite3.Connection, log: AttemptRow) -> None:
    """Keep an attempt that has ended, and no more than ATTEMPTS_KEPT of its record."""
    con.execute(INSERT, attempt_values(log))
    if log.number > ATTEMPTS_KEPT:
        con.execute(DROP_OLD, (log.uid, log.index, log.number - ATTEMPTS_KEPT))


def keep_open(con: sqlite3.Connection, logs: Sequence[AttemptRow]) -> None:
    """Keep those attempts that are still under way in the state, as ended."""
    con.executemany(INSERT_OPEN, map(attempt_values, logs))
    old = [(log.uid, log.index, log.number - ATTEMPTS_KEPT) for log in logs]
    con.executemany(DROP_OLD, [one for one in old if one[2] > 0])


def attempts(con: sqlite3.Connection, uid: str) -> list[AttemptRow]:
    if half_forgotten(con, uid):
        return []
    return [attempt_row(found) for found in con.execute(ATTEMPTS, (uid,))]
