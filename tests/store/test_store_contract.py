"""What store/base.py promises, tested on every store."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import (
    FailureReason,
    Head,
    RecordRow,
    RecordState,
    RegistrationRow,
    Result,
)
from scrapy_bgfetch.store.base import IdActive, Mark, Settlement, Verdict

KEPT, STALE, OVER = Verdict.KEPT, Verdict.STALE, Verdict.OVER_BUDGET
NONE, BAD_STATUS = FailureReason.NONE, FailureReason.BAD_STATUS
HEAD = Head(
    "https://example.org/a", 200, (("ETag", '"\xe9"'), ("Via", "a"), ("Via", "b"))
)
UNEXPOSED = sorted(set(FailureReason) - {NONE, BAD_STATUS})


def registration(uid="u", id="my-fetch", scope="s", **values):
    return RegistrationRow(uid=uid, id=id, scope=scope, **values)


def records(count, uid="u"):
    return [
        RecordRow(uid=uid, index=index, url=f"https://example.org/{index}")
        for index in range(count)
    ]


async def begin(store, count=1, **values):
    """Register a background fetch and claim all its records (attempt 1)."""
    row = registration(**values)
    await store.register(row, records(count, row.uid))
    for index in range(count):
        await store.claim(row.uid, index)


def end(index=0, attempt=1, reason=NONE, stored=0, uid="u", **values):
    return Settlement(uid, index, attempt, reason, stored, **values)


async def downloaded(store, uid="u"):
    return (await store.get(uid)).downloaded


async def test_a_registration_and_its_records_come_back_as_they_were_given(store):
    row = registration(
        title="Épisode 5 \N{HEADPHONE}",
        icons=({"src": "/i.png", "sizes": "300x300"},),
        base_url="https://example.org/",
        download_total=2**40,
        upload_total=3,
        expected=2,
        options={"fail_fast": True, "nested": {"a": [1, None, 2.5]}},
        paused=True,
        created_at=1700000000.25,
    )
    record = RecordRow(
        uid="u",
        index=0,
        url="https://example.org/a",
        method="POST",
        request={"headers": {"A": ["b"]}, "body": "\ud800"},
        state=RecordState.ACTIVE,
        attempt=4,
        stored=10,
        size=20,
        wire=15,
        head=HEAD,
        encoded=True,
        path="u/a.mp3",
        error="what happened",
    )
    await store.register(row, [record])
    assert await store.get("u") == row
    assert await store.records("u") == [record]


async def test_get_of_an_unknown_uid_is_none_and_has_no_records(store):
    assert await store.get("nobody") is None
    assert await store.records("nobody") == []


async def test_what_was_kept_is_there_after_close_and_open(make_store, tmp_path):
    first = make_store(tmp_path)
    await first.open()
    await begin(first, 2)
    await first.checkpoint([Mark("u", 1, 1, 100, 90)])
    kept = await first.get("u"), await first.records("u")
    await first.close()
    second = make_store(tmp_path)
    await second.open()
    assert (await second.get("u"), await second.records("u")) == kept
    await second.close()


async def test_open_and_close_may_be_called_twice(make_store, tmp_path):
    store = make_store(tmp_path)
    await store.close()
    await store.open()
    await store.register(registration(), records(1))
    await store.open()
    assert await store.get("u") is not None
    await asyncio.gather(store.close(), store.close())
    await store.close()


async def test_close_finishes_what_is_under_way(make_store, tmp_path):
    store = make_store(tmp_path)
    await store.open()
    await begin(store)
    marks = [
        asyncio.ensure_future(store.checkpoint([Mark("u", 0, 1, stored)]))
        for stored in range(1, 2001)
    ]
    await asyncio.sleep(0)  # each has been asked for
    await store.close()
    assert await asyncio.gather(*marks) == [[KEPT]] * 2000
    await store.open()
    assert await downloaded(store) == 2000
    await store.close()


async def test_a_store_that_is_not_open_says_so(make_store, tmp_path):
    store = make_store(tmp_path)
    with pytest.raises(StoreError, match="not open"):
        await store.get("u")
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.get("u")


# -- register, append, amend -------------------------------------------------------


async def test_an_active_id_is_refused_and_nothing_is_kept(store):
    """Behaviours 16 and 19."""
    await store.register(registration("a"), records(1, "a"))
    with pytest.raises(IdActive):
        await store.register(registration("b"), records(3, "b"))
    assert await store.get("b") is None
    assert await store.records("b") == []


async def test_of_racing_registers_of_one_id_exactly_one_wins(store):
    """Behaviours 16 and 188."""
    uids = [f"u{number}" for number in range(5)]
    outcomes = await asyncio.gather(
        *(store.register(registration(uid), records(2, uid)) for uid in uids),
        return_exceptions=True,
    )
    assert sorted(map(repr, map(type, outcomes))) == sorted(
        map(repr, [type(None)] + [IdActive] * 4)
    )
    assert len(await store.undelivered("s")) == 1


async def test_one_id_may_be_active_in_two_scopes(store):
    """Behaviour 22."""
    await store.register(registration("a", scope="one"), records(1, "a"))
    await store.register(registration("b", scope="two"), records(1, "b"))
    assert [row.uid for row in await store.undelivered("one")] == ["a"]
    assert [row.uid for row in await store.undelivered("two")] == ["b"]


async def test_a_register_that_fails_in_its_records_keeps_nothing(store):
    """Behaviour 19."""
    broken = evolve(records(2)[1], request={"body": object()})
    with pytest.raises(TypeError):
        await store.register(registration(), [*records(1), broken])
    assert await store.get("u") is None
    await store.register(registration(), records(1))


async def test_a_record_of_another_registration_is_refused(store):
    with pytest.raises(ValueError, match="not of registration"):
        await store.register(registration("a"), records(1, "b"))
    assert await store.get("a") is None


async def test_two_records_of_one_number_are_refused(store):
    await store.register(registration(), records(1))
    with pytest.raises(StoreError):
        await store.append(records(1)[0])
    assert await store.records("u") == records(1)


async def test_append_adds_a_record_to_an_active_registration(store):
    await store.register(registration(), records(1))
    assert await store.append(records(2)[1]) is KEPT
    assert await store.records("u") == records(2)


async def test_append_to_a_settled_or_unknown_registration_is_stale(store):
    await store.register(registration(), records(1))
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    assert await store.append(records(2)[1]) is STALE
    assert await store.append(records(1, "nobody")[0]) is STALE
    assert len(await store.records("u")) == 1


async def test_records_are_in_the_order_of_their_numbers(store):
    """Flaw 197: 2 is before 10."""
    numbered = records(12)
    await store.register(registration(), numbered[::-2])
    for record in numbered[::2]:
        await store.append(record)
    assert [record.index for record in await store.records("u")] == list(range(12))


AMENDMENTS = {
    "title": "new",
    "icons": ({"src": "/new.png"},),
    "download_total": 77,
    "expected": 9,
    "paused": True,
    "options": {"a": [1]},
    "uploaded": 5,
}


@pytest.mark.parametrize("name", AMENDMENTS)
async def test_amend_changes_one_column_only(store, name):
    await store.register(registration(), records(1))
    await store.amend("u", **{name: AMENDMENTS[name]})
    assert await store.get("u") == registration(**{name: AMENDMENTS[name]})


async def test_amend_changes_many_columns_at_once(store):
    await store.register(registration(), records(1))
    await store.amend("u", **AMENDMENTS)
    assert await store.get("u") == registration(**AMENDMENTS)


@pytest.mark.parametrize("name", ["downloaded", "result", "active", "no_such_thing"])
async def test_amend_of_another_column_is_a_value_error_and_changes_nothing(
    store, name
):
    await store.register(registration(), records(1))
    with pytest.raises(ValueError, match=name):
        await store.amend("u", title="new", **{name: 1})
    assert await store.get("u") == registration()


async def test_a_settled_registration_is_not_amended(store):
    await store.register(registration(title="old"), records(1))
    await store.settle("u", Result.SUCCESS, NONE, 1.0)
    await store.amend("u", **AMENDMENTS)
    settled = registration(title="old", result=Result.SUCCESS, settled_at=1.0)
    assert await store.get("u") == settled


# -- attempts ----------------------------------------------------------------------


async def test_a_claim_begins_the_next_attempt(store):
    await store.register(registration(), records(1))
    assert [await store.claim("u", 0), await store.claim("u", 0)] == [1, 2]
    (record,) = await store.records("u")
    assert (record.state, record.attempt) == (RecordState.ACTIVE, 2)


async def test_racing_claims_get_different_attempts(store):
    await store.register(registration(), records(1))
    attempts = await asyncio.gather(*(store.claim("u", 0) for _ in range(8)))
    assert sorted(attempts) == list(range(1, 9))
    verdicts = await store.checkpoint([Mark("u", 0, at, at) for at in range(1, 9)])
    assert verdicts == [STALE] * 7 + [KEPT]


async def test_a_settled_or_unknown_record_cannot_be_claimed(store):
    await begin(store, 2)
    await store.settle_records([end(0)])
    assert await store.claim("u", 0) is None
    assert await store.claim("u", 99) is None
    await store.settle("u", Result.SUCCESS, NONE, 1.0)
    assert await store.claim("u", 1) is None


async def test_a_released_record_is_pending_and_keeps_its_bytes(store):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 100)])
    assert await store.release("u", 0, 1) is KEPT
    (record,) = await store.records("u")
    assert (record.state, record.stored) == (RecordState.PENDING, 100)
    assert await store.claim("u", 0) == 2


@pytest.mark.parametrize("attempt", [0, 1, 3])
async def test_a_statement_of_another_attempt_changes_nothing(store, attempt):
    await begin(store)
    await store.claim("u", 0)
    before = await store.get("u"), await store.records("u")
    assert await store.release("u", 0, attempt) is STALE
    kept = await store.keep_head("u", 0, attempt, HEAD, size=1, encoded=True)
    assert kept is STALE
    assert await store.checkpoint([Mark("u", 0, attempt, 5, 5)]) == [STALE]
    assert await store.settle_records([end(0, attempt, stored=5)]) == [STALE]
    assert (await store.get("u"), await store.records("u")) == before


async def test_a_released_attempt_may_not_mark_but_may_still_settle(store):
    await begin(store)
    await store.release("u", 0, 1)
    assert await store.release("u", 0, 1) is STALE
    assert await store.checkpoint([Mark("u", 0, 1, 5)]) == [STALE]
    head = await store.keep_head("u", 0, 1, HEAD, size=None, encoded=False)
    assert head is STALE
    aborted = end(0, 1, FailureReason.ABORTED)
    assert await store.settle_records([aborted]) == [KEPT]


async def test_a_head_is_kept_with_size_and_coding_and_replaced(store):
    await begin(store)
    assert await store.keep_head("u", 0, 1, HEAD, size=9, encoded=True) is KEPT
    (record,) = await store.records("u")
    assert (record.head, record.size, record.encoded) == (HEAD, 9, True)
    other = evolve(HEAD, status=206)
    assert await store.keep_head("u", 0, 1, other, size=None, encoded=False) is KEPT
    (record,) = await store.records("u")
    assert (record.head, record.size, record.encoded) == (other, None, False)


# -- checkpoints -------------------------------------------------------------------


async def test_a_mark_is_absolute_and_only_the_difference_is_counted(store):
    await begin(store, 2)
    for stored, wire in [(100, 40), (100, 0), (250, 10)]:
        assert await store.checkpoint([Mark("u", 0, 1, stored, wire)]) == [KEPT]
    await store.checkpoint([Mark("u", 1, 1, 7)])
    first, second = await store.records("u")
    assert (first.stored, first.wire, second.stored) == (250, 50, 7)
    assert await downloaded(store) == 257


async def test_downloaded_falls_when_a_record_restarts(store):
    """Behaviour 49."""
    await begin(store, 2)
    await store.checkpoint([Mark("u", 0, 1, 100), Mark("u", 1, 1, 30)])
    assert await store.checkpoint([Mark("u", 0, 1, 0)]) == [KEPT]
    assert await downloaded(store) == 30


@pytest.mark.parametrize(
    ("download_total", "stored", "verdict"),
    [(100, 99, KEPT), (100, 100, KEPT), (100, 101, OVER), (0, 2**50, KEPT)],
)
async def test_a_mark_strictly_over_the_budget_is_refused(
    store, download_total, stored, verdict
):
    """Behaviour 50: over all records, equality passes, 0 is no budget."""
    await begin(store, 2, download_total=download_total)
    await store.checkpoint([Mark("u", 0, 1, 60)])
    assert await store.checkpoint([Mark("u", 1, 1, stored - 60, 5)]) == [verdict]
    kept = stored if verdict is KEPT else 60
    assert await downloaded(store) == kept
    assert (await store.records("u"))[1].wire == (5 if verdict is KEPT else 0)


async def test_the_marks_of_one_call_are_judged_one_after_another(store):
    await begin(store, 3, download_total=100)
    verdicts = await store.checkpoint(
        [
            Mark("u", 0, 1, 80),
            Mark("u", 1, 1, 30),  # 110
            Mark("u", 2, 7, 1),
            Mark("u", 0, 1, 50),
            Mark("u", 1, 1, 50),  # 100
            Mark("u", 2, 1, 1),  # 101
        ]
    )
    assert verdicts == [KEPT, OVER, STALE, KEPT, KEPT, OVER]
    assert [record.stored for record in await store.records("u")] == [50, 50, 0]
    assert await downloaded(store) == 100


async def test_a_mark_that_adds_nothing_passes_a_budget_that_was_lowered(store):
    await begin(store, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 100)])
    await store.amend("u", download_total=10)
    marks = [Mark("u", 0, 1, 100), Mark("u", 0, 1, 50), Mark("u", 0, 1, 51)]
    assert await store.checkpoint(marks) == [KEPT, KEPT, OVER]


async def test_budgets_of_two_registrations_are_apart(store):
    await begin(store, download_total=10)
    await begin(store, uid="v", id="other", download_total=10)
    marks = [Mark("u", 0, 1, 10), Mark("v", 0, 1, 10)]
    assert await store.checkpoint(marks) == [KEPT, KEPT]


async def test_no_marks_have_no_verdicts(store):
    assert await store.checkpoint([]) == []
    assert await store.settle_records([]) == []


# -- how records end ---------------------------------------------------------------


async def test_a_record_settles_with_its_response(store):
    await begin(store)
    success = end(stored=20, wire=12, size=20, head=HEAD, path="u/a", error="")
    assert await store.settle_records([success]) == [KEPT]
    (record,) = await store.records("u")
    assert record == evolve(
        records(1)[0],
        state=RecordState.SETTLED,
        attempt=1,
        stored=20,
        wire=12,
        size=20,
        head=HEAD,
        path="u/a",
    )
    assert await downloaded(store) == 20


async def test_a_record_settles_once(store):
    await begin(store)
    twice = [end(stored=5), end(reason=FailureReason.FETCH_ERROR, stored=9)]
    assert await store.settle_records(twice) == [KEPT, STALE]
    assert await store.checkpoint([Mark("u", 0, 1, 9)]) == [STALE]
    (record,) = await store.records("u")
    assert (record.failure_reason, record.stored) == (NONE, 5)


async def test_a_settlement_without_a_response_leaves_the_one_kept_before(store):
    await begin(store)
    await store.keep_head("u", 0, 1, HEAD, size=9, encoded=False)
    await store.settle_records([end(stored=9)])
    (record,) = await store.records("u")
    assert (record.head, record.size, record.path) == (HEAD, 9, None)


@pytest.mark.parametrize("reason", UNEXPOSED)
async def test_a_reason_that_exposes_no_body_leaves_stored_as_it_was(store, reason):
    """Behaviour 6."""
    await begin(store, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 40, 40)])
    failed = end(reason=reason, stored=999, wire=3, error="why")
    assert await store.settle_records([failed]) == [KEPT]
    (record,) = await store.records("u")
    assert (record.failure_reason, record.error) == (reason, "why")
    assert (record.stored, record.wire, await downloaded(store)) == (40, 43, 40)


async def test_an_error_body_is_outside_of_budget_and_downloaded(store):
    await begin(store, 2, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 40), Mark("u", 1, 1, 60)])
    assert await store.settle_records([end(reason=BAD_STATUS, stored=500)]) == [KEPT]
    assert (await store.records("u"))[0].stored == 500
    assert await downloaded(store) == 60
    assert await store.stored_bytes() == 60


async def test_a_bad_status_of_the_same_length_still_leaves_downloaded(store):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 40)])
    await store.settle_records([end(reason=BAD_STATUS, stored=40)])
    assert await downloaded(store) == 0


async def test_a_settlement_over_the_budget_is_refused_and_changes_nothing(store):
    """Behaviour 50."""
    await begin(store, 2, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 60)])
    before = await store.get("u"), await store.records("u")
    ends = [end(1, stored=41, wire=9, path="x", error="x")]
    assert await store.settle_records(ends) == [OVER]
    assert (await store.get("u"), await store.records("u")) == before
    assert await store.settle_records([end(1, stored=40)]) == [KEPT]


async def test_a_record_that_was_never_claimed_settles_with_attempt_0(store):
    await store.register(registration(), records(2))
    ends = [end(0, 0, FailureReason.ABORTED), end(1, 1, FailureReason.ABORTED)]
    assert await store.settle_records(ends) == [KEPT, STALE]


async def test_only_a_settled_record_is_announced(store):
    await begin(store, 2)
    await store.settle_records([end(0)])
    await store.announced("u", 0)
    await store.announced("u", 1)
    assert [record.announced for record in await store.records("u")] == [True, False]


# -- how registrations end ---------------------------------------------------------


async def test_a_registration_settles_once_with_its_first_result(store):
    """Behaviours 28 and 33."""
    await begin(store)
    failed = FailureReason.FETCH_ERROR
    assert await store.settle("u", Result.FAILURE, failed, 7.5) is KEPT
    assert await store.settle("u", Result.SUCCESS, NONE, 9.0) is STALE
    row = await store.get("u")
    assert (row.result, row.failure_reason) == (Result.FAILURE, failed)
    assert row.settled_at == 7.5


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
    await store.checkpoint([Mark("u", 1, 1, 30)])
    await store.settle_records([end(0, stored=10, path="u/0")])
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    found = await store.records("u")
    assert {record.state for record in found} == {RecordState.SETTLED}
    aborted = FailureReason.ABORTED
    assert [record.failure_reason for record in found] == [NONE, aborted, aborted]
    assert [record.stored for record in found] == [10, 30, 0]
    assert found[0].path == "u/0"
    assert await downloaded(store) == 40


async def test_the_id_is_free_as_soon_as_its_registration_has_settled(store):
    """Behaviours 28, 29 and 72."""
    await begin(store, uid="old")
    await store.settle("old", Result.SUCCESS, NONE, 1.0)
    await store.register(registration("new"), records(1, "new"))
    assert (await store.get("old")).id == (await store.get("new")).id
    assert len(await store.records("old")) == 1


async def test_an_old_handle_never_touches_a_new_registration_of_its_id(store):
    """Behaviour 73."""
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
    await store.checkpoint([Mark("u", 0, 1, 100), Mark("x", 0, 1, 11)])
    await store.settle("x", Result.FAILURE, FailureReason.ABORTED, 1.0)
    await store.checkpoint([Mark("u", 0, 1, 50), Mark("u", 1, 1, 2)])
    assert await store.stored_bytes() == 63


async def test_a_cancelled_caller_does_not_take_its_statement_back(store):
    await begin(store)
    waiter = asyncio.ensure_future(store.checkpoint([Mark("u", 0, 1, 5)]))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert await downloaded(store) == 5
