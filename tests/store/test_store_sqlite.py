"""What is particular to the SQLite store: files, versions, faults, grouped commits."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import stat
import subprocess
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import RecordRow, RegistrationRow, Result
from scrapy_bgfetch.store import rows, schema, statements
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
    assert [file.name for file in tmp_path.iterdir()] == [name]


async def test_the_connection_is_set_up_for_safety_and_speed(store):
    assert await pragma(store, "journal_mode") == "wal"
    assert await pragma(store, "synchronous") == 1
    assert await pragma(store, "foreign_keys") == 1
    assert await pragma(store, "busy_timeout") == 10_000
    assert await pragma(store, "user_version") == schema.SCHEMA_VERSION
    assert await pragma(store, "application_id") == schema.APPLICATION_ID


async def test_close_leaves_one_file_and_no_thread(path):
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(), records(1))
    await store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]
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
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
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


# -- migrations --------------------------------------------------------------------


def test_every_older_version_can_be_migrated():
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.SCHEMA_VERSION))


def add_column(con):
    con.execute("ALTER TABLE registrations ADD COLUMN color TEXT DEFAULT 'red'")


def break_down(con):
    con.execute("UPDATE registrations SET color = 'blue'")
    raise sqlite3.OperationalError("broken")


@pytest.fixture
async def version_1(path):
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(), records(1))
    await store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        yield con


async def test_an_older_database_is_migrated_step_by_step(version_1):
    steps = []
    migrations = {
        1: lambda con: (steps.append(1), add_column(con)),
        2: lambda con: steps.append(2),
    }
    schema.prepare(version_1, version=3, migrations=migrations)
    schema.prepare(version_1, version=3, migrations=migrations)
    assert steps == [1, 2]
    assert version_1.execute("SELECT uid, color FROM registrations").fetchall() == [
        ("u", "red")
    ]
    assert version_1.execute("PRAGMA user_version").fetchone() == (3,)


async def test_a_migration_that_fails_leaves_the_database_as_it_was(version_1):
    before = list(version_1.iterdump())
    with pytest.raises(sqlite3.OperationalError, match="broken"):
        schema.prepare(version_1, version=3, migrations={1: add_column, 2: break_down})
    assert list(version_1.iterdump()) == before
    assert version_1.execute("PRAGMA user_version").fetchone() == (1,)


# -- grouped commits ---------------------------------------------------------------


async def trace(store):
    said = []
    await store._run(lambda con: con.set_trace_callback(said.append))
    said.clear()
    return said


async def held(store):
    """Occupy the store's thread; return the event that lets it go on."""
    go_on, here = threading.Event(), threading.Event()
    held = asyncio.ensure_future(store._run(lambda con: (here.set(), go_on.wait(30))))
    await asyncio.to_thread(here.wait, 30)
    return go_on, held


async def test_what_waits_together_is_committed_together(store):
    await store.register(registration(), records(32))
    for index in range(32):
        await store.claim("u", index)
    said = await trace(store)
    go_on, first = await held(store)
    marks = [
        asyncio.ensure_future(store.checkpoint([Mark("u", index, 1, 10)]))
        for index in range(32)
    ]
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*marks) == [[Verdict.KEPT]] * 32
    await first
    assert said.count("COMMIT") <= 2  # the one that held the thread, and the group


async def test_one_that_raises_in_a_group_is_undone_alone(store):
    said = await trace(store)
    go_on, first = await held(store)
    broken = RecordRow("b", 1, "https://example.org/", request={"a": object()})
    waiters = [
        asyncio.ensure_future(waiter)
        for waiter in [
            store.register(registration("a"), records(1, "a")),
            store.register(registration("b"), [*records(1, "b"), broken]),
            store.register(registration("c"), records(2, "c")[:1] * 2),
            store.register(registration("d"), records(1, "d")),
        ]
    ]
    await asyncio.sleep(0)
    go_on.set()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    await first
    expected = [type(None), TypeError, StoreError, type(None)]
    assert [type(outcome) for outcome in outcomes] == expected
    assert isinstance(outcomes[2].__cause__, sqlite3.IntegrityError)
    assert said.count("COMMIT") <= 2
    assert [row.uid for row in await store.undelivered("s")] == ["a", "d"]
    assert await store.records("b") == []


async def test_a_cancelled_waiter_and_a_closed_loop_do_not_stop_the_thread(store):
    await store.register(registration(), records(1))
    go_on, first = await held(store)
    cancelled = asyncio.ensure_future(store.claim("u", 0))
    behind_it = asyncio.ensure_future(store.claim("u", 0))
    await asyncio.sleep(0)
    cancelled.cancel()

    def leave_a_loop():
        loop = asyncio.new_event_loop()
        waiter = loop.create_task(store.claim("u", 0))
        loop.run_until_complete(asyncio.sleep(0))
        waiter.cancel()
        loop.run_until_complete(asyncio.gather(waiter, return_exceptions=True))
        loop.close()

    await asyncio.to_thread(leave_a_loop)
    go_on.set()
    await first
    assert await asyncio.wait_for(behind_it, 30) == 2
    assert await store.claim("u", 0) == 4


async def test_the_store_serves_several_event_loops(store):
    await store.register(registration(), records(1))

    async def claims():
        return [await store.claim("u", 0) for _ in range(20)]

    per_loop = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, claims()) for _ in range(4))
    )
    assert sorted(attempt for each in per_loop for attempt in each) == list(
        range(1, 81)
    )


# -- faults at run time ------------------------------------------------------------


def big(uid):
    return registration(uid, title="x" * 3_000_000)


async def test_a_full_database_is_a_store_error_and_the_rest_goes_on(store):
    await store.register(registration(), records(1))
    limit = "PRAGMA max_page_count = 60"
    await store._run(lambda con: con.execute(limit).fetchone())
    with pytest.raises(StoreError, match="full: free some space") as caught:
        await store.register(big("v"), records(1, "v"))
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert await store.get("v") is None
    assert await store.claim("u", 0) == 1


async def group_that_fails(store):
    """Ask for two statements in one group, whose commit does not succeed."""
    go_on, first = await held(store)
    waiters = [
        asyncio.ensure_future(store.claim("u", 0)),
        asyncio.ensure_future(store.register(big("v"), records(1, "v"))),
    ]
    await asyncio.sleep(0)
    go_on.set()
    await first
    return await asyncio.gather(*waiters, return_exceptions=True)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_fails_the_whole_group_and_keeps_nothing_of_it(small_disk):
    store = SQLiteStore(small_disk / "state.sqlite")
    await store.open()
    await store.register(registration(), records(1))
    outcomes = await group_that_fails(store)
    assert [type(outcome) for outcome in outcomes] == [StoreError] * 2
    assert all("full: free some space" in str(outcome) for outcome in outcomes)
    assert await store.claim("u", 0) == 1  # the claim of the group was not kept
    assert await store.get("v") is None
    await store.close()


async def test_a_commit_that_the_system_refuses_fails_the_whole_group(store):
    await store.register(registration(), records(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        outcomes = await group_that_fails(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [type(outcome) for outcome in outcomes] == [StoreError] * 2
    assert all(isinstance(said.__cause__, sqlite3.Error) for said in outcomes)
    assert await store.claim("u", 0) == 1
    assert await store.get("v") is None


async def test_a_commit_that_leaves_its_transaction_open_is_rolled_back(store):
    values = rows.record_values(*records(1, "nobody"))

    def break_a_reference(con):
        con.execute("PRAGMA defer_foreign_keys = ON")
        con.execute(statements.INSERT_RECORD, values)

    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await store._run(break_a_reference)
    assert await store.records("nobody") == []
    await store.register(registration(), records(1))


async def test_a_full_disk_at_open_is_a_store_error(small_disk):
    (small_disk / "filler").write_bytes(b"x" * (2**20 - 3 * 4096))
    await refusal(small_disk / "state.sqlite")


async def test_a_database_that_another_process_holds_is_a_store_error(path, store):
    await store._run(lambda con: con.execute("PRAGMA busy_timeout = 1").fetchone())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds it"):
            await store.stored_bytes()
        other.execute("ROLLBACK")
    assert await store.stored_bytes() == 0


# -- size --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "values", "index"),
    [
        (statements.UNDELIVERED, ("s",), "registrations_undelivered"),
        (statements.HISTORY, ("s", 9), "registrations_history"),
        (statements.ID_ACTIVE, ("s", "u"), "registrations_active"),
        (statements.RECORDS, ("u",), "sqlite_autoindex_records_1"),
    ],
)
async def test_a_query_over_much_history_walks_an_index_in_its_order(
    store, query, values, index
):
    plan = await store._run(
        lambda con: [
            row["detail"] for row in con.execute("EXPLAIN QUERY PLAN " + query, values)
        ]
    )
    (step,) = plan  # no second step that sorts
    assert step.startswith("SEARCH")
    assert index in step


async def test_a_settled_row_is_known_by_its_result(store):
    settled = registration(result=Result.SUCCESS, settled_at=1.0, delivered=True)
    values = rows.registration_values(settled)
    assert not values["active"]
    await store.register(settled, [])
    assert await store.history("s") == [settled]
