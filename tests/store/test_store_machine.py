"""Workers with stale attempts, at random: the counters never drift (3, 49, 50)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

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

    make_store = None

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.store = type(self).make_store(Path(self.folder.name))
        self.do(self.store.open())
        rows = [RecordRow("u", index, "https://example.org/") for index in range(3)]
        row = RegistrationRow("u", "id", "s", download_total=BUDGET)
        self.do(self.store.register(row, rows))
        self.attempt = [0] * RECORDS
        self.state = [RecordState.PENDING] * RECORDS
        self.counted = [0] * RECORDS
        self.active = True

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def teardown(self):
        self.do(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()

    def verdict(self, index, age, stored, states):
        if age or self.state[index] not in states:
            return Verdict.STALE
        before = self.counted[index]
        if stored > before and sum(self.counted) - before + stored > BUDGET:
            return Verdict.OVER_BUDGET
        return Verdict.KEPT

    @rule(index=indexes)
    def claim(self, index):
        attempt = self.do(self.store.claim("u", index))
        if self.state[index] is RecordState.SETTLED:
            assert attempt is None
        else:
            self.attempt[index] += 1
            self.state[index] = RecordState.ACTIVE
            assert attempt == self.attempt[index]

    @rule(index=indexes, age=ages)
    def release(self, index, age):
        expected = self.verdict(index, age, 0, {RecordState.ACTIVE})
        said = self.do(self.store.release("u", index, self.attempt[index] - age))
        assert said is expected
        if said is Verdict.KEPT:
            self.state[index] = RecordState.PENDING

    @rule(calls=st.lists(st.tuples(indexes, ages, offsets), max_size=4))
    def checkpoint(self, calls):
        marks = [
            Mark("u", index, self.attempt[index] - age, stored)
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
        settlement = Settlement("u", index, attempt, reason, stored)
        assert self.do(self.store.settle_records([settlement])) == [expected]
        if expected is Verdict.KEPT:
            self.state[index] = RecordState.SETTLED
            if reason is FailureReason.NONE:
                self.counted[index] = stored
            elif reason is FailureReason.BAD_STATUS:
                self.counted[index] = 0

    @precondition(lambda self: self.active and sum(self.attempt) > 6)
    @rule()
    def settle(self):
        failed = FailureReason.FETCH_ERROR
        self.do(self.store.settle("u", Result.FAILURE, failed, 1.0))
        self.active = False
        self.state = [RecordState.SETTLED] * RECORDS

    @invariant()
    def downloaded_is_what_the_records_store_and_never_over_the_budget(self):
        rows = self.do(self.store.records("u"))
        downloaded = self.do(self.store.get("u")).downloaded
        assert downloaded == sum(self.counted) <= BUDGET
        assert downloaded == sum(
            row.stored
            for row in rows
            if row.failure_reason is not FailureReason.BAD_STATUS
        )
        assert downloaded == self.do(self.store.stored_bytes())
        assert [row.attempt for row in rows] == self.attempt
        assert [row.state for row in rows] == self.state


def test_stale_workers_never_make_the_counters_drift(make_store):
    machine = type("Machine", (Workers,), {"make_store": staticmethod(make_store)})
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )
