"""How the end of history leaves the SQLite store, a bounded piece at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

AT_ONCE = 10_000  # rows deleted in one transaction at most

HALF_FORGOTTEN = "SELECT 1 FROM registrations WHERE uid = ? AND forgotten = 1"
COUNT = """
    SELECT count(*) FROM registrations
    WHERE scope = ? AND delivered = 1 AND forgotten = 0
"""
OLDEST = """
    SELECT uid FROM registrations WHERE scope = ? AND delivered = 1 AND forgotten = ?
    ORDER BY settled_at, rowid LIMIT ?
"""
LAST_OF = "SELECT idx FROM records WHERE uid = ? ORDER BY idx LIMIT 1 OFFSET ?"
DROP_KEPT = """
    UPDATE records SET stored = 0
    WHERE uid = ? AND idx <= ? AND failure_reason != '' AND stored > 0
"""
DELETE_ATTEMPTS = """
    DELETE FROM attempts WHERE (uid, idx, number) IN (
        SELECT uid, idx, number FROM attempts WHERE uid = ? LIMIT ?
    )
"""
DELETE_RECORDS = "DELETE FROM records WHERE uid = ? AND idx <= ?"
DELETE_REGISTRATION = "DELETE FROM registrations WHERE uid = ?"
HIDE = "UPDATE registrations SET forgotten = 1 WHERE uid = ?"

_ALL = 2**63 - 1


def forget(con: sqlite3.Connection, scope: str, keep: int) -> bool:
    """Remove the oldest delivered registrations but ``keep``; whether more is left.

    One whose attempts and records are too many for this transaction is hidden: its
    row goes with its last record, in a later one.
    """
    left = AT_ONCE
    for uid in _condemned(con, scope, max(keep, 0)):
        if left == 0:
            return True
        left -= con.execute(DELETE_ATTEMPTS, (uid, left)).rowcount
        if left:
            left -= _delete_records(con, uid, left)
        if left == 0:
            con.execute(HIDE, (uid,))
            return True
        con.execute(DELETE_REGISTRATION, (uid,))
        left -= 1
    return False


def half_forgotten(con: sqlite3.Connection, uid: str) -> bool:
    """Return whether only a part of the registration's records may be left."""
    return con.execute(HALF_FORGOTTEN, (uid,)).fetchone() is not None


def _condemned(con: sqlite3.Connection, scope: str, keep: int) -> list[str]:
    """Return what is to go, the oldest first, one more than can go at once."""
    (whole,) = con.execute(COUNT, (scope,)).fetchone()
    excess = min(max(whole - keep, 0), AT_ONCE + 1)
    begun = con.execute(OLDEST, (scope, 1, -1)).fetchall()
    oldest = con.execute(OLDEST, (scope, 0, excess)).fetchall()
    return [found["uid"] for found in (*begun, *oldest)]


def _delete_records(con: sqlite3.Connection, uid: str, limit: int) -> int:
    """Delete up to ``limit`` records, the first ones; return how many."""
    last = con.execute(LAST_OF, (uid, limit - 1)).fetchone()
    upto = (uid, _ALL if last is None else last["idx"])
    con.execute(DROP_KEPT, upto)
    return con.execute(DELETE_RECORDS, upto).rowcount
