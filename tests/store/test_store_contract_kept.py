"""Bytes of failed records, kept for later and adopted: tested on every store."""

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
    records,
    registration,
)

from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.store.base import IdActive, Mark

ERROR = FailureReason.FETCH_ERROR


async def leave(store, *stored, uid="u", at=1.0, **values):
    """Let a background fetch fail that keeps so many bytes of each record."""
    await begin(store, len(stored), uid=uid, **values)
    ends = [
        end(index, reason=ERROR, stored=kept, uid=uid)
        for index, kept in enumerate(stored)
    ]
    await store.settle_records(ends)
    await store.settle(uid, Result.FAILURE, ERROR, at)


async def keeps(store, id="my-fetch", scope="s"):
    kept = await store.kept(scope, id)
    return [(record.uid, record.index, record.stored) for record in kept]


def taken_over(*stored, uid="v"):
    return [
        evolve(record, stored=bytes_, size=100, head=HEAD, encoded=True)
        for record, bytes_ in zip(records(len(stored), uid), stored, strict=True)
    ]


# -- what is kept ------------------------------------------------------------------


async def test_kept_are_the_failed_records_of_an_id_the_last_settled_first(store):
    await leave(store, 3, 0, 5, uid="a", at=1.0)
    await leave(store, 7, uid="b", at=3.0)
    await leave(store, 9, uid="c", at=2.0)
    await leave(store, 1, uid="d", id="other")
    await leave(store, 1, uid="e", scope="other")
    assert await keeps(store) == [("b", 0, 7), ("c", 0, 9), ("a", 0, 3), ("a", 2, 5)]


async def test_kept_records_come_back_whole(store):
    await begin(store)
    await store.keep_head("u", 0, 1, HEAD, size=100, encoded=True)
    await store.settle_records([end(reason=ERROR, stored=40, error="why")])
    await store.settle("u", Result.FAILURE, ERROR, 1.0)
    assert await store.kept("s", "my-fetch") == await store.records("u")


async def test_what_succeeded_is_not_kept_for_others(store):
    await begin(store, 2)
    await store.settle_records([end(0, stored=10), end(1, stored=10)])
    await store.settle("u", Result.SUCCESS, NONE, 1.0)
    assert await keeps(store) == []


async def test_an_active_background_fetch_keeps_nothing_for_others(store):
    await begin(store, 2)
    await store.settle_records([end(0, reason=ERROR, stored=10)])
    assert await keeps(store) == []
    assert await downloaded(store) == 10


async def test_what_settle_aborts_itself_keeps_nothing(store):
    await begin(store, 2)
    await store.checkpoint([Mark("u", 0, 1, 10), Mark("u", 1, 1, 20)])
    await store.settle_records([end(1, reason=ERROR, stored=20)])
    await store.settle("u", Result.FAILURE, ERROR, 1.0)
    assert await keeps(store) == [("u", 1, 20)]
    assert await downloaded(store) == 20


# -- adoption ----------------------------------------------------------------------


async def test_register_takes_bytes_over_and_counts_them_once(store):
    await leave(store, 30, 5)
    row, new = registration("v", downloaded=30), taken_over(30, 0)
    await store.register(row, new, [("u", 0)])
    assert await store.get("v") == row
    assert await store.records("v") == new
    assert await keeps(store) == [("u", 1, 5)]
    assert (await downloaded(store), await store.stored_bytes()) == (5, 35)


async def test_extend_takes_bytes_over_and_counts_them_once(store):
    await leave(store, 30, 5)
    await store.register(registration("v"), records(1, "v"))
    record = taken_over(0, 30)[1]
    assert await store.extend("v", [record], [("u", 0)], grows=False) is KEPT
    assert (await store.records("v"))[1] == record
    assert await keeps(store) == [("u", 1, 5)]
    assert await downloaded(store, "v") == 30
    assert (await downloaded(store), await store.stored_bytes()) == (5, 35)


async def test_a_register_that_is_refused_adopts_nothing(store):
    await leave(store, 30)
    await store.register(registration("v"), records(1, "v"))
    with pytest.raises(IdActive):
        await store.register(
            registration("w", downloaded=30), taken_over(30, uid="w"), [("u", 0)]
        )
    assert await keeps(store) == [("u", 0, 30)]


async def test_a_register_that_miscounts_its_bytes_is_refused(store):
    await leave(store, 30)
    with pytest.raises(ValueError, match="not the sum"):
        await store.register(registration("v"), taken_over(30), [("u", 0)])
    assert await store.get("v") is None
    assert await keeps(store) == [("u", 0, 30)]


@pytest.mark.parametrize(("stored", "verdict"), [(20, KEPT), (21, OVER)])
async def test_an_extension_strictly_over_the_budget_is_refused(store, stored, verdict):
    """Behaviour 50."""
    await leave(store, stored)
    row = registration("v", download_total=30, downloaded=10)
    await store.register(row, taken_over(10))
    assert (
        await store.extend("v", taken_over(10, stored)[1:], [("u", 0)], grows=False)
        is verdict
    )
    kept = verdict is KEPT
    assert await downloaded(store, "v") == (10 + stored if kept else 10)
    assert len(await store.records("v")) == (2 if kept else 1)
    assert await keeps(store) == ([] if kept else [("u", 0, stored)])


async def test_an_extension_that_comes_too_late_adopts_nothing(store):
    await leave(store, 30)
    await leave(store, 0, uid="v")
    assert (
        await store.extend("v", taken_over(0, 30)[1:], [("u", 0)], grows=False) is STALE
    )
    assert await keeps(store) == [("u", 0, 30)]
    assert await downloaded(store, "v") == 0


async def test_only_what_failed_can_be_adopted(store):
    await begin(store, 2)
    await store.settle_records([end(0, stored=30)])
    await store.checkpoint([Mark("u", 1, 1, 7)])
    adopted = [("u", 0), ("u", 1), ("nobody", 0)]
    await store.register(registration("v", id="v"), records(1, "v"), adopted)
    assert [record.stored for record in await store.records("u")] == [30, 7]
    assert await store.stored_bytes() == 37


@pytest.mark.parametrize("reason", FAILURES)
async def test_adopted_bytes_go_on_like_others(store, reason):
    await leave(store, 30)
    row = registration("v", downloaded=30, download_total=50)
    await store.register(row, taken_over(30), [("u", 0)])
    assert await store.claim("v", 0) == 1
    assert await store.checkpoint([Mark("v", 0, 1, 50)]) == [KEPT]
    ends = [
        end(reason=reason, stored=51, uid="v"),
        end(reason=reason, stored=50, uid="v"),
    ]
    assert await store.settle_records(ends) == [OVER, KEPT]
    assert (await downloaded(store), await store.stored_bytes()) == (0, 50)


# -- parts -------------------------------------------------------------------------


async def test_kept_bytes_have_parts_until_they_are_adopted(store):
    await leave(store, 30, 0, 5)
    await store.announced("u", 0, 1, 2)
    await store.delivered("u")
    assert await store.parts() == [("u", 0), ("u", 2)]
    row = registration("v", downloaded=30)
    await store.register(row, taken_over(30), [("u", 0)])
    assert sorted(await store.parts()) == [("u", 2), ("v", 0)]


async def test_a_part_is_told_once_and_while_its_background_fetch_goes_on(store):
    await begin(store, 2)
    await store.settle_records([end(0, reason=ERROR, stored=10)])
    assert sorted(await store.parts()) == [("u", 0), ("u", 1)]
    await store.announced("u", 0)
    assert sorted(await store.parts()) == [("u", 0), ("u", 1)]


async def test_parts_are_of_what_is_not_announced_of_any_scope(store):
    assert await store.parts() == []
    await begin(store, 3)
    await store.extend("u", records(4)[3:], grows=False)
    await begin(store, 2, uid="x", id="x", scope="other")
    await store.settle_records([end(0), end(1, reason=FailureReason.FETCH_ERROR)])
    await store.announced("u", 0)
    await store.announced("u", 2)  # it has not settled
    left = [("u", 1), ("u", 2), ("u", 3), ("x", 0), ("x", 1)]
    assert sorted(await store.parts()) == left


async def test_records_may_have_parts_until_their_registration_is_delivered(store):
    await begin(store, 2)
    await begin(store, uid="x", id="x")
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    await store.announced("u", 0)
    assert sorted(await store.parts()) == [("u", 1), ("x", 0)]
    await store.delivered("u")
    await store.delivered("x")  # active: there was no event yet
    assert await store.parts() == [("x", 0)]


async def test_parts_are_the_same_after_close_and_open(make_store, tmp_path):
    first = make_store(tmp_path)
    await first.open()
    await begin(first, 2)
    await first.settle_records([end(0)])
    await first.announced("u", 0)
    await first.close()
    second = make_store(tmp_path)
    await second.open()
    assert await second.parts() == [("u", 1)]
    await second.close()
