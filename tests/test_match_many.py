"""match and match_all over very many records: N8, #47 (not timed: counted)."""

from __future__ import annotations

import asyncio
import tracemalloc
import weakref

import pytest
from attrs import define

from scrapy_bgfetch import matching
from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.exceptions import InvalidStateError
from scrapy_bgfetch.model import RecordRow, RegistrationRow
from scrapy_bgfetch.perform.live import Group, LiveRecord
from scrapy_bgfetch.registration import BackgroundFetchRegistration, Workshop

SITE = "https://example.com"
REQUEST = {"headers": [], "body": ""}


@define
class Many:
    """A background fetch that nobody performs, with as many records as one likes."""

    group: Group
    handle: BackgroundFetchRegistration

    def add(self, *urls: str, method: str = "GET") -> None:
        for url in urls:
            index = len(self.group.records)
            row = RecordRow("uid", index, url, method, REQUEST)
            self.group.add(LiveRecord(self.group, row))


@pytest.fixture
def many(tmp_path):
    group = Group(RegistrationRow("uid", "a", "probe"))
    bodies = LocalBodies(tmp_path / "parts", tmp_path / "files")
    workshop = Workshop(performer=None, store=None, bodies=bodies, space=None)
    return Many(group, BackgroundFetchRegistration(group, workshop))


@pytest.fixture
def compared(monkeypatch):
    """The URLs of the records that the rule has looked at."""
    looked_at = []

    def spying(query, stored, options):
        looked_at.append(stored.url)
        return matches(query, stored, options)

    matches = matching.matches
    monkeypatch.setattr(matching, "matches", spying)
    return looked_at


def numbered(count, start=0):
    return [f"{SITE}/files/{n}.mp3" for n in range(start, start + count)]


async def test_match_compares_one_of_ten_thousand_records(many, compared):
    many.add(*numbered(10_000))
    for number in (0, 4_999, 9_999):
        record = await many.handle.match(f"/files/{number}.mp3")
        assert record.index == number
    assert compared == [f"{SITE}/files/{n}.mp3" for n in (0, 4_999, 9_999)]
    assert await many.handle.match("/files/none.mp3") is None
    assert len(compared) == 3


async def test_match_stops_at_the_first_of_ten_thousand_duplicates(many, compared):
    many.add(*[f"{SITE}/same"] * 10_000)
    assert (await many.handle.match("/same")).index == 0
    assert len(compared) == 1


async def test_ten_thousand_queries_of_one_path_are_told_apart_by_the_index(
    many, compared
):
    many.add(*(f"{SITE}/download?id={n}" for n in range(10_000)))
    assert (await many.handle.match("/download?id=7777")).index == 7777
    assert len(compared) == 1
    assert (await many.handle.match("/download", ignore_search=True)).index == 0
    assert len(compared) == 2


async def test_match_all_looks_only_at_the_records_of_its_url(many, compared):
    many.add(*numbered(5_000), f"{SITE}/same", *numbered(5_000, 5_000), f"{SITE}/same")
    found = await many.handle.match_all("/same")
    assert [record.index for record in found] == [5_000, 10_001]
    assert len(compared) == 2


async def test_the_index_knows_records_that_join_later(many, compared):
    many.add(*numbered(1_000))
    assert await many.handle.match("/late.mp3") is None
    many.add(f"{SITE}/late.mp3")
    assert (await many.handle.match("/late.mp3")).index == 1_000
    assert len(compared) == 1


@pytest.mark.parametrize("query", [None, "/same"])
async def test_async_for_never_holds_the_records(many, query):
    many.add(*[f"{SITE}/same"] * 20_000)
    alive, most, count = weakref.WeakSet(), 0, 0
    async for record in many.handle.match_all(query):
        alive.add(record)
        most = max(most, len(alive))
        assert record.index == count
        count += 1
    assert count == 20_000
    assert most <= 2  # the one before it is let go when the next one is there


async def test_async_for_over_twenty_thousand_takes_next_to_no_memory(many):
    many.add(*numbered(20_000))

    async def used(walk):
        tracemalloc.start()
        try:
            await walk()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def one_by_one():
        async for _ in many.handle.match_all():
            pass

    async def as_list():
        assert len(await many.handle.match_all()) == 20_000

    assert await used(one_by_one) < 50_000 < 1_000_000 < await used(as_list)


@pytest.mark.parametrize("query", [None, "/same", "/none"])
async def test_others_get_the_loop_while_very_many_are_gone_through(many, query):
    """The first match of all makes the index: that gives way too."""
    many.add(*[f"{SITE}/same"] * 10_000)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.ensure_future(others())
    await many.handle.match_all(query)
    task.cancel()
    assert turns >= 40


@pytest.mark.parametrize("query", [None, "/same"])
async def test_records_that_join_meanwhile_come_at_the_end(many, query):
    many.add(f"{SITE}/same", f"{SITE}/same")
    seen = []
    async for record in many.handle.match_all(query):
        seen.append(record.index)
        if len(seen) <= 2:
            many.add(f"{SITE}/same")
    assert seen == [0, 1, 2, 3]


async def test_searches_that_make_the_index_together_find_all_in_order(many):
    many.add(*[f"{SITE}/same", f"{SITE}/other"] * 2_000)
    same, other, first = await asyncio.gather(
        many.handle.match_all("/same"),
        many.handle.match_all("/other"),
        many.handle.match("/other"),
    )
    assert [record.index for record in same] == list(range(0, 4_000, 2))
    assert [record.index for record in other] == list(range(1, 4_000, 2))
    assert first.index == 1


async def test_the_duplicates_of_chromiums_unit_test_are_found_in_their_numbers(many):
    """Behaviour 238: two of one URL, five of the other, seven in all."""
    urls = [f"{SITE}/{name}" for name in "abbabbb"]
    many.add(*urls)
    match_all = many.handle.match_all
    found = [await match_all("/a"), await match_all("/b"), await match_all()]
    assert [len(records) for records in found] == [2, 5, 7]
    assert [record.index for record in found[0]] == [0, 3]
    assert [record.url for record in found[2]] == urls


async def test_no_request_gives_all_records_whatever_their_method(many):
    """B21, 77."""
    many.add(f"{SITE}/a", f"{SITE}/b?c")
    many.add(f"{SITE}/a", method="POST")
    many.add(f"{SITE}/d", method="HEAD")
    assert [one.index for one in await many.handle.match_all()] == [0, 1, 2, 3]


async def test_all_ways_of_searching_need_available_records(many):
    """Behaviour 74: at once, and also when they were asked for in time."""
    many.add(f"{SITE}/a")
    early = many.handle.match_all()
    assert len(await early) == len(await early) == 1
    many.group.records_available = False
    with pytest.raises(InvalidStateError):
        many.handle.match_all()
    with pytest.raises(InvalidStateError):
        many.handle.match_all("/a")
    with pytest.raises(InvalidStateError):
        await many.handle.match("/a")
    with pytest.raises(InvalidStateError):
        await early
    with pytest.raises(InvalidStateError):
        aiter(early)
    assert [record.url for record in many.handle.records] == [f"{SITE}/a"]


async def test_a_walk_that_has_begun_goes_on_when_the_records_close(many):
    many.add(f"{SITE}/a", f"{SITE}/a")
    count = 0
    async for _ in many.handle.match_all():
        many.group.records_available = False
        count += 1
    assert count == 2
