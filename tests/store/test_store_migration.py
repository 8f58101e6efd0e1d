"""Databases of older releases: what was in them is there, and all goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from store_samples import HEAD, KEPT, end, log, records, registration

from scrapy_bgfetch.model import FailureReason, RecordState, Result
from scrapy_bgfetch.store import rows, schema
from scrapy_bgfetch.store.base import Mark
from scrapy_bgfetch.store.sqlite import SQLiteStore

NEXT = schema.SCHEMA_VERSION + 1

# As the first release made it.
VERSION_1 = """
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
    );
    CREATE UNIQUE INDEX registrations_active ON registrations (scope, id)
    WHERE active = 1;
    CREATE INDEX registrations_undelivered ON registrations (scope, created_at)
    WHERE delivered = 0;
    CREATE INDEX registrations_history ON registrations (scope, settled_at)
    WHERE active = 0;
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
    );
    CREATE TRIGGER records_counted AFTER UPDATE OF stored ON records
    WHEN new.stored != old.stored
    BEGIN
        UPDATE registrations SET downloaded = downloaded + new.stored - old.stored
        WHERE uid = new.uid;
    END;
    CREATE TABLE totals (downloaded INTEGER NOT NULL);
    INSERT INTO totals (downloaded) VALUES (0);
    CREATE TRIGGER totals_insert AFTER INSERT ON registrations
    BEGIN
        UPDATE totals SET downloaded = downloaded + new.downloaded;
    END;
    CREATE TRIGGER totals_update AFTER UPDATE OF downloaded ON registrations
    BEGIN
        UPDATE totals SET downloaded = downloaded + new.downloaded - old.downloaded;
    END;
    CREATE TRIGGER totals_delete AFTER DELETE ON registrations
    BEGIN
        UPDATE totals SET downloaded = downloaded - old.downloaded;
    END;
    PRAGMA application_id = 1650943604;
    PRAGMA user_version = 1;
    PRAGMA journal_mode = WAL;
"""
ACTIVE = registration(
    "u",
    title="Episode 5",
    icons=({"src": "/i.png"},),
    options={"fail_fast": True},
    expected=2,
    download_total=100,
    downloaded=40,
    created_at=2.5,
)
SETTLED = registration(
    "v",
    downloaded=7,
    result=Result.FAILURE,
    failure_reason=FailureReason.BAD_STATUS,
    delivered=True,
    settled_at=2.0,
)
RECORDS = {
    "u": [
        {"state": "active", "attempt": 3, "stored": 40, "size": 90, "wire": 55},
        {"state": "pending", "request": '{"a":"\\u00e9"}'},
    ],
    "v": [
        {"state": "settled", "stored": 7, "path": "v/a", "announced": 1},
        {"state": "settled", "failure_reason": "bad-status", "error": "404"},
    ],
}


def fill(con):
    """Write the samples as the first release did."""
    for row in (ACTIVE, SETTLED):
        insert(con, "registrations", rows.registration_values(row))
        for record, changes in zip(records(2, row.uid), RECORDS[row.uid], strict=True):
            values = rows.record_values(record) | changes
            values["idx"] = values.pop("index")
            for new in ("checksums", "uploaded", "not_modified", "segments"):
                del values[new]
            insert(con, "records", values)


def insert(con, table, values):
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    con.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest.fixture
def version_1(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        con.executescript(VERSION_1)
        fill(con)
    return path


@pytest.fixture
async def store(version_1):
    store = SQLiteStore(version_1)
    await store.open()
    yield store
    await store.close()


def structure(path):
    """Return all columns, indexes and triggers, whatever the spelling."""
    with closing(sqlite3.connect(path)) as con:
        found = con.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        columns = {
            name: con.execute(f"PRAGMA table_xinfo({name})").fetchall()
            for kind, name, _ in found
            if kind == "table"
        }
        others = {
            (kind, name): sql and " ".join(sql.split())
            for kind, name, sql in found
            if kind != "table"
        }
        return columns, others, con.execute("PRAGMA user_version").fetchone()


def as_it_is(path, query):
    with closing(sqlite3.connect(path)) as con:
        return con.execute(query).fetchall()


# -- from version 1 ----------------------------------------------------------------


async def test_all_registrations_and_records_of_version_1_are_there(store):
    assert await store.undelivered("s") == [ACTIVE]
    assert await store.history("s") == [SETTLED]
    first, second = await store.records("u")
    assert (first.state, first.attempt) == (RecordState.ACTIVE, 3)
    assert (first.stored, first.size, first.wire) == (40, 90, 55)
    assert second.request == {"a": "é"}
    succeeded, failed = await store.records("v")
    assert (succeeded.stored, succeeded.path, succeeded.announced) == (7, "v/a", True)
    assert (failed.failure_reason, failed.error) == (SETTLED.failure_reason, "404")
    assert {record.checksums == {} for record in [first, second, succeeded]} == {True}
    assert await store.stored_bytes() == 47


async def test_no_value_of_version_1_is_changed(version_1):
    # The new columns come last.
    before = as_it_is(version_1, "SELECT * FROM records ORDER BY uid, idx")
    above = as_it_is(version_1, "SELECT * FROM registrations ORDER BY uid")
    store = SQLiteStore(version_1)
    await store.open()
    await store.close()
    after = as_it_is(version_1, "SELECT * FROM records ORDER BY uid, idx")
    assert after == [(*row, "{}", 0, 0, None) for row in before]
    after = as_it_is(version_1, "SELECT * FROM registrations ORDER BY uid")
    assert after == [(*row, 0) for row in above]
    assert as_it_is(version_1, "PRAGMA integrity_check") == [("ok",)]
    assert as_it_is(version_1, "PRAGMA foreign_key_check") == []


async def test_background_fetches_of_version_1_go_on(store):
    assert await store.checkpoint([Mark("u", 0, 3, 60, 20)]) == [KEPT]
    await store.keep_head("u", 0, 3, HEAD, size=90, encoded=False)
    checksums = {"sha256": "00ff"}
    ends = [end(0, 3, stored=90, checksums=checksums)]
    assert await store.settle_records(ends) == [KEPT]
    ends = [end(1, 0, FailureReason.FETCH_ERROR, 5)]
    assert await store.settle_records(ends) == [KEPT]
    await store.settle("u", Result.FAILURE, FailureReason.FETCH_ERROR, 3.0)
    await store.delivered("u")
    first, second = await store.records("u")
    assert (first.stored, first.checksums) == (90, checksums)
    assert await store.kept("s", "my-fetch") == [second]
    assert await store.forget("s", 0) is False
    assert await store.stored_bytes() == 97  # 5 had no file


async def test_attempts_of_version_1_are_not_known_but_new_ones_are(store):
    assert await store.attempts("u") == await store.attempts("v") == []
    assert await store.release("u", 0, 3, log(number=3)) == KEPT
    assert await store.attempts("u") == [log(number=3)]


async def test_a_database_of_version_2_goes_on(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        con.executescript(VERSION_1)
        fill(con)
        schema.prepare(con, version=2)
    store = SQLiteStore(path)
    await store.open()
    assert [row.stored for row in await store.records("u")] == [40, 0]
    assert await store.settle_records([end(0, 3, stored=90, log=log(number=3))]) == [
        KEPT
    ]
    assert await store.attempts("u") == [log(number=3)]
    await store.close()


async def test_a_database_of_version_3_goes_on(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        con.executescript(VERSION_1)
        fill(con)
        schema.prepare(con, version=3)
    store = SQLiteStore(path)
    await store.open()
    assert [row.segments for row in await store.records("u")] == [(), ()]
    said = ((0, 40), (60, 70))
    assert await store.checkpoint([Mark("u", 0, 3, 50, segments=said)]) == [KEPT]
    assert (await store.records("u"))[0].segments == said
    await store.close()


async def test_a_migrated_database_is_like_a_new_one(version_1, tmp_path):
    new = tmp_path / "new.sqlite"
    for path in (version_1, new):
        store = SQLiteStore(path)
        await store.open()
        await store.close()
    assert structure(version_1) == structure(new)
    assert structure(new)[2] == (schema.SCHEMA_VERSION,)


# -- any version -------------------------------------------------------------------


def test_every_older_version_can_be_migrated():
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.SCHEMA_VERSION))


def add_column(con):
    con.execute("ALTER TABLE registrations ADD COLUMN color TEXT DEFAULT 'red'")


def break_down(con):
    con.execute("UPDATE registrations SET color = 'blue'")
    raise sqlite3.OperationalError("broken")


@pytest.fixture
async def con(path):
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(result=Result.SUCCESS, settled_at=1.0), [])
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        yield con


async def test_an_older_database_is_migrated_step_by_step(con):
    steps = []
    migrations = {
        NEXT - 1: lambda con: (steps.append(1), add_column(con)),
        NEXT: lambda con: steps.append(2),
    }
    schema.prepare(con, version=NEXT + 1, migrations=migrations)
    schema.prepare(con, version=NEXT + 1, migrations=migrations)
    assert steps == [1, 2]
    found = con.execute("SELECT uid, color FROM registrations").fetchall()
    assert found == [("u", "red")]
    assert con.execute("PRAGMA user_version").fetchone() == (NEXT + 1,)


async def test_a_migration_that_fails_leaves_the_database_as_it_was(con):
    before = list(con.iterdump())
    migrations = {NEXT - 1: add_column, NEXT: break_down}
    with pytest.raises(sqlite3.OperationalError, match="broken"):
        schema.prepare(con, version=NEXT + 1, migrations=migrations)
    assert list(con.iterdump()) == before
    assert con.execute("PRAGMA user_version").fetchone() == (NEXT - 1,)
