"""What is kept of background fetches that ended, on every store."""

from __future__ import annotations

import pytest
from store_samples import NONE, begin, end, records, registration

from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.store.base import Mark


async def settle(store, uid, at, *, count=1, stored=0, delivered=True, **values):
    """Let a background fetch end whose records have each stored so many bytes."""
    await begin(store, count, uid=uid, id=uid, **values)
    ends = [end(index, stored=stored, uid=uid) for index in range(count)]
    await store.settle_records(ends)
    await store.settle(uid, Result.SUCCESS, NONE, at)
    if delivered:
        await store.delivered(uid)


async def known(store, scope="s"):
    return [row.uid for row in await store.history(scope)]


async def test_history_is_what_has_settled_newest_first_up_to_the_limit(store):
    for uid in "abcd":
        await begin(store, uid=uid, id=uid)
    await begin(store, uid="x", id="x", scope="other")
    for uid, at in [("b", 1.0), ("d", 3.0), ("a", 2.0), ("x", 9.0)]:
        await store.settle(uid, Result.SUCCESS, NONE, at)
    await store.delivered("b")
    assert [row.uid for row in await store.history("s")] == ["d", "a", "b"]
    assert [row.uid for row in await store.history("s", 2)] == ["d", "a"]
    assert await store.history("s", 0) == []


async def test_stored_bytes_adds_up_active_and_settled_of_all_scopes(store):
    assert await store.stored_bytes() == 0
    await begin(store, 2)
    await begin(store, uid="x", id="x", scope="other")
    await store.checkpoint([Mark("u", 0, 1, 100), Mark("x", 0, 1, 7)])
    await store.settle_records([end(uid="x", stored=11)])
    await store.settle("x", Result.SUCCESS, NONE, 1.0)
    await store.checkpoint([Mark("u", 0, 1, 50), Mark("u", 1, 1, 2)])
    assert await store.stored_bytes() == 63


async def test_stored_bytes_falls_by_what_an_aborted_registration_had(store):
    await begin(store, 2)
    await begin(store, uid="x", id="x", scope="other")
    marks = [Mark("u", 0, 1, 100), Mark("u", 1, 1, 7), Mark("x", 0, 1, 11)]
    await store.checkpoint(marks)
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    assert await store.stored_bytes() == 11


async def test_last_settled_is_the_newest_of_that_scope_and_id(store):
    assert await store.last_settled("s", "a") is None
    for uid, at in [("u1", 5.0), ("u2", 7.0), ("u3", 6.0)]:
        await begin(store, uid=uid, id="a")
        await store.settle(uid, Result.SUCCESS, NONE, at)
    for uid, id, scope in [("u4", "b", "s"), ("u5", "a", "other")]:
        await begin(store, uid=uid, id=id, scope=scope)
        await store.settle(uid, Result.SUCCESS, NONE, 9.0)
    await begin(store, uid="active", id="a")
    assert await store.last_settled("s", "a") == await store.get("u2")
    assert (await store.last_settled("other", "a")).uid == "u5"


async def test_of_two_that_settled_at_one_time_the_later_registered_is_the_last(store):
    for uid in "vu":
        await begin(store, uid=uid, id="a")
        await store.settle(uid, Result.FAILURE, FailureReason.FETCH_ERROR, 1.0)
    assert (await store.last_settled("s", "a")).uid == "u"


async def test_what_was_forgotten_has_never_settled(store):
    await settle(store, "a", 1.0)
    await settle(store, "b", 2.0)
    await store.forget("s", 1)
    assert await store.last_settled("s", "a") is None
    assert (await store.last_settled("s", "b")).uid == "b"


# -- forgetting --------------------------------------------------------------------


async def test_forget_keeps_the_newest(store):
    for uid, at in [("a", 4.0), ("b", 1.0), ("c", 3.0), ("d", 2.0)]:
        await settle(store, uid, at, count=2)
    assert await store.forget("s", 2) is False
    assert await known(store) == ["a", "c"]
    for uid in "bd":
        assert await store.get(uid) is None
        assert await store.records(uid) == []
    assert len(await store.records("a")) == 2


@pytest.mark.parametrize("keep", [4, 5, 10**12])
async def test_there_may_be_nothing_to_forget(store, keep):
    for number, uid in enumerate("abcd"):
        await settle(store, uid, float(number))
    assert await store.forget("s", keep) is False
    assert await known(store) == ["d", "c", "b", "a"]


async def test_forget_knows_one_scope_only(store):
    await settle(store, "a", 1.0)
    await settle(store, "b", 1.0, scope="other")
    assert await store.forget("s", 0) is False
    assert await known(store) == []
    assert await known(store, "other") == ["b"]


async def test_what_is_active_or_undelivered_is_never_forgotten_nor_counted(store):
    await settle(store, "a", 2.0)
    await settle(store, "b", 1.0)
    await settle(store, "late", 9.0, delivered=False)
    await settle(store, "early", 0.0, delivered=False)
    await begin(store, uid="active", id="active")
    assert await store.forget("s", 1) is False
    assert await known(store) == ["late", "a", "early"]
    assert await store.get("active") is not None
    await store.forget("s", 0)
    assert await known(store) == ["late", "early"]


async def test_stored_bytes_counts_the_files_of_what_was_forgotten(store):
    await settle(store, "a", 1.0, count=3, stored=10)
    await settle(store, "b", 2.0, stored=5)
    await store.forget("s", 0)
    assert await store.stored_bytes() == 35


async def test_forget_drops_the_bytes_kept_of_failed_records(store):
    await begin(store, 3)
    ends = [end(index, reason=FailureReason.FETCH_ERROR, stored=7) for index in (0, 2)]
    await store.settle_records([*ends, end(1, stored=20)])
    await store.settle("u", Result.FAILURE, FailureReason.FETCH_ERROR, 1.0)
    await store.announced("u", 0, 1, 2)
    await store.delivered("u")
    await store.forget("s", 0)
    assert await store.parts() == await store.kept("s", "my-fetch") == []
    assert await store.stored_bytes() == 20


async def test_forgetting_many_records_is_done_in_pieces_of_which_nothing_is_seen(
    store,
):
    failed, count = FailureReason.FETCH_ERROR, 25_000
    await settle(store, "old", 1.0)
    await store.register(registration(), records(count))
    await store.settle_records([end(count - 1, 0, reason=failed, stored=7)])
    await store.settle("u", Result.FAILURE, failed, 2.0)
    await store.delivered("u")
    await settle(store, "new", 3.0)
    said = []
    while not said or said[-1]:
        said.append(await store.forget("s", 1))
        assert await known(store) == ["new"]
        assert await store.get("u") is None
        assert await store.records("u") == await store.kept("s", "my-fetch") == []
    assert said == [True, True, False]
    assert await store.stored_bytes() == 0
    assert len(await store.records("new")) == 1


async def test_forgetting_goes_on_after_close_and_open(make_store, tmp_path):
    first = make_store(tmp_path)
    await first.open()
    await first.register(registration(), records(10_001))
    await first.settle("u", Result.SUCCESS, NONE, 1.0)
    await first.delivered("u")
    assert await first.forget("s", 0) is True
    await first.close()
    second = make_store(tmp_path)
    await second.open()
    assert await second.records("u") == []
    assert await second.forget("s", 1) is False  # begun is begun
    assert await second.forget("s", 0) is False
    await second.register(registration(), records(1))  # as if it had never been
    assert await second.records("u") == records(1)
    await second.close()
