"""The tables, indexes and schema version of the SQLite store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

APPLICATION_ID = 0x62676674  # "bgft"
SCHEMA_VERSION = 4

# Version 1. A new database begins with it too and goes through all migrations, so
# that it is the same as one that was migrated. ``downloaded`` and its total are
# kept by triggers: they cannot drift, and a mark is one statement. Long values stand
# last, so that reading the short ones never follows a row into its overflow pages.
VERSION_1 = (
    """
    CREATE TABLE registrations (
        uid TEXT NOT NULL PRIMARY KEY,
        scope TEXT NOT NULL,
        id TEXT NOT NULL,
        active INTEGER NOT NULL CHECK (active = (result = '')),
        delivered INTEGER NOT NULL CHECK (delivered = 0 OR active = 0),
        paused INTEGER NOT NULL,
        expected INTEGER,
        downloaded INTEGER NOT NULL CHECK (downloaded >= 0),
        download_total INTEGER NOT NULL CHECK (download_total >= 0),
        uploaded INTEGER NOT NULL CHECK (uploaded >= 0),
        upload_total INTEGER NOT NULL CHECK (upload_total >= 0),
        result TEXT NOT NULL,
        failure_reason TEXT NOT NULL,
        created_at REAL NOT NULL,
        settled_at REAL,
        title TEXT NOT NULL,
        base_url TEXT,
        icons TEXT NOT NULL,
        options TEXT NOT NULL
    )
    """,
    """
    CREATE UNIQUE INDEX registrations_active ON registrations (scope, id)
    WHERE active = 1
    """,
    """
    CREATE INDEX registrations_undelivered ON registrations (scope, created_at)
    WHERE delivered = 0
    """,
    """
    CREATE INDEX registrations_history ON registrations (scope, settled_at)
    WHERE active = 0
    """,
    """
    CREATE TABLE records (
        uid TEXT NOT NULL REFERENCES registrations (uid) ON DELETE CASCADE,
        idx INTEGER NOT NULL CHECK (idx >= 0),
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        stored INTEGER NOT NULL CHECK (stored >= 0),
        size INTEGER,
        wire INTEGER NOT NULL CHECK (wire >= 0),
        encoded INTEGER NOT NULL,
        announced INTEGER NOT NULL,
        failure_reason TEXT NOT NULL,
        method TEXT NOT NULL,
        url TEXT NOT NULL,
        path TEXT,
        error TEXT NOT NULL,
        head TEXT,
        request TEXT NOT NULL,
        PRIMARY KEY (uid, idx)
    )
    """,
    """
    CREATE TRIGGER records_counted AFTER UPDATE OF stored ON records
    WHEN new.stored != old.stored
    BEGIN
        UPDATE registrations SET downloaded = downloaded + new.stored - old.stored
        WHERE uid = new.uid;
    END
    """,
    "CREATE TABLE totals (downloaded INTEGER NOT NULL)",
    "INSERT INTO totals (downloaded) VALUES (0)",
    """
    CREATE TRIGGER totals_insert AFTER INSERT ON registrations
    BEGIN
        UPDATE totals SET downloaded = downloaded + new.downloaded;
    END
    """,
    """
    CREATE TRIGGER totals_update AFTER UPDATE OF downloaded ON registrations
    BEGIN
        UPDATE totals SET downloaded = downloaded + new.downloaded - old.downloaded;
    END
    """,
    """
    CREATE TRIGGER totals_delete AFTER DELETE ON registrations
    BEGIN
        UPDATE totals SET downloaded = downloaded - old.downloaded;
    END
    """,
)

# ``checksums``; kept bytes of failures, found by their id; an end of the history,
# whose files stay and are counted on.
VERSION_2 = (
    "ALTER TABLE records ADD COLUMN checksums TEXT NOT NULL DEFAULT '{}'",
    """
    CREATE INDEX records_kept ON records (uid, idx)
    WHERE failure_reason != '' AND stored > 0
    """,
    """
    CREATE INDEX registrations_settled ON registrations (scope, id, settled_at)
    WHERE active = 0
    """,
    """
    ALTER TABLE registrations ADD COLUMN
        forgotten INTEGER NOT NULL DEFAULT 0 CHECK (forgotten = 0 OR delivered = 1)
    """,
    """
    CREATE INDEX registrations_delivered
    ON registrations (scope, delivered, forgotten, settled_at)
    """,
    "DROP TRIGGER totals_delete",
)

# ``attempts`` that have ended; those that a dead process left have no row. ``uploaded``
# by record, which that of its registration follows. ``not_modified``.
VERSION_3 = (
    """
    CREATE TABLE attempts (
        uid TEXT NOT NULL,
        idx INTEGER NOT NULL,
        number INTEGER NOT NULL,
        started_at REAL NOT NULL,
        ended_at REAL NOT NULL,
        status INTEGER,
        wire INTEGER NOT NULL,
        before INTEGER NOT NULL,
        after INTEGER NOT NULL,
        taken TEXT NOT NULL,
        outcome TEXT NOT NULL,
        range TEXT NOT NULL,
        if_range TEXT NOT NULL,
        content_range TEXT NOT NULL,
        content_encoding TEXT NOT NULL,
        etag TEXT NOT NULL,
        last_modified TEXT NOT NULL,
        error TEXT NOT NULL,
        urls TEXT NOT NULL,
        PRIMARY KEY (uid, idx, number),
        FOREIGN KEY (uid, idx) REFERENCES records (uid, idx) ON DELETE CASCADE
    ) WITHOUT ROWID
    """,
    """
    ALTER TABLE records ADD COLUMN
        uploaded INTEGER NOT NULL DEFAULT 0 CHECK (uploaded >= 0)
    """,
    """
    CREATE TRIGGER records_uploaded AFTER UPDATE OF uploaded ON records
    WHEN new.uploaded != old.uploaded
    BEGIN
        UPDATE registrations SET uploaded = uploaded + new.uploaded - old.uploaded
        WHERE uid = new.uid;
    END
    """,
    "ALTER TABLE records ADD COLUMN not_modified INTEGER NOT NULL DEFAULT 0",
)

# ``segments``: where the stored bytes are when they are not one stretch from the first
# on. ``connections`` of an attempt.
VERSION_4 = (
    "ALTER TABLE records ADD COLUMN segments TEXT",
    "ALTER TABLE attempts ADD COLUMN connections INTEGER NOT NULL DEFAULT 1",
)


def _execute(statements: Sequence[str], con: sqlite3.Connection) -> None:
    for statement in statements:
        con.execute(statement)


MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {
    1: partial(_execute, VERSION_2),
    2: partial(_execute, VERSION_3),
    3: partial(_execute, VERSION_4),
}
"""For each older version, the function that takes its database one version up."""


def prepare(
    con: sqlite3.Connection,
    *,
    version: int = SCHEMA_VERSION,
    migrations: Mapping[int, Callable[[sqlite3.Connection], None]] = MIGRATIONS,
) -> None:
    """Bring the database of ``con`` to ``version``: create it or migrate it.

    All of it happens in one transaction, which writes in any case: a database
    that cannot be written is found out here.

    :raises StoreError: it belongs to another program or to a newer release;
        it was not touched.
    """
    con.execute("BEGIN IMMEDIATE")
    try:
        found = check(con, version)
        if found == 0:
            _create(con)
        for step in range(max(found, 1), version):
            migrations[step](con)
        con.execute(f"PRAGMA user_version = {version:d}")
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def check(con: sqlite3.Connection, version: int = SCHEMA_VERSION) -> int:
    """Return the schema version of the database, 0 when it is empty.

    To be called in a transaction, as another process may be creating it.

    :raises StoreError: it belongs to another program or to a newer release.
    """
    (application,) = con.execute("PRAGMA application_id").fetchone()
    (found,) = con.execute("PRAGMA user_version").fetchone()
    (tables,) = con.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == found == tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise StoreError(
            "it is a database of another program: point BGFETCH_DIR elsewhere"
        )
    if found > version:
        raise StoreError(
            f"it has schema version {found}, this release of scrapy-bgfetch reads "
            f"up to {version}: upgrade scrapy-bgfetch, or point BGFETCH_DIR elsewhere"
        )
    return int(found)


def _create(con: sqlite3.Connection) -> None:
    _execute(VERSION_1, con)
    con.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
