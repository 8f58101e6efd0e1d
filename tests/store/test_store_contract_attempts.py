"""The log of attempts: written by what ends them, bounded, forgotten (N3)."""

from __future__ import annotations

import pytest
from store_samples import (
    KEPT,
    NONE,
    OVER,
    STALE,
    begin,
    end,
    log,
    records,
    registration,
)

from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.store.base import ATTEMPTS_KEPT

ABORTED = (Result.FAILURE, FailureReason.ABORTED)


async def numbers(store, uid="u"):
    return [(row.index, row.number) for row in await store.attempts(uid)]


async def test_an_attempt_is_kept_as_it_is_when_it_is_released(store):
    await begin(store)
    assert await store.attempts("u") == []
    assert await store.release("u", 0, 1, log()) is KEPT
    assert await store.attempts("u") == [log()]


async def test_an_attempt_is_kept_when_its_record_settles(store):
    await begin(store)
    bare = log(status=None, urls=(), range="", error="")
    assert await store.settle_records([end(log=bare)]) == [KEPT]
    assert await store.attempts("u") == [bare]


async def test_attempts_come_by_record_and_number(store):
    await begin(store, 2)
    for index, number in [(1, 1), (0, 1), (0, 2), (1, 2)]:
        await store.release("u", index, number, log(index, number))
        await store.claim("u", index)
    assert await numbers(store) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert await store.attempts("another") == []


async def test_a_stale_worker_leaves_no_attempt(store):
    await begin(store)
    await store.claim("u", 0)
    assert await store.release("u", 0, 1, log()) is STALE
    assert await store.settle_records([end(log=log())]) == [STALE]
    assert await store.attempts("u") == []


async def test_an_end_that_is_refused_leaves_no_attempt(store):
    await begin(store, download_total=10)
    ends = [end(stored=11, log=log())]
    assert await store.settle_records(ends) == [OVER]
    assert await store.attempts("u") == []
    assert await store.settle_records([end(stored=10, log=log())]) == [KEPT]
    assert await store.attempts("u") == [log()]


async def test_the_last_attempts_of_each_record_are_kept(store):
    await begin(store, 2)
    await store.release("u", 1, 1, log(1))
    last = ATTEMPTS_KEPT + 5
    for number in range(1, last + 1):
        await store.release("u", 0, number, log(0, number))
        await store.claim("u", 0)
    kept = [(0, number) for number in range(6, last + 1)]
    assert await numbers(store) == [*kept, (1, 1)]


async def test_settling_keeps_the_attempts_that_were_under_way_and_no_others(store):
    await begin(store, 4)
    await store.settle_records([end(0, log=log(0))])
    await store.release("u", 1, 1, log(1))
    await store.claim("u", 2)
    logs = [log(index, 1, error="late") for index in range(4)]
    assert await store.settle("u", *ABORTED, 1.0, logs=logs) is KEPT
    assert await store.attempts("u") == [log(0), log(1), logs[3]]
    assert await store.settle("u", *ABORTED, 2.0, logs=logs) is STALE
    assert await numbers(store) == [(0, 1), (1, 1), (3, 1)]


async def test_settling_keeps_no_more_than_the_last_attempts_either(store):
    await begin(store)
    for number in range(1, ATTEMPTS_KEPT + 1):
        await store.release("u", 0, number, log(0, number))
        await store.claim("u", 0)
    await store.settle("u", *ABORTED, 1.0, logs=[log(0, ATTEMPTS_KEPT + 1)])
    kept = await numbers(store)
    assert (len(kept), kept[0]) == (ATTEMPTS_KEPT, (0, 2))


async def test_attempts_survive_a_restart(make_store, tmp_path):
    store = make_store(tmp_path)
    await store.open()
    await begin(store)
    await store.release("u", 0, 1, log())
    await store.close()
    store = make_store(tmp_path)
    await store.open()
    assert await store.attempts("u") == [log()]
    await store.close()


async def test_attempts_are_forgotten_with_their_registration(store):
    for uid, at in [("a", 1.0), ("b", 2.0)]:
        await begin(store, uid=uid, id=uid)
        await store.settle_records([end(uid=uid, stored=5, log=log(uid=uid))])
        await store.settle(uid, Result.SUCCESS, NONE, at)
        await store.delivered(uid)
    assert await store.forget("s", 1) is False
    assert await store.attempts("a") == []
    assert await numbers(store, "b") == [(0, 1)]
    assert await store.stored_bytes() == 10


@pytest.mark.parametrize(("count", "calls"), [(4_000, 1), (10_000, 3)])
async def test_attempts_count_for_what_is_forgotten_at_once(store, count, calls):
    await store.register(registration(), records(count))
    ends = [end(n, 0, stored=1, log=log(n, 0)) for n in range(count)]
    await store.settle_records(ends)
    await store.settle("u", Result.SUCCESS, NONE, 1.0)
    await store.delivered("u")
    said = []
    while not said or said[-1]:
        said.append(await store.forget("s", 0))
        assert await store.attempts("u") == []
        assert await store.get("u") is None
    assert len(said) == calls
    assert await store.stored_bytes() == count
