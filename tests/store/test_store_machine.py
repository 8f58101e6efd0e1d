"""Workers with stale attempts, at random: the counters never drift (3, 49, 50).

All examples are background fetches of one store, one after another: ``stored_bytes``
and ``unannounced`` are told for all that happened before, too.
"""

from __future__ import annotations

import asyncio
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scrapy_bgfetch.model import (
    FailureReason,
    RecordRow,
    RecordState,
    RegistrationRow,
    Result,
)
from scrapy_bgfetch.store.base import Mark, Settlement, Verdict

RECORDS = 3
BUDGET = 100
indexes = st.integers(0, RECORDS - 1)
ages = st.sampled_from([0, 0, 0, 1, 2, -1])  # how many attempts too old
offsets = st.integers(0, 70)


class Workers(RuleBasedStateMachine):
    """A model of one background fetch beside the store's."""

    store = runner = uids = None

    def __init__(self):
        super().__init__()
        self.uid = f"u{next(self.uids)}"
        self.before = self.do(self.store.stored_bytes())
        rows = [
            RecordRow(self.uid, index, "https://example.org/") for index in range(3)
        ]
        row = RegistrationRow(self.uid, "id", "s", download_total=BUDGET)
        self.do(self.store.register(row, rows))
        self.attempt = [0] * RECORDS
        self.state = [RecordState.PENDING] * RECORDS
        self.counted = [0] * RECORDS
        self.reason = [FailureReason.NONE] * RECORDS
        self.announced = [False] * RECORDS
        self.active, self.delivered = True, False
        self.shown, self.expected = "", None

    def do(self, coroutine):
        return self.runner(coroutine)

    def teardown(self):
        failed = FailureReason.ABORTED
        self.do(self.store.settle(self.uid, Result.FAILURE, failed, 1.0))
        self.do(self.store.delivered(self.uid))

    def verdict(self, index, age, stored, states):
        if age or self.state[index] not in states:
            return Verdict.STALE
        before = self.counted[index]
        if stored > before and sum(self.counted) - before + stored > BUDGET:
            return Verdict.OVER_BUDGET
        return Verdict.KEPT

    @rule(index=indexes)
    def claim(self, index):
        attempt = self.do(self.store.claim(self.uid, index))
        if self.state[index] is RecordState.SETTLED:
            assert attempt is None
        else:
            self.attempt[index] += 1
            self.state[index] = RecordState.ACTIVE
            assert attempt == self.attempt[index]

    @rule(index=indexes, age=ages)
    def release(self, index, age):
        expected = self.verdict(index, age, 0, {RecordState.ACTIVE})
        said = self.do(self.store.release(self.uid, index, self.attempt[index] - age))
        assert said is expected
        if said is Verdict.KEPT:
            self.state[index] = RecordState.PENDING

    @rule(calls=st.lists(st.tuples(indexes, ages, offsets), max_size=4))
    def checkpoint(self, calls):
        marks = [
            Mark(self.uid, index, self.attempt[index] - age, stored)
            for index, age, stored in calls
        ]
        verdicts = self.do(self.store.checkpoint(marks))
        for (index, age, stored), said in zip(calls, verdicts, strict=True):
            assert said is self.verdict(index, age, stored, {RecordState.ACTIVE})
            if said is Verdict.KEPT:
                self.counted[index] = stored

    @rule(
        index=indexes,
        age=ages,
        stored=offsets,
        reason=st.sampled_from(list(FailureReason)),
    )
    def settle_record(self, index, age, stored, reason):
        judged = stored if reason is FailureReason.NONE else 0
        open_states = {RecordState.PENDING, RecordState.ACTIVE}
        expected = self.verdict(index, age, judged, open_states)
        attempt = self.attempt[index] - age
        settlement = Settlement(self.uid, index, attempt, reason, stored)
        assert self.do(self.store.settle_records([settlement])) == [expected]
        if expected is Verdict.KEPT:
            self.state[index] = RecordState.SETTLED
            self.reason[index] = reason
            self.counted[index] = 0 if reason else stored

    @rule(index=indexes)
    def announce(self, index):
        self.do(self.store.announced(self.uid, index))
        self.announced[index] |= self.state[index] is RecordState.SETTLED

    @rule(number=st.integers(0, 9))
    def amend(self, number):
        changes = {"title": str(number), "expected": number}
        self.do(self.store.amend(self.uid, **changes))
        if not self.delivered:
            self.shown = str(number)
        if self.active:
            self.expected = number

    @precondition(lambda self: self.active and sum(self.attempt) > 6)
    @rule()
    def settle(self):
        failed = FailureReason.FETCH_ERROR
        self.do(self.store.settle(self.uid, Result.FAILURE, failed, 1.0))
        self.active = False
        for index in range(RECORDS):
            if self.state[index] is not RecordState.SETTLED:
                self.state[index] = RecordState.SETTLED
                self.reason[index] = FailureReason.ABORTED
                self.counted[index] = 0

    @precondition(lambda self: sum(self.attempt) > 6)
    @rule()
    def deliver(self):
        self.do(self.store.delivered(self.uid))
        self.delivered = not self.active

    def kept(self):
        """Return all that the store says, read at once."""

        async def read():
            return await asyncio.gather(
                self.store.get(self.uid),
                self.store.records(self.uid),
                self.store.stored_bytes(),
                self.store.unannounced(),
            )

        return self.do(read())

    @invariant()
    def the_store_keeps_what_the_model_keeps_and_counts_what_is_stored(self):
        row, rows, stored_bytes, unannounced = self.kept()
        assert row.downloaded == sum(self.counted) <= BUDGET
        assert [row.stored for row in rows] == self.counted
        assert stored_bytes - self.before == row.downloaded
        assert [row.attempt for row in rows] == self.attempt
        assert [row.state for row in rows] == self.state
        assert [row.failure_reason for row in rows] == self.reason
        assert (row.title, row.expected) == (self.shown, self.expected)
        assert (bool(row.result), row.delivered) == (not self.active, self.delivered)
        assert sorted(unannounced) == [
            (self.uid, index)
            for index in range(RECORDS)
            if not (self.announced[index] or self.delivered)
        ]


def test_stale_workers_never_make_the_counters_drift(make_store, tmp_path):
    loop = asyncio.new_event_loop()
    run, store = loop.run_until_complete, make_store(tmp_path)
    run(store.open())
    values = {"store": store, "runner": staticmethod(run), "uids": count()}
    try:
        run_state_machine_as_test(
            type("Machine", (Workers,), values),
            settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
        )
    finally:
        run(store.close())
        run(loop.shutdown_default_executor())
        loop.close()
