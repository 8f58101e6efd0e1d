"""What store/base.py promises of records, tested on every store."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve
from store_samples import (
    BAD_STATUS,
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

from scrapy_bgfetch.model import (
    FailureReason,
    RecordState,
    Result,
)
from scrapy_bgfetch.store.base import Mark

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
    """Behaviours 195, 199."""
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


async def test_statements_about_a_record_take_effect_in_the_order_they_began(store):
    """An attempt is under way before anybody knows that it is claimed."""
    await begin(store)
    await store.release("u", 0, 1)
    claimed, *verdicts, (marked,), (ended,) = await asyncio.gather(
        store.claim("u", 0),
        store.keep_head("u", 0, 2, HEAD, size=9, encoded=False),
        store.checkpoint([Mark("u", 0, 2, 5, 5)]),
        store.settle_records([end(0, 2, stored=9)]),
    )
    assert (claimed, *verdicts, marked, ended) == (2, KEPT, KEPT, KEPT)
    (record,) = await store.records("u")
    assert (record.head, record.stored) == (HEAD, 9)


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
    for stored, wire in [(100, 40), (100, 0), (250, 50), (250, 50)]:
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
    """Behaviour 195."""
    await begin(store)
    checksums = {"sha256": "ab" * 32, "md5": "cd" * 16}
    success = end(
        stored=20, wire=12, size=20, head=HEAD, path="u/a", checksums=checksums
    )
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
        checksums=checksums,
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


@pytest.mark.parametrize("attempt_ends", [False, True])
@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize("stored", [0, 25, 40])
async def test_a_record_that_failed_stores_what_is_said(
    store, reason, attempt_ends, stored
):
    await begin(store, 2, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 40, 40), Mark("u", 1, 1, 60)])
    if attempt_ends:
        await store.release("u", 0, 1)
    failed = end(reason=reason, stored=stored, wire=43, error="why")
    assert await store.settle_records([failed]) == [KEPT]
    (record, other) = await store.records("u")
    assert (record.failure_reason, record.error) == (reason, "why")
    assert (record.stored, record.wire, other.stored) == (stored, 43, 60)
    assert await downloaded(store) == 60 + stored
    assert await store.stored_bytes() == 60 + stored


@pytest.mark.parametrize("reason", FAILURES)
async def test_what_a_failure_keeps_is_held_against_the_budget(store, reason):
    """Behaviour 50: every settlement alike."""
    await begin(store, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 40)])
    ends = [end(reason=reason, stored=101), end(reason=reason, stored=100)]
    assert await store.settle_records(ends) == [OVER, KEPT]
    assert await downloaded(store) == 100


@pytest.mark.parametrize("reason", FAILURES)
async def test_a_failure_that_keeps_what_it_has_passes_a_budget_that_was_lowered(
    store, reason
):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 40)])
    await store.amend("u", download_total=10)
    assert await store.settle_records([end(reason=reason, stored=40)]) == [KEPT]


async def test_the_length_of_an_error_page_is_its_size_only(store):
    await begin(store, download_total=100)
    page = end(reason=BAD_STATUS, size=500, head=HEAD, path="u/0")
    assert await store.settle_records([page]) == [KEPT]
    (record,) = await store.records("u")
    assert (record.stored, record.size, record.path) == (0, 500, "u/0")
    assert record.head == HEAD
    assert await downloaded(store) == 0


async def test_a_failure_after_success_drops_nothing(store):
    await begin(store)
    await store.settle_records([end(stored=40)])
    assert await store.settle_records([end(reason=BAD_STATUS)]) == [STALE]
    assert (await store.records("u"))[0].stored == 40
    assert await downloaded(store) == 40


async def test_a_failure_of_an_older_attempt_drops_nothing(store):
    await begin(store)
    await store.checkpoint([Mark("u", 0, 1, 40)])
    await store.claim("u", 0)
    failed = end(0, 1, FailureReason.FETCH_ERROR)
    assert await store.settle_records([failed]) == [STALE]
    assert (await store.records("u"))[0].stored == 40
    assert await downloaded(store) == 40


@pytest.mark.parametrize("reason", FAILURES)
async def test_what_a_failed_record_had_is_free_for_the_others(store, reason):
    """Behaviour 50: the budget is over what is stored now."""
    await begin(store, 2, download_total=100)
    await store.checkpoint([Mark("u", 0, 1, 70), Mark("u", 1, 1, 30)])
    ends = [end(1, stored=100), end(0, reason=reason), end(1, stored=101)]
    assert await store.settle_records(ends) == [OVER, KEPT, OVER]
    assert await store.settle_records([end(1, stored=100)]) == [KEPT]
    assert await downloaded(store) == 100


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


@pytest.mark.parametrize("again", [False, True])
async def test_records_are_announced_with_the_end_of_their_fetch(store, again):
    await begin(store, 2)
    await store.settle_records([end(0)])
    if again:
        await store.settle("u", Result.SUCCESS, NONE, 1.0)
    verdict = await store.settle("u", Result.FAILURE, BAD_STATUS, 1.0, announced=[0])
    assert verdict is (STALE if again else KEPT)
    assert [record.announced for record in await store.records("u")] == [True, False]


@pytest.mark.parametrize(
    ("uids", "first", "limit", "found"),
    [
        ("a", 0, 9, "a0 a1 a2"),
        ("ab", 0, 9, "a0 a1 a2 b0 b1"),
        ("ab", 0, 3, "a0 a1 a2"),
        ("ab", 0, 4, "a0 a1 a2 b0"),
        ("ab", 2, 9, "a2 b0 b1"),
        ("ab", 3, 1, "b0"),
        ("xb", 0, 9, "b0 b1"),
        ("ab", 0, 0, ""),
        ("", 0, 9, ""),
    ],
)
async def test_records_of_many_come_a_piece_at_a_time(store, uids, first, limit, found):
    for uid, count in (("a", 3), ("b", 2)):
        await store.register(registration(uid, id=uid), records(count, uid))
    rows = await store.records_of(list(uids), first=first, limit=limit)
    assert [f"{row.uid}{row.index}" for row in rows] == found.split()
    whole = [row for uid in uids for row in await store.records(uid)]
    assert all(row in whole for row in rows)
