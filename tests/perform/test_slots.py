"""Who is next for a slot: Slots alone, with records that nobody downloads."""

from __future__ import annotations

from collections import Counter

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.model import RecordRow, RecordState, RegistrationRow
from scrapy_bgfetch.perform.lines import TURN
from scrapy_bgfetch.perform.live import Group, LiveRecord
from scrapy_bgfetch.perform.slots import ENDS, Slots


class Bench:
    """Slots, and what runs in them; ``order`` has the names as they were started."""

    def __init__(self, total=1, host_limit=0):
        self.order, self.running = [], []
        self.slots = Slots(total, lambda _host: host_limit, self.start)
        self.slots.open = True

    def start(self, record):
        self.order.append(f"{record.row.uid}{record.index + 1}")
        self.running.append(record)

    def put(self, name, *hosts, **options):
        """Let a background fetch with a record for each of the hosts wait."""
        group = Group(RegistrationRow(name, name, "s", options=options))
        for index, host in enumerate(hosts):
            row = RecordRow(name, index, f"http://{host}/{index}", request={})
            group.add(LiveRecord(group, row))
        for record in group.records:
            self.slots.put(record)
        return group

    def end(self, record=None):
        record = record or self.running[0]
        self.running.remove(record)
        record.state = RecordState.SETTLED
        self.slots.done(record)

    def vacate(self, record):
        """Let it be over but for its end, which :meth:`end` is."""
        self.slots.vacate(record)

    def end_all(self):
        while self.running:
            self.end()
        return " ".join(self.order)


def test_owners_take_turns():
    """191"""
    bench = Bench()
    bench.put("A", *["a"] * 4)
    bench.put("B", *["b"] * 3)
    assert bench.end_all() == "A1 B1 A2 B2 A3 B3 A4"


def test_it_is_first_come_first_served_within_an_owner():
    """191: all of one background fetch, then the next."""
    bench = Bench(2)
    bench.put("A", *["a"] * 4)
    bench.put("B", *["a"] * 3)
    assert bench.end_all() == "A1 A2 A3 A4 B1 B2 B3"


def test_a_big_one_gives_way_to_a_small_one_of_its_owner():
    """191, and issue 4: a group of 10,000 does not starve a group of two."""
    bench = Bench()
    bench.put("A", *["a"] * 10_000)
    bench.put("B", *["a"] * 2)
    order = bench.end_all().split()
    assert order.index("B2") <= 2 * TURN
    assert [name for name in order if name[0] == "A"] == [
        f"A{n + 1}" for n in range(10_000)
    ]


def test_the_highest_priority_goes_first():
    bench = Bench()
    bench.put("A", *["a"] * 2)
    bench.put("B", *["b"] * 2, priority=-1)
    bench.put("C", *["a"] * 2, priority=5)
    assert bench.end_all() == "A1 C1 C2 A2 B1 B2"


def test_a_changed_priority_moves_what_waits():
    bench = Bench()
    bench.put("A", *["a"] * 3)
    group = bench.put("B", *["a"] * 3)
    group.options = evolve(group.options, priority=1)
    bench.slots.moved(group, 0)
    assert bench.end_all() == "A1 B1 B2 B3 A2 A3"


def test_a_changed_priority_keeps_count_of_what_runs():
    bench = Bench(8)
    group = bench.put("A", *["a"] * 4, max_concurrent_records=2)
    group.options = evolve(group.options, priority=1)
    bench.slots.moved(group, 0)
    assert bench.order == ["A1", "A2"]
    bench.end()
    assert bench.order == ["A1", "A2", "A3"]
    assert bench.end_all() == "A1 A2 A3 A4"


def test_one_at_its_own_limit_holds_nobody_up():
    bench = Bench(4)
    bench.put("A", *["a"] * 4, max_concurrent_records=1)
    bench.put("B", *["a"] * 2)
    assert bench.order == ["A1", "B1", "B2"]
    assert bench.end_all() == "A1 B1 B2 A2 A3 A4"


def test_a_host_at_its_limit_holds_nobody_up():
    bench = Bench(4, host_limit=1)
    bench.put("A", "a", "a", "c", priority=1)
    bench.put("B", "a", "b")
    assert bench.order == ["A1", "A3", "B2"]
    bench.end(bench.running[1])
    assert bench.order == ["A1", "A3", "B2"]
    bench.end(bench.running[0])
    assert bench.order == ["A1", "A3", "B2", "A2"]
    assert bench.end_all() == "A1 A3 B2 A2 B1"


def test_another_has_the_slot_of_a_record_that_only_has_to_end():
    bench = Bench(2)
    bench.put("A", *["a"] * 4)
    bench.vacate(bench.running[0])
    assert bench.order == ["A1", "A2", "A3"]
    bench.end(bench.running[0])
    assert bench.order == ["A1", "A2", "A3"]
    assert bench.end_all() == "A1 A2 A3 A4"


def test_only_so_many_records_for_each_slot_may_be_without_theirs():
    bench = Bench(2)
    group = bench.put("A", *["a"] * 20)
    for record in group.records:
        bench.vacate(record)
    assert len(bench.order) == 2 * ENDS + 2
    for record in group.records:
        bench.vacate(record)
    assert len(bench.order) == 2 * ENDS + 2
    bench.end(bench.running[0])
    bench.vacate(bench.running[-1])
    assert len(bench.order) == 2 * ENDS + 3


def test_a_record_without_its_slot_does_not_wait_for_another():
    bench = Bench()
    record = bench.put("A", "a").records[0]
    bench.vacate(record)
    bench.slots.put(record)
    assert bench.order == ["A1"]
    bench.slots.done(record)
    bench.slots.put(record)
    assert bench.order == ["A1", "A1"]


def test_a_record_without_its_slot_counts_not_at_the_limit_of_its_host():
    bench = Bench(4, host_limit=1)
    bench.put("A", "a", "a")
    bench.vacate(bench.running[0])
    assert bench.order == ["A1", "A2"]
    bench.put("B", "a")
    bench.end(bench.running[0])
    assert bench.order == ["A1", "A2"]
    assert bench.end_all() == "A1 A2 B1"


@pytest.mark.parametrize("moves", [False, True])
def test_a_record_without_its_slot_counts_at_the_limit_of_its_own(moves):
    bench = Bench(4)
    group = bench.put("A", *["a"] * 3, max_concurrent_records=1)
    bench.vacate(bench.running[0])
    if moves:
        group.options = evolve(group.options, priority=1)
        bench.slots.moved(group, 0)
    assert bench.order == ["A1"]
    assert bench.end_all() == "A1 A2 A3"


@pytest.mark.parametrize("state", ["paused", "ending"])
def test_what_may_not_run_is_left_out(state):
    bench = Bench()
    group = bench.put("A", *["a"] * 3)
    bench.put("B", *["a"] * 2)
    setattr(group, state, True)
    assert bench.end_all() == "A1 B1 B2"
    setattr(group, state, False)
    for record in group.records[1:]:
        bench.slots.put(record)
    assert bench.end_all() == "A1 B1 B2 A2 A3"


def test_nothing_starts_while_it_is_closed():
    bench = Bench()
    bench.slots.open = False
    bench.put("A", "a")
    assert bench.order == []
    bench.slots.open = True
    bench.slots.pump()
    assert bench.order == ["A1"]


GROUPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=20),
        st.integers(-1, 1),
        st.integers(0, 3),
    ),
    max_size=12,
)


@given(GROUPS, st.integers(1, 6), st.integers(0, 2), st.randoms())
def test_everybody_has_one_turn_and_no_limit_is_passed(groups, total, limit, random):
    """Nor is a slot free while somebody could have it."""
    bench, made = Bench(total, limit), []
    waiting = list(enumerate(groups))
    while waiting or bench.running:
        if waiting and random.random() < 0.5:
            name, (hosts, priority, most) = waiting.pop()
            options = {"priority": priority, "max_concurrent_records": most}
            made.append(bench.put(f"{name}-", *hosts, **options))
        elif bench.running:
            what = random.choice([bench.end, bench.vacate])
            what(random.choice(bench.running))
        vacated = bench.slots._vacated
        in_slots = [record for record in bench.running if record not in vacated]
        at_host = Counter(r.url.split("/")[2] for r in in_slots)
        of_group = Counter(r.group for r in bench.running)
        assert len(in_slots) <= total
        assert len(vacated) <= ENDS * total
        assert all(not limit or n <= limit for n in at_host.values())
        for record in (r for group in made for r in group.records if r.queued):
            most = record.group.options.max_concurrent_records
            assert (
                len(in_slots) == total
                or (limit and at_host[record.url.split("/")[2]] == limit)
                or (most and of_group[record.group] == most)
            )
        for group, running in of_group.items():
            most = group.options.max_concurrent_records
            assert not most or running <= most
    assert sorted(bench.order) == sorted(set(bench.order))
    assert len(bench.order) == sum(len(hosts) for hosts, _, _ in groups)


def test_it_keeps_nothing_of_what_has_ended():
    bench = Bench(3, host_limit=1)
    for n in range(20):
        bench.put(f"g{n}", "a", "b", "a", priority=n % 3, max_concurrent_records=2)
    for record in bench.running[:2]:
        bench.vacate(record)
    bench.end_all()
    slots = bench.slots
    kept = slots._levels, slots._ranks, slots._running, slots._vacated, slots._hosts
    assert [len(one) for one in kept] == [0, 0, 0, 0, 0]


def test_an_end_asks_only_those_whom_it_concerns():
    """However many owners wait for a host without room."""
    asked = []
    bench = Bench(total=8)
    bench.slots = Slots(8, lambda host: asked.append(host) or 2, bench.start)
    bench.slots.open = True
    for number in range(500):
        bench.put(f"g{number}-", f"h{number}", "cdn")
    while own := [one for one in bench.running if "cdn" not in one.url]:
        bench.end(own[0])
    assert len(bench.order) == 502
    bench.put("z", "z")
    asked.clear()
    bench.end(bench.running[-1])
    assert len(asked) <= 2
    bench.end()
    assert len(asked) <= 10
    assert len(bench.order) == 504
    assert len(bench.end_all().split()) == 1001
