"""The queue of requests that wait to join a group, without a group."""

from __future__ import annotations

import asyncio

import pytest

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.joining import Queue, passing
from scrapy_bgfetch.rules.group_options import GroupOptions

A = GroupOptions("a")


class Joins:
    """A queue whose first request keeps the others waiting until ``go`` is set.

    ``turns`` has the requests of each turn; ``meets``, if there is one, is awaited in
    each turn with its requests, and may raise.
    """

    def __init__(self, meets=None):
        self.turns = []
        self.go = asyncio.Event()
        self.queue = Queue(self._join)
        self._meets = meets

    async def _join(self, options, joining):
        joining = passing(joining, lambda request: None)
        self.turns.append([one.request for one in joining])
        if len(self.turns) == 1:
            await self.go.wait()
        elif self._meets:
            await self._meets(joining)
        for one in joining:
            one.end()

    async def wait(self, *requests, options=A):
        tasks = []
        for request in requests:
            tasks.append(asyncio.ensure_future(self.queue.join(request, options)))
            await asyncio.sleep(0.001)  # the first one's turn has begun
        return tasks


async def results(tasks):
    done = asyncio.gather(*tasks, return_exceptions=True)
    return await asyncio.wait_for(done, 5)


async def test_who_says_the_same_has_a_turn_together():
    joins = Joins()
    tasks = await joins.wait("first")
    tasks += await joins.wait("b", "c")
    tasks += await joins.wait("d", options=GroupOptions("a", title="T"))
    tasks += await joins.wait("e")
    joins.go.set()
    assert await results(tasks) == [None] * 5
    assert joins.turns == [["first"], ["b", "c"], ["d"], ["e"]]


async def test_other_groups_do_not_wait():
    joins = Joins()
    first = await joins.wait("first")
    assert await results(await joins.wait("b", options=GroupOptions("b"))) == [None]
    assert not first[0].done()
    joins.go.set()
    await results(first)


async def test_those_that_are_put_back_are_the_next_ones():
    async def put_back_all_but_the_first(joining):
        others = joining[1:]
        joins.queue.put_back(others)
        del joining[1:]

    joins = Joins(put_back_all_but_the_first)
    tasks = await joins.wait("first", "b", "c", "d")
    tasks += await joins.wait("e", options=GroupOptions("a", title="T"))
    joins.go.set()
    assert await results(tasks) == [None] * 5
    assert joins.turns[1:] == [["b", "c", "d"], ["c", "d"], ["d"], ["e"]]


async def test_each_is_tried_alone_in_order_when_they_fail_together():
    async def refuse(joining):
        if any(one.request == "bad" for one in joining):
            raise BadRequestError("bad")

    joins = Joins(refuse)
    tasks = await joins.wait("first", "b", "bad", "c")
    joins.go.set()
    first, b, bad, c = await results(tasks)
    assert (first, b, c) == (None, None, None)
    assert str(bad) == "bad"
    assert joins.turns[1:] == [["b", "bad", "c"], ["b"], ["bad"], ["c"]]


async def test_who_is_left_of_a_turn_has_no_part_in_the_failure_of_another():
    async def refuse(joining):
        requests = [one.request for one in joining]
        if "bad" in requests:
            tasks[1].cancel()
            await asyncio.sleep(0)
            raise BadRequestError("bad")

    joins = Joins(refuse)
    tasks = await joins.wait("first", "bad", "good")
    joins.go.set()
    _, bad, good = await results(tasks)
    assert isinstance(bad, asyncio.CancelledError)
    assert good is None


async def test_who_gives_up_waiting_takes_the_request_back():
    joins = Joins()
    tasks = await joins.wait("first", "b", "c")
    tasks[1].cancel()
    joins.go.set()
    await results(tasks)
    assert joins.turns == [["first"], ["c"]]


async def test_who_gives_up_while_it_joins_stops_no_other():
    async def give_up(joining):
        tasks[1].cancel()
        await asyncio.sleep(0)

    joins = Joins(give_up)
    tasks = await joins.wait("first", "b", "c")
    joins.go.set()
    first, b, c = await results(tasks)
    assert (first, c) == (None, None)
    assert isinstance(b, asyncio.CancelledError)
    assert joins.turns[1:] == [["b", "c"]]  # a record each, not two


async def test_nobody_waits_for_a_turn_that_was_cancelled():
    async def cancelled(joining):
        raise asyncio.CancelledError

    joins = Joins(cancelled)
    tasks = await joins.wait("first", "b")
    tasks += await joins.wait("c", options=GroupOptions("a", title="T"))
    joins.go.set()
    first, *others = await results(tasks)
    assert first is None
    assert [type(one) for one in others] == [asyncio.CancelledError] * 2
    with pytest.raises(asyncio.CancelledError):
        await joins.queue.join("d", A)  # it has a turn of its own
