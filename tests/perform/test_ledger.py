"""What is written down of a record whose end takes its time on the disk."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

from attrs import evolve

from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.model import FailureReason, RecordRow, RecordState, RegistrationRow
from scrapy_bgfetch.perform.ledger import Ledger
from scrapy_bgfetch.perform.live import Group, LiveRecord
from scrapy_bgfetch.settings import Settings
from scrapy_bgfetch.store.base import Verdict
from scrapy_bgfetch.store.sqlite import SQLiteStore

PATIENCE = 30  # seconds
URL = "https://example.org/"


class Held(LocalBodies):
    """Flushes that wait for ``go_on``."""

    def __init__(self, folder):
        super().__init__(folder / "parts", folder / "files")
        self.flushed = []
        self.held = None  # this one alone, if it is set
        self.begun, self.go_on = threading.Event(), threading.Event()

    def flush_parts(self, names):
        self.flushed += names
        if self.held in (None, *names):
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
        return super().flush_parts(names)


@asynccontextmanager
async def active(tmp_path, *, many=1):
    """Yield bodies, store, ledger and records of 10 bytes that are under way."""
    bodies, store = Held(tmp_path), SQLiteStore(tmp_path / "state.sqlite", durable=True)
    bodies.prepare()
    await store.open()
    registration = RegistrationRow("u", "u", "s")
    rows = [RecordRow("u", index, URL) for index in range(many)]
    await store.register(registration, rows)
    records = [LiveRecord(Group(registration), row) for row in rows]
    for record in records:
        record.attempt = await store.claim("u", record.index)
        part = bodies.open_part(record.part, 0)
        part.write(bytes(10))
        part.close()
        record.stored = record.wire = 10
    ledger = Ledger(store, bodies, evolve(Settings.defaults(), durability="power"))
    try:
        yield bodies, store, ledger, records
    finally:
        bodies.go_on.set()
        await store.close()


@asynccontextmanager
async def ending(tmp_path):
    """Yield what belongs to a record whose end waits for its flush.

    It is the bodies, the store, the ledger, the record, and the task that ends it.
    """
    async with active(tmp_path) as (bodies, store, ledger, (record,)):
        end = asyncio.ensure_future(ledger.end(record, FailureReason.NONE, path="x"))
        assert await asyncio.to_thread(bodies.begun.wait, PATIENCE)
        yield bodies, store, ledger, record, end


async def test_a_record_whose_end_is_written_down_is_not_marked_meanwhile(tmp_path):
    """A checkpoint would flush it once more, and wait for that."""
    async with ending(tmp_path) as (bodies, store, ledger, record, end):
        await asyncio.wait_for(ledger.mark([record]), PATIENCE)
        bodies.go_on.set()
        assert await end is Verdict.KEPT
        (row,) = await store.records("u")
    assert bodies.flushed == [record.part]
    assert (row.state, row.stored) == (RecordState.SETTLED, 10)


async def test_a_record_whose_end_was_given_up_is_marked_again(tmp_path):
    """The spider closes, and the disk is too slow for it."""
    async with ending(tmp_path) as (bodies, store, ledger, record, end):
        end.cancel()
        await asyncio.wait({end})
        bodies.go_on.set()
        await ledger.mark([record])
        (row,) = await store.records("u")
    assert (row.state, row.stored) == (RecordState.ACTIVE, 10)


async def test_bytes_over_the_wire_are_counted_when_the_end_overtakes_a_mark(tmp_path):
    """The mark waits for the slow file of another record."""
    async with active(tmp_path, many=2) as (bodies, store, ledger, (first, second)):
        bodies.held = second.part
        mark = asyncio.ensure_future(ledger.mark([first, second]))
        assert await asyncio.to_thread(bodies.begun.wait, PATIENCE)
        verdict = await ledger.end(first, FailureReason.NONE, path="x")
        bodies.go_on.set()
        await mark
        rows = await store.records("u")
    assert verdict is Verdict.KEPT
    assert [(row.stored, row.wire) for row in rows] == [(10, 10), (10, 10)]


async def test_hooks_that_keep_all_threads_do_not_keep_a_flush(tmp_path):
    leave = threading.Event()
    async with active(tmp_path) as (bodies, store, ledger, (record,)):
        bodies.go_on.set()
        hooks = [
            asyncio.ensure_future(asyncio.to_thread(leave.wait)) for _ in range(64)
        ]
        try:
            await asyncio.wait_for(ledger.mark([record]), PATIENCE)
        finally:
            leave.set()
            await asyncio.wait(hooks)
        (row,) = await store.records("u")
    assert row.stored == 10
