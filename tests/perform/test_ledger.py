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

PATIENCE = 60  # seconds
URL = "https://example.org/"


class Held(LocalBodies):
    """Flushes that wait for ``go_on``."""

    def __init__(self, folder):
        super().__init__(folder / "parts", folder / "files")
        self.flushed = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def flush_parts(self, names):
        self.flushed += names
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return super().flush_parts(names)


@asynccontextmanager
async def ending(tmp_path):
    """Yield what belongs to a record of 10 bytes whose end waits for its flush.

    It is the bodies, the store, the ledger, the record, and the task that ends it.
    """
    bodies, store = Held(tmp_path), SQLiteStore(tmp_path / "state.sqlite", durable=True)
    bodies.prepare()
    await store.open()
    registration, row = RegistrationRow("u", "u", "s"), RecordRow("u", 0, URL)
    await store.register(registration, [row])
    record = LiveRecord(Group(registration), row)
    record.attempt = await store.claim("u", 0)
    part = bodies.open_part(record.part, 0)
    part.write(bytes(10))
    part.close()
    record.stored = 10
    ledger = Ledger(store, bodies, evolve(Settings.defaults(), durability="power"))
    end = asyncio.ensure_future(ledger.end(record, FailureReason.NONE, path="x"))
    assert await asyncio.to_thread(bodies.begun.wait, PATIENCE)
    try:
        yield bodies, store, ledger, record, end
    finally:
        bodies.go_on.set()
        await store.close()


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
