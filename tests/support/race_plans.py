"""Plans of races, drawn by hypothesis, and what may come of them.

A plan is one background fetch: its files, its options, and steps of the server and of
its user. :func:`permitted` says which reasons it may end with; :func:`check` holds what
was seen of it against the specification (31-36, 39, 50, 57, 69, 71-73, B1, B2, B8).
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from hypothesis import strategies as st

MAXSIZE = 100_000  # BGFETCH_RECORD_MAXSIZE
ENDS = ("success", "fail", "abort")
SIZES = (0, 1, 700, 20_000, 20_000, MAXSIZE, MAXSIZE + 1)
WHERE = ("", "", "", "registered", "progress", "record_settled", "response_started")


BAD = {("status", 404), ("status", 503)}
BREAKS = BAD | {("cut",)}  # an answer that has begun is cut by a bad status, too


@frozen
class File:
    size: int
    length: bool  # whether the answer announces it


@frozen
class Plan:
    """``slow`` is how many turns its handlers take; ``inside`` where one aborts."""

    files: tuple[File, ...]
    budget: int
    fail_fast: bool
    slow: int
    inside: str
    again: bool
    steps: tuple[tuple[Any, ...], ...]

    @property
    def total(self) -> int:
        return sum(file.size for file in self.files)


@frozen
class Batch:
    """Plans that run at once; ``suspend``: the spider closes after their steps."""

    plans: tuple[Plan, ...]
    slots: int
    quota: int
    suspend: bool


FILES = st.builds(File, st.sampled_from(SIZES), st.booleans())
INDEX = st.integers(0, 2)
TURNS = st.integers(0, 6)
SERVED = st.one_of(
    st.tuples(st.just("send"), st.sampled_from([0, 1, 700, 10_000, 20_000])),
    st.just(("end",)),
    st.just(("cut",)),
    st.just(("status", 404)),
    st.just(("status", 503)),
    st.just(("status", 503, "Retry-After: 9")),
)
STEPS = st.one_of(
    st.tuples(st.just("serve"), INDEX, SERVED),
    st.tuples(st.just("serve"), INDEX, SERVED),
    st.tuples(st.just("served"), INDEX),
    st.tuples(st.just("turns"), TURNS),
    st.just(("pause",)),
    st.just(("resume",)),
    st.tuples(st.just("abort"), st.integers(1, 3)),
    st.tuples(st.just("abort_at"), INDEX, st.sampled_from([1, 700, 20_000]), TURNS),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    files = tuple(draw(st.lists(FILES, min_size=1, max_size=3)))
    total = sum(file.size for file in files)
    budgets = [0, 0, total, max(total - 1, 0), total // 2]
    return Plan(
        files,
        draw(st.sampled_from(budgets)),
        draw(st.booleans()),
        draw(st.sampled_from([0, 0, 1, 8])),
        draw(st.sampled_from(WHERE)),
        draw(st.booleans()),
        tuple(draw(st.lists(STEPS, max_size=10))),
    )


BATCHES = st.builds(
    Batch,
    st.lists(plans(), min_size=1, max_size=6).map(tuple),
    st.sampled_from([1, 3, 8]),
    st.sampled_from([0, 0, 0, 60_000]),
    st.booleans(),
)


@frozen
class Values:
    result: str
    reason: str
    downloaded: int
    uploaded: int


@frozen
class Seen:
    """A signal, the values of the handle then, and which run of the spider."""

    name: str
    values: Values
    index: int | None
    reason: str  # the record's
    run: int


@define
class Story:
    """All that was seen of one background fetch."""

    plan: Plan
    seen: list[Seen] = field(factory=list)
    aborts: list[bool] = field(factory=list)
    given_up: int = 0
    last: Values | None = None
    state: Values | None = None
    records: list[tuple[str, int]] = field(factory=list)
    stored: int = 0
    kept: list[tuple[str, int]] = field(factory=list)

    def of(self, *names: str) -> list[Seen]:
        return [one for one in self.seen if one.name in names]


def values_of(handle: Any) -> Values:
    return Values(
        str(handle.result),
        str(handle.failure_reason),
        handle.downloaded,
        handle.uploaded,
    )


def permitted(plan: Plan, batch: Batch) -> set[str]:
    """Return the reasons that the plan may end with when nobody aborts it."""
    may = {""}
    kinds = {(step[2][0], *step[2][1:2]) for step in plan.steps if step[0] == "serve"}
    may |= {"bad-status"} if BAD & kinds else set()
    may |= {"fetch-error"} if BREAKS & kinds else set()
    if batch.quota or any(file.size > MAXSIZE for file in plan.files):
        may.add("quota-exceeded")
    if 0 < plan.budget < plan.total:
        may.add("download-total-exceeded")
        if not kinds & BREAKS:
            may.discard("")
    if any(file.size > MAXSIZE for file in plan.files):
        may.discard("")
    return may


def check(story: Story, batch: Batch) -> None:
    """Hold what was seen against what must be."""
    ends = story.of(*ENDS)
    assert ends, "it never ended"
    runs = [one.run for one in ends]
    assert len(set(runs)) == len(runs), "more than one terminal event"
    assert len(ends) == 1 or batch.suspend
    _check_reason(story, batch, ends[-1])
    _check_frozen(story)
    _check_progress(story)
    _check_records(story, batch)
    _check_bytes(story)


def _check_reason(story: Story, batch: Batch, end: Seen) -> None:
    reason = end.values.reason
    names = {"": "success", "aborted": "abort"}
    assert end.name == names.get(reason, "fail")
    assert end.values.result == ("failure" if reason else "success")
    assert story.aborts.count(True) <= 1
    if True in story.aborts:
        assert reason == "aborted"
    if reason == "aborted":
        assert True in story.aborts or story.given_up
        return
    first: dict[int | None, str] = {}
    for one in story.of("record_settled"):
        first.setdefault(one.index, one.reason)
    failures = [one for one in first.values() if one]
    assert reason == (failures[0] if failures else "")
    assert reason in permitted(story.plan, batch)
    if "aborted" in failures:
        assert story.plan.fail_fast or "download-total-exceeded" in failures


def _check_frozen(story: Story) -> None:
    """Behaviours 35, 67, 69: the values are final before any event shows them."""
    final = {one.values for one in story.seen if one.values.result}
    assert final == {story.last}
    assert story.state == story.last
    for one in story.seen:
        assert one.values.result or not one.values.reason
        if story.plan.budget:
            assert one.values.downloaded <= story.plan.budget  # 50


def _check_progress(story: Story) -> None:
    """Behaviour 69: the last one is sent once its values are final, and no other."""
    for run in {one.run for one in story.of(*ENDS)}:
        names = [
            one.name
            for one in story.seen
            if one.run == run and one.values.result and one.name != "record_settled"
        ]
        assert names[0] == "progress", names
        assert names[1] in ENDS, names
        assert len(names) == 2, names


def _check_records(story: Story, batch: Batch) -> None:
    told = [one.index for one in story.of("record_settled")]
    assert set(told) == set(range(len(story.plan.files)))
    assert len(told) == len(set(told)) or batch.suspend, "a record settled twice"
    for index in set(told):
        reasons = {
            one.reason for one in story.of("record_settled") if one.index == index
        }
        assert reasons == {story.records[index][0]}


def _check_bytes(story: Story) -> None:
    assert story.last is not None
    downloaded = story.last.downloaded
    assert downloaded == sum(stored for _, stored in story.records)
    assert downloaded == story.stored, "not what is on the disk"
    assert story.kept == story.records
