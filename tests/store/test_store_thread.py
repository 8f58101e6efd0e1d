"""What is particular to the SQLite store: grouped commits, faults at run time."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import threading
from contextlib import closing

import pytest

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import FailureReason, RecordRow, RegistrationRow, Result
from scrapy_bgfetch.store import adding, rows
from scrapy_bgfetch.store.base import Mark, Verdict
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


async def refusal(path):
    """Open a store that cannot be used and return what it says."""
    with pytest.raises(StoreError) as caught:
        await SQLiteStore(path).open()
    assert str(path) in str(caught.value)
    return str(caught.value)


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


async def test_what_comes_in_one_turn_of_the_event_loop_is_committed_together(store):
    await store.register(registration(), records(32))
    said = await trace(store)
    await asyncio.gather(*(store.claim("u", index) for index in range(32)))
    assert said.count("COMMIT") == 1


async def test_where_nothing_fails_there_are_no_savepoints(store):
    said = await trace(store)
    await store.register(registration(), records(1))
    assert "COMMIT" in said
    assert not any("SAVEPOINT" in one for one in said)


async def test_deliveries_wait_for_others_to_share_their_statement(store):
    said = await trace(store)
    waiting = []
    for number in range(20):
        waiting.append(asyncio.ensure_future(store.delivered(str(number))))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert said.count("COMMIT") == 1
    assert sum("delivered = 1" in one for one in said) == 1


async def test_a_delivery_is_kept_though_its_waiter_is_cancelled_or_the_store_closed(
    path,
):
    store = SQLiteStore(path)
    await store.open()
    for uid in "ab":
        await store.register(registration(uid), records(1, uid))
        await store.settle(uid, Result.SUCCESS, FailureReason.NONE, 1.0)
    first = asyncio.ensure_future(store.delivered("a"))
    second = asyncio.ensure_future(store.delivered("b"))
    await asyncio.sleep(0)
    first.cancel()
    await store.close()
    await second
    await store.open()
    assert await store.undelivered("s") == []
    await store.close()


async def test_what_came_in_the_turn_of_the_end_is_committed(path):
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(), records(1))
    claim = asyncio.ensure_future(store.claim("u", 0))
    close = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    await close
    assert await claim == 1


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
        con.execute(adding.INSERT_RECORD, values)

    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await store._run(break_a_reference)
    assert await store.records("nobody") == []
    await store.register(registration(), records(1))


async def test_a_database_that_another_process_holds_is_a_store_error(path, store):
    await store._run(lambda con: con.execute("PRAGMA busy_timeout = 1").fetchone())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process holds it"):
            await store.stored_bytes()
        other.execute("ROLLBACK")
    assert await store.stored_bytes() == 0
