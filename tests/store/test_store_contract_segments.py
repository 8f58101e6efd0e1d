"""Where the stored bytes of a record are: tested on every store."""

from __future__ import annotations

import pytest
from attrs import evolve
from store_samples import (
    FAILURES,
    HEAD,
    KEPT,
    NONE,
    OVER,
    STALE,
    begin,
    downloaded,
    end,
    log,
    records,
    registration,
)

from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.store.base import Mark

TWO = ((0, 10), (50, 60))
ERROR = FailureReason.FETCH_ERROR


async def segments(store, uid="u"):
    (record,) = await store.records(uid)
    return record.stored, record.segments


async def test_a_mark_says_where_the_bytes_are(store):
    await begin(store)
    assert await segments(store) == (0, ())
    assert await store.checkpoint([Mark("u", 0, 1, 20, segments=TWO)]) == [KEPT]
    assert await segments(store) == (20, TWO)
    assert await downloaded(store) == 20
    assert await store.release("u", 0, 1) == KEPT
    assert await segments(store) == (20, TWO)


async def test_the_next_mark_says_it_anew(store):
    await begin(store)
    later = ((0, 30), (50, 70))
    for stored, said in ((20, TWO), (50, later), (60, ())):
        await store.checkpoint([Mark("u", 0, 1, stored, segments=said)])
        assert await segments(store) == (stored, said)


async def test_a_mark_that_is_not_kept_changes_nothing(store):
    await begin(store, download_total=30)
    await store.checkpoint([Mark("u", 0, 1, 20, segments=TWO)])
    late = [Mark("u", 0, 0, 5), Mark("u", 0, 1, 31, segments=((0, 31),))]
    assert await store.checkpoint(late) == [STALE, OVER]
    assert await segments(store) == (20, TWO)


@pytest.mark.parametrize("reason", [NONE, *FAILURES])
async def test_an_end_says_where_the_bytes_are(store, reason):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 20, segments=TWO)])
    await store.settle_records([end(reason=reason, stored=60)])
    assert await segments(store) == (60, ())


async def test_what_settle_aborts_has_no_bytes_anywhere(store):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 20, segments=TWO)])
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    assert await segments(store) == (0, ())


async def test_kept_bytes_are_where_they_were_and_go_on_there(store):
    await begin(store)
    await store.settle_records([end(reason=ERROR, stored=20, segments=TWO)])
    await store.settle("u", Result.FAILURE, ERROR, 1.0)
    (kept,) = await store.kept("s", "my-fetch")
    assert (kept.stored, kept.segments) == (20, TWO)
    new = [evolve(records(1, "v")[0], stored=20, segments=TWO, size=90, head=HEAD)]
    await store.register(registration("v", downloaded=20), new, [("u", 0)])
    assert await segments(store, "v") == (20, TWO)
    assert await segments(store, "u") == (0, ())


async def test_an_attempt_says_how_many_connections_it_had(store):
    await begin(store)
    await store.release("u", 0, 1, log(connections=4))
    assert await store.attempts("u") == [log(connections=4)]
