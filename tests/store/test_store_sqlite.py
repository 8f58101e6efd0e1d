"""What is particular to the SQLite store: files, versions, what cannot be used."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import Head, RecordRow, RegistrationRow, Result
from scrapy_bgfetch.store import adding, forgetting, rows, schema, statements
from scrapy_bgfetch.store.base import IdActive, Mark, Verdict
from scrapy_bgfetch.store.sqlite import SQLiteStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest.fixture
async def store(path):
    store = SQLiteStore(path)
    await store.open()
    yield store
    await store.close()


def registration(uid="u", **values):
    return RegistrationRow(uid=uid, id=uid, scope="s", **values)


def records(count, uid="u"):
    return [RecordRow(uid, index, "https://example.org/") for index in range(count)]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def pragma(store, name):
    read = f"PRAGMA {name}"
    return await store._run(lambda con: con.execute(read).fetchone()[0])


async def refusal(path):
    """Open a store that cannot be used and return what it says."""
    with pytest.raises(StoreError) as caught:
        await SQLiteStore(path).open()
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- files -------------------------------------------------------------------------


async def test_the_file_and_its_companions_are_for_the_owner_only(path, store):
    await store.register(registration(), records(1))
    companions = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    assert [mode(file) for file in companions] == [0o600] * 3


async def test_missing_folders_are_made_for_the_owner_only(tmp_path):
    store = SQLiteStore(tmp_path / "a" / "b" / "state.sqlite")
    await store.open()
    await store.close()
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700] * 2


@pytest.mark.parametrize("name", ["a b?c#d%41.db", "épisode.db", ":memory:"])
async def test_any_file_name_will_do(tmp_path, name):
    store = SQLiteStore(tmp_path / name)
    await store.open()
    await store.register(registration(), records(1))
    await store.close()
    reserve = Path(name).stem + ".reserve"
    assert {file.name for file in tmp_path.iterdir()} == {name, reserve}


async def test_the_connection_is_set_up_for_safety_and_speed(store):
    assert await pragma(store, "journal_mode") == "wal"
    assert await pragma(store, "synchronous") == 1
    assert await pragma(store, "foreign_keys") == 1
    assert await pragma(store, "busy_timeout") == 10_000
    assert await pragma(store, "user_version") == schema.SCHEMA_VERSION
    assert await pragma(store, "application_id") == schema.APPLICATION_ID


async def test_a_durable_store_syncs_each_commit(path):
    store = SQLiteStore(path, durable=True)
    await store.open()
    assert await pragma(store, "synchronous") == 2
    await store.close()


async def test_close_leaves_one_file_its_reserve_and_no_thread(path):
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(), records(1))
    await store.close()
    left = {file.name for file in path.parent.iterdir()}
    assert left == {path.name, "state.reserve"}
    assert "bgfetch-store" not in {thread.name for thread in threading.enumerate()}


async def test_two_stores_on_one_file_see_each_other(path, store):
    other = SQLiteStore(path)
    await other.open()
    await store.register(registration(), records(1))
    with pytest.raises(IdActive):
        await other.register(RegistrationRow("v", "u", "s"), records(1, "v"))
    assert [await other.claim("u", 0), await store.claim("u", 0)] == [1, 2]
    assert await other.checkpoint([Mark("u", 0, 1, 5)]) == [Verdict.STALE]
    await other.close()


async def test_two_stores_may_create_one_file_at_once(path):
    stores = [SQLiteStore(path) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    assert [await store.stored_bytes() for store in stores] == [0] * 8
    await asyncio.gather(*(store.close() for store in stores))


# -- what cannot be used -----------------------------------------------------------


async def test_a_newer_schema_is_refused_with_both_versions_and_left_alone(path):
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path)) as con:
        con.execute("PRAGMA user_version = 7")
    said = await refusal(path)
    assert "schema version 7" in said
    assert f"up to {schema.SCHEMA_VERSION}" in said
    assert "upgrade scrapy-bgfetch, or point BGFETCH_DIR elsewhere" in said
    with closing(sqlite3.connect(path)) as con:
        assert con.execute("PRAGMA user_version").fetchone() == (7,)


async def test_the_database_of_another_program_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as con:
        con.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path):
    path.write_text("not a database, a longer text than a header of SQLite " * 40)
    before = path.read_bytes()
    assert "not a database: move the file away" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_damaged_database_is_a_store_error(path):
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(), records(500))
    await store.close()
    whole = path.read_bytes()
    tail = 5 * 4096  # of records; the definitions of the tables come before
    path.write_bytes(whole[:-tail] + b"\xff" * tail)
    store = SQLiteStore(path)
    await store.open()
    with pytest.raises(StoreError, match="malformed: move the file away"):
        await store.register(registration("v"), records(1, "v"))
    await store.close()


async def test_a_directory_is_refused(tmp_path):
    assert "it is a directory" in await refusal(tmp_path)


async def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    await refusal(tmp_path / "file" / "state.sqlite")


@contextmanager
def unprivileged():
    """Run as a user whom permissions hold back (root is not)."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder():
    """Return a folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o777)


async def test_a_read_only_folder_is_refused(open_folder):
    open_folder.chmod(0o555)
    with unprivileged():
        assert "Permission denied" in await refusal(open_folder / "state.sqlite")


async def test_a_database_in_a_read_only_folder_is_refused(open_folder):
    path = open_folder / "state.sqlite"
    with unprivileged():
        store = SQLiteStore(path)
        await store.open()
        await store.close()
    open_folder.chmod(0o555)
    with unprivileged():
        await refusal(path)


async def test_a_read_only_file_is_refused(open_folder):
    path = open_folder / "state.sqlite"
    with unprivileged():
        store = SQLiteStore(path)
        await store.open()
        await store.close()
        path.chmod(0o400)
        assert "make it writable" in await refusal(path)


# -- size --------------------------------------------------------------------------


async def plan(store, query, values):
    explain = "EXPLAIN QUERY PLAN " + query
    return await store._run(
        lambda con: [row["detail"] for row in con.execute(explain, values)]
    )


@pytest.mark.parametrize(
    ("query", "values", "index"),
    [
        (statements.UNDELIVERED, ("s",), "registrations_undelivered"),
        (statements.HISTORY, ("s", 9), "registrations_history"),
        (adding.ID_ACTIVE, ("s", "u"), "registrations_active"),
        (forgetting.COUNT, ("s",), "COVERING INDEX registrations_delivered"),
        (forgetting.OLDEST, ("s", 0, 9), "registrations_delivered"),
        (statements.RECORDS, ("u",), "sqlite_autoindex_records_1"),
    ],
)
async def test_a_query_over_much_history_walks_an_index_in_its_order(
    store, query, values, index
):
    (step,) = await plan(store, query, values)  # no second step that sorts
    assert step.startswith("SEARCH")
    assert index in step


async def test_kept_bytes_are_found_by_their_id_without_a_scan(store):
    first, second, *rest = await plan(store, statements.KEPT, ("s", "u"))
    assert first.startswith("SEARCH")
    assert "registrations_settled (scope=? AND id=?)" in first
    assert second.startswith("SEARCH")
    assert "records_kept (uid=?)" in second
    assert not any("SCAN" in step for step in rest)


async def test_parts_are_found_by_the_indexes_of_what_may_have_one(store):
    steps = await plan(store, statements.PARTS, ())
    reads = [step for step in steps if step.startswith(("SCAN", "SEARCH"))]
    undelivered, theirs, kept = reads
    assert "registrations_undelivered" in undelivered
    assert theirs.startswith("SEARCH")
    assert "records_kept" in kept


async def test_a_settled_row_is_known_by_its_result(store):
    settled = registration(result=Result.SUCCESS, settled_at=1.0, delivered=True)
    values = rows.registration_values(settled)
    assert not values["active"]
    await store.register(settled, [])
    assert await store.history("s") == [settled]


def test_of_a_head_only_what_came_is_kept():
    head = Head("https://example.org/", 200, (("A", "b"), ("a", "c")))
    said = {"url": head.url, "status": 200, "headers": [["A", "b"], ["a", "c"]]}
    assert json.loads(rows.head_json(head)) == said
