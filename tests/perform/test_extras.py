"""Connections of records beyond their first: who gets room at a host, who makes way."""

from __future__ import annotations

from functools import partial

import pytest

from scrapy_bgfetch.perform.extras import Extras
from scrapy_bgfetch.perform.slots import Slots
from tests.perform.test_slots import Bench

HOST = "a"


class Shared(Bench):
    """Slots and the further connections of what runs in them."""

    def __init__(self, total=4, host_limit=3):
        super().__init__(total, host_limit)
        self.extras = Extras()
        self.stopped = []
        self.slots = Slots(total, lambda _host: host_limit, self.start, self.extras)
        self.slots.open = True

    def take(self, count=1):
        """Take room for connections as long as there is some; return their stops."""
        stops = []
        while len(stops) < count and self.extras.may_take(HOST):
            number = len(stops)
            stops.append(partial(self.stopped.append, number))
            self.extras.take(HOST, stops[-1])
        return stops

    def give_back(self, stop):
        self.extras.give_back(HOST, stop)


def test_a_host_has_room_up_to_its_limit():
    bench = Shared(host_limit=3)
    bench.put("A", HOST)
    assert len(bench.take(9)) == 2


def test_a_host_without_a_limit_has_room():
    bench = Shared(host_limit=0)
    bench.put("A", HOST)
    assert len(bench.take(9)) == 9


def test_there_is_none_before_there_are_slots():
    assert not Extras().may_take(HOST)


def test_what_is_given_back_may_be_taken_again():
    bench = Shared()
    bench.put("A", HOST)
    first, _ = bench.take(2)
    assert not bench.extras.may_take(HOST)
    bench.give_back(first)
    assert bench.extras.may_take(HOST)


def test_one_makes_way_for_a_record_and_no_more_than_one():
    bench = Shared()
    bench.put("A", HOST)
    stops = bench.take(2)
    bench.put("B", HOST)
    assert bench.stopped == [1]
    assert bench.order == ["A1"]
    bench.give_back(stops[1])
    assert bench.order == ["A1", "B1"]
    assert bench.stopped == [1]


def test_they_make_way_one_after_another_for_as_many_records_as_wait():
    bench = Shared(total=9)
    bench.put("A", HOST)
    stops = bench.take(2)
    bench.put("B", HOST, HOST, HOST)
    bench.give_back(stops[1])
    assert bench.stopped == [1, 0]
    bench.give_back(stops[0])
    assert bench.order == ["A1", "B1", "B2"]
    bench.end_all()
    assert bench.order[3:] == ["B3"]
    assert len(bench.take(9)) == 3


def test_none_is_taken_while_a_record_waits_for_the_host():
    """Those that are full of their own have room for nobody."""
    bench = Shared(total=1, host_limit=9)
    bench.put("A", HOST, HOST)
    assert bench.take() == []
    bench.end()
    assert len(bench.take()) == 1


def test_whoever_waits_for_another_host_is_none_of_their_business():
    bench = Shared(host_limit=2)
    bench.put("A", HOST, "b", "b", "b")
    assert len(bench.take(9)) == 1
    assert bench.stopped == []


def test_a_record_that_its_own_background_fetch_holds_back_does_not_count():
    bench = Shared()
    group = bench.put("A", HOST, HOST, max_concurrent_records=1)
    assert len(bench.take(2)) == 2
    assert bench.stopped == []
    group.options = type(group.options)()
    bench.slots.put(group.records[1])
    assert bench.stopped == []


@pytest.mark.parametrize("held", ["paused", "ending"])
def test_a_record_that_may_not_run_does_not_count(held):
    bench = Shared(total=1)
    bench.put("A", HOST)
    waiting = bench.put("B", HOST)
    assert bench.take() == []
    setattr(waiting, held, True)
    assert len(bench.take()) == 1


def test_nobody_is_stopped_for_a_record_that_has_no_slot():
    bench = Shared(total=1)
    bench.put("A", HOST)
    bench.take(2)
    bench.put("B", HOST)
    assert bench.stopped == []
    bench.end()
    assert bench.order == ["A1", "B1"]
