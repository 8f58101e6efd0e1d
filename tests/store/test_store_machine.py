"""Workers with stale attempts, at random: the counters never drift (3, 49, 50).

All examples are in one store, each in a scope of its own: ``stored_bytes`` and
``parts`` are told for all that happened before, too. An example begins with a
background fetch that has failed; a second one of its id adopts what that has kept.
"""

from __future__ import annotations

import asyncio
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
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
FILE = 7  # bytes of the file that the first background fetch leaves
FAILED = FailureReason.FETCH_ERROR
indexes = st.integers(0, RECORDS + 1)  # some are appended
ages = st.sampled_from([0, 0, 0, 1, 2, -1])  # how many attempts too old
offsets = st.integers(0, 70)


class Workers(RuleBasedStateMachine):
    """A model of two background fetches of one id beside the store's."""

    store = runner = numbers = None

    def __init__(self):
        super().__init__()
        number = next(self.numbers)
        self.uid, self.old, self.scope = f"u{number}", f"old{number}", f"s{number}"
        self.before = self.do(self.store.stored_bytes())
        self.active, self.delivered, self.forgotten = True, False, False
        self.shown, self.expected = "", None
        self.why = FailureReason.NONE

    def do(self, coroutine):
        return self.runner(coroutine)

    def row(self, uid, **values):
        return RegistrationRow(uid, "id", self.scope, **values)

    def records(self, uid, stored):
        return [
            RecordRow(uid, index, "https://example.org/", stored=kept)
            for index, kept in enumerate(stored)
        ]

    @initialize(
        kept=st.lists(st.integers(0, 30), min_size=RECORDS, max_size=RECORDS),
        taken=st.sets(st.integers(0, RECORDS - 1)),
    )
    def begin(self, kept, taken):
        self.fail_first(kept)
        self.kept = [0 if i in taken else kept[i] for i in range(RECORDS)]
        self.counted = [kept[i] if i in taken else 0 for i in range(RECORDS)]
        row = self.row(self.uid, download_total=BUDGET, downloaded=sum(self.counted))
        adopted = [(self.old, index) for index in taken]
        rows = self.records(self.uid, self.counted)
        self.do(self.store.register(row, rows, adopted))
        self.attempt = [0] * RECORDS
        self.state = [RecordState.PENDING] * RECORDS
        self.reason = [FailureReason.NONE] * RECORDS
        self.announced = [False] * RECORDS

    def fail_first(self, kept):
        """Let a background fetch fail that keeps so many bytes, and a file."""
        rows = self.records(self.old, [0] * (RECORDS + 1))
        self.do(self.store.register(self.row(self.old), rows))
        ends = [
            Settlement(self.old, index, 0, FAILED, stored)
            for index, stored in enumerate(kept)
        ]
        file = Settlement(self.old, RECORDS, 0, FailureReason.NONE, FILE)
        self.do(self.store.settle_records([*ends, file]))
        self.do(self.store.settle(self.old, Result.FAILURE, FAILED, 1.0))
        self.do(self.store.delivered(self.old))
        self.old_is_known = True

    def at(self, index):
        return index % len(self.attempt)

    def verdict(self, index, age, stored, states):
        if age or self.state[index] not in states:
            return Verdict.STALE
        before = self.counted[index]
        if stored > before and sum(self.counted) - before + stored > BUDGET:
            return Verdict.OVER_BUDGET
        return Verdict.KEPT

    @precondition(lambda self: len(self.attempt) < RECORDS + 2)
    @rule(source=st.integers(0, RECORDS - 1))
    def append(self, source):
        index, stored = len(self.attempt), self.kept[source]
        record = RecordRow(self.uid, index, "https://example.org/", stored=stored)
        said = self.do(
            self.store.extend(self.uid, [record], [(self.old, source)], grows=False)
        )
        if not self.active:
            assert said is Verdict.STALE
        elif stored and sum(self.counted) + stored > BUDGET:
            assert said is Verdict.OVER_BUDGET
        else:
            assert said is Verdict.KEPT
            self.kept[source] = 0
            self.attempt.append(0)
            self.state.append(RecordState.PENDING)
            self.counted.append(stored)
            self.reason.append(FailureReason.NONE)
            self.announced.append(False)

    @rule(index=indexes)
    def claim(self, index):
        index = self.at(index)
        attempt = self.do(self.store.claim(self.uid, index))
        if self.state[index] is RecordState.SETTLED:
            assert attempt is None
        else:
            self.attempt[index] += 1
            self.state[index] = RecordState.ACTIVE
            assert attempt == self.attempt[index]

    @rule(index=indexes, age=ages)
    def release(self, index, age):
        index = self.at(index)
        expected = self.verdict(index, age, 0, {RecordState.ACTIVE})
        said = self.do(self.store.release(self.uid, index, self.attempt[index] - age))
        assert said is expected
        if said is Verdict.KEPT:
            self.state[index] = RecordState.PENDING

    @rule(calls=st.lists(st.tuples(indexes, ages, offsets), max_size=4))
    def checkpoint(self, calls):
        calls = [(self.at(index), age, stored) for index, age, stored in calls]
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
        index = self.at(index)
        open_states = {RecordState.PENDING, RecordState.ACTIVE}
        expected = self.verdict(index, age, stored, open_states)
        attempt = self.attempt[index] - age
        settlement = Settlement(self.uid, index, attempt, reason, stored)
        assert self.do(self.store.settle_records([settlement])) == [expected]
        if expected is Verdict.KEPT:
            self.state[index] = RecordState.SETTLED
            self.reason[index] = reason
            self.why = self.why or reason
            self.counted[index] = stored

    @rule(index=indexes)
    def announce(self, index):
        index = self.at(index)
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
        self.do(self.store.settle(self.uid, Result.FAILURE, FAILED, 2.0))
        self.active, self.why = False, FAILED
        for index, state in enumerate(self.state):
            if state is not RecordState.SETTLED:
                self.state[index] = RecordState.SETTLED
                self.reason[index] = FailureReason.ABORTED
                self.counted[index] = 0

    @precondition(lambda self: sum(self.attempt) > 6)
    @rule()
    def deliver(self):
        self.do(self.store.delivered(self.uid))
        self.delivered = not self.active

    @precondition(lambda self: sum(self.attempt) > 3)
    @rule(keep=st.integers(0, 2))
    def forget(self, keep):
        assert self.do(self.store.forget(self.scope, keep)) is False
        if keep + (not self.delivered) < 2:
            self.old_is_known, self.kept = False, [0] * RECORDS
        if keep == 0 and self.delivered:
            self.forgotten = True
            self.counted = [
                0 if reason else stored
                for stored, reason in zip(self.counted, self.reason, strict=True)
            ]

    def told(self):
        """Return all that the store says, read at once."""

        async def read():
            return await asyncio.gather(
                self.store.get(self.uid),
                self.store.records(self.uid),
                self.store.stored_bytes(),
                self.store.parts(),
                self.store.kept(self.scope, "id"),
                self.store.history(self.scope),
            )

        return self.do(read())

    @invariant()
    def the_store_keeps_what_the_model_keeps_and_counts_what_is_stored(self):
        row, rows, stored_bytes, parts, kept, history = self.told()
        counted = sum(self.counted)
        assert stored_bytes - self.before == counted + sum(self.kept) + FILE
        assert [row.uid for row in history] == self.history()
        assert [(row.uid, row.index, row.stored) for row in kept] == self.adoptable()
        mine = [part for part in parts if part[0] in {self.uid, self.old}]
        assert sorted(mine) == sorted(self.parts())
        if self.forgotten:
            assert (row, rows) == (None, [])
            return
        assert row.downloaded == counted <= BUDGET
        assert [row.stored for row in rows] == self.counted
        assert [row.attempt for row in rows] == self.attempt
        assert [row.state for row in rows] == self.state
        assert [row.failure_reason for row in rows] == self.reason
        assert row.failure_reason == self.why
        assert (row.title, row.expected) == (self.shown, self.expected)
        assert (bool(row.result), row.delivered) == (not self.active, self.delivered)

    def history(self):
        mine = [] if self.active or self.forgotten else [self.uid]
        return mine + ([self.old] if self.old_is_known else [])

    def failed(self):
        return [
            (self.uid, index, stored)
            for index, stored in enumerate(self.counted)
            if stored and self.reason[index] and not self.forgotten
        ]

    def adoptable(self):
        old = [(self.old, index, kept) for index, kept in enumerate(self.kept) if kept]
        return ([] if self.active else self.failed()) + old

    def parts(self):
        open_ends = {
            (self.uid, index)
            for index, announced in enumerate(self.announced)
            if not (announced or self.delivered)
        }
        kept = {(uid, index) for uid, index, _ in self.failed() + self.adoptable()}
        return open_ends | kept


def test_stale_workers_never_make_the_counters_drift(make_store, tmp_path):
    loop = asyncio.new_event_loop()
    run, store = loop.run_until_complete, make_store(tmp_path)
    run(store.open())
    values = {"store": store, "runner": staticmethod(run), "numbers": count()}
    try:
        run_state_machine_as_test(
            type("Machine", (Workers,), values),
            settings=settings(max_examples=60, stateful_step_count=40),
        )
    finally:
        run(store.close())
        run(loop.shutdown_default_executor())
        loop.close()
