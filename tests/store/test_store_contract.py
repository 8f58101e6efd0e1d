"""What store/base.py promises, tested on every store."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve
from store_samples import (
    HEAD,
    KEPT,
    NONE,
    STALE,
    begin,
    downloaded,
    records,
    registration,
)

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import (
    FailureReason,
    RecordRow,
    RecordState,
    Result,
)
from scrapy_bgfetch.store.base import IdActive, Mark


async def test_a_registration_and_its_records_come_back_as_they_were_given(store):
    """Behaviours 2, 5, 194."""
    row = registration(
        title="Épisode 5 \N{HEADPHONE}",
        icons=({"src": "/i.png", "sizes": "300x300"},),
        base_url="https://example.org/",
        download_total=2**40,
        upload_total=3,
        expected=2,
        options={"fail_fast": True, "nested": {"a": [1, None, 2.5]}},
        paused=True,
        downloaded=10,
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
        checksums={"sha256": "00ff"},
        uploaded=7,
        not_modified=True,
    )
    await store.register(row, [record])
    assert await store.get("u") == row
    assert await store.records("u") == [record]


async def test_get_of_an_unknown_uid_is_none_and_has_no_records(store):
    assert await store.get("nobody") is None
    assert await store.records("nobody") == []


async def test_what_was_kept_is_there_after_close_and_open(make_store, tmp_path):
    """Behaviour 201."""
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
    """Behaviour 198."""
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
    """Behaviour 198."""
    store = make_store(tmp_path)
    with pytest.raises(StoreError, match="not open"):
        await store.get("u")
    await store.open()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.get("u")


async def test_a_cancelled_caller_does_not_take_its_statement_back(store):
    await begin(store)
    waiter = asyncio.ensure_future(store.checkpoint([Mark("u", 0, 1, 5)]))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert await downloaded(store) == 5


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
    """Behaviours 1, 22, 186."""
    await store.register(registration("a", scope="one"), records(1, "a"))
    await store.register(registration("b", scope="two"), records(1, "b"))
    assert [row.uid for row in await store.undelivered("one")] == ["a"]
    assert [row.uid for row in await store.undelivered("two")] == ["b"]


async def test_a_register_that_fails_in_its_records_keeps_nothing(store):
    """Behaviours 19, 187."""
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
        await store.extend("u", records(1), grows=False)
    assert await store.records("u") == records(1)


async def test_extend_adds_a_record_that_was_expected(store):
    await store.register(registration(expected=2), records(1))
    assert await store.extend("u", records(2)[1:], grows=False) is KEPT
    assert await store.records("u") == records(2)
    assert (await store.get("u")).expected == 2


async def test_extend_by_what_was_expected_is_stale_when_it_has_settled(store):
    await store.register(registration(), records(1))
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    assert await store.extend("u", records(2)[1:], grows=False) is STALE
    assert await store.extend("nobody", records(1, "nobody"), grows=False) is STALE
    assert len(await store.records("u")) == 1


async def test_records_are_in_the_order_of_their_numbers(store):
    """Behaviour 197: 2 is before 10."""
    numbered = records(12)
    await store.register(registration(), numbered[::-2])
    for record in numbered[::2]:
        await store.extend("u", [record], grows=False)
    assert [record.index for record in await store.records("u")] == list(range(12))


AMENDMENTS = {
    "title": "new",
    "icons": ({"src": "/new.png"},),
    "download_total": 77,
    "expected": 9,
    "paused": True,
    "options": {"a": [1]},
}
SHOWN = ["title", "icons"]  # what the terminal event may still change


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


SETTLED = registration(title="old", result=Result.SUCCESS, settled_at=1.0)


async def begin_settled(store):
    await store.register(registration(title="old"), records(1))
    await store.settle("u", Result.SUCCESS, NONE, 1.0)


@pytest.mark.parametrize("name", sorted(AMENDMENTS.keys() - SHOWN))
async def test_a_settled_registration_is_not_amended(store, name):
    await begin_settled(store)
    await store.amend("u", **{name: AMENDMENTS[name]})
    assert await store.get("u") == SETTLED


@pytest.mark.parametrize("name", SHOWN)
async def test_title_and_icons_are_amended_until_the_event_was_handled(store, name):
    """Behaviour 85."""
    await begin_settled(store)
    await store.amend("u", **{name: AMENDMENTS[name]})
    assert await store.get("u") == evolve(SETTLED, **{name: AMENDMENTS[name]})


async def test_of_many_amendments_a_settled_registration_takes_title_and_icons(store):
    await begin_settled(store)
    await store.amend("u", **AMENDMENTS)
    shown = {name: AMENDMENTS[name] for name in SHOWN}
    assert await store.get("u") == evolve(SETTLED, **shown)


@pytest.mark.parametrize("name", AMENDMENTS)
async def test_nothing_is_amended_once_the_event_was_handled(store, name):
    await begin_settled(store)
    await store.delivered("u")
    await store.amend("u", **{name: AMENDMENTS[name]})
    assert await store.get("u") == evolve(SETTLED, delivered=True)
