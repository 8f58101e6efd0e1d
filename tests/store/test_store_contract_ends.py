"""How background fetches end by store/base.py, tested on every store."""

from __future__ import annotations

import asyncio

import pytest
from store_samples import (
    KEPT,
    NONE,
    STALE,
    begin,
    downloaded,
    end,
    records,
    registration,
)

from scrapy_bgfetch.model import FailureReason, RecordState, Result
from scrapy_bgfetch.store.base import Mark


async def test_a_registration_settles_once_with_its_first_result(store):
    """Behaviours 28 and 33."""
    await begin(store)
    failed = FailureReason.FETCH_ERROR
    assert await store.settle("u", Result.FAILURE, failed, 7.5) is KEPT
    assert await store.settle("u", Result.SUCCESS, NONE, 9.0) is STALE
    row = await store.get("u")
    assert (row.result, row.failure_reason) == (Result.FAILURE, failed)
    assert row.settled_at == 7.5


async def test_while_it_is_active_the_first_failure_is_its_reason(store):
    """B1: also those that one transaction settles have an order."""
    await begin(store, 4)
    bad, quota = FailureReason.BAD_STATUS, FailureReason.QUOTA_EXCEEDED
    assert await store.settle_records([end(3)]) == [KEPT]
    assert (await store.get("u")).failure_reason == NONE
    ends = [end(0, attempt=0, reason=bad), end(2, reason=quota), end(1, reason=bad)]
    assert await store.settle_records(ends) == [STALE, KEPT, KEPT]
    row = await store.get("u")
    assert (row.result, row.failure_reason) == (Result.UNSETTLED, quota)


async def test_the_reason_that_it_settles_with_replaces_the_first_failure(store):
    """Behaviour 33: an abort overrides it, and nothing changes it any more."""
    await begin(store, 2)
    failed = end(0, reason=FailureReason.BAD_STATUS)
    assert await store.settle_records([failed]) == [KEPT]
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 7.5)
    late = end(1, reason=FailureReason.FETCH_ERROR)
    assert await store.settle_records([late]) == [STALE]
    assert (await store.get("u")).failure_reason == FailureReason.ABORTED


async def test_of_racing_settles_exactly_one_is_kept(store):
    await begin(store)
    aborted = FailureReason.ABORTED
    verdicts = await asyncio.gather(
        *(store.settle("u", Result.FAILURE, aborted, float(at)) for at in range(5))
    )
    assert sorted(verdicts) == [KEPT] + [STALE] * 4


async def test_settling_an_unknown_registration_is_stale(store):
    assert await store.settle("nobody", Result.SUCCESS, NONE, 1.0) is STALE


async def test_the_empty_result_settles_nothing(store):
    await begin(store)
    with pytest.raises(ValueError, match="success or as failure"):
        await store.settle("u", Result.UNSETTLED, NONE, 1.0)
    assert await store.claim("u", 0) == 2


async def test_settling_aborts_what_has_not_settled_and_keeps_the_rest(store):
    """Behaviour 57."""
    await store.register(registration(), records(3))
    await store.claim("u", 0)
    await store.claim("u", 1)
    await store.checkpoint([Mark("u", 1, 1, 30, 25)])
    await store.settle_records([end(0, stored=10, path="u/0")])
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    found = await store.records("u")
    assert {record.state for record in found} == {RecordState.SETTLED}
    aborted = FailureReason.ABORTED
    assert [record.failure_reason for record in found] == [NONE, aborted, aborted]
    assert [record.stored for record in found] == [10, 0, 0]
    assert [record.wire for record in found] == [0, 25, 0]
    assert found[0].path == "u/0"
    assert await downloaded(store) == 10
    assert await store.stored_bytes() == 10


async def test_a_record_that_was_released_stores_nothing_once_it_is_aborted(store):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 30)])
    await store.release("u", 0, 1)
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    (record,) = await store.records("u")
    assert (record.failure_reason, record.stored) == (FailureReason.ABORTED, 0)
    assert await downloaded(store) == 0


async def test_a_settle_that_is_stale_drops_nothing(store):
    await begin(store)
    await store.settle_records([end(stored=10)])
    await store.settle("u", Result.SUCCESS, NONE, 1.0)
    before = await store.get("u"), await store.records("u")
    assert await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 2.0) is STALE
    assert (await store.get("u"), await store.records("u")) == before


async def test_the_id_is_free_as_soon_as_its_registration_has_settled(store):
    """Behaviours 28, 29 and 72."""
    await begin(store, uid="old")
    await store.settle("old", Result.SUCCESS, NONE, 1.0)
    await store.register(registration("new"), records(1, "new"))
    assert (await store.get("old")).id == (await store.get("new")).id
    assert len(await store.records("old")) == 1


async def test_an_old_handle_never_touches_a_new_registration_of_its_id(store):
    """Behaviours 73, 184."""
    await begin(store, uid="old")
    await store.settle("old", Result.FAILURE, FailureReason.ABORTED, 1.0)
    await begin(store, uid="new")
    before = await store.get("new"), await store.records("new")
    assert await store.settle("old", Result.SUCCESS, NONE, 2.0) is STALE
    assert await store.checkpoint([Mark("old", 0, 1, 5)]) == [STALE]
    assert await store.settle_records([end(uid="old", stored=5)]) == [STALE]
    await store.amend("old", title="x", paused=True)
    await store.delivered("old")
    assert (await store.get("new"), await store.records("new")) == before


async def test_undelivered_is_what_is_active_or_not_delivered_oldest_first(store):
    """Behaviour 27: the ids of what is active can be told from it."""
    for number, uid in enumerate(["c", "b", "a", "d"]):
        row = registration(uid, id=uid, created_at=float(number))
        await store.register(row, records(1, uid))
    await store.register(registration("x", id="x", scope="other"), records(1, "x"))
    for uid in "cb":
        await store.settle(uid, Result.SUCCESS, NONE, 1.0)
    await store.delivered("c")
    await store.delivered("d")  # active: there was no event yet
    found = await store.undelivered("s")
    assert [row.uid for row in found] == ["b", "a", "d"]
    assert [row.uid for row in found if not row.result] == ["a", "d"]
