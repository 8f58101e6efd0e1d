"""Several records that are added at once, and files that are not modified."""

from __future__ import annotations

import pytest
from attrs import evolve
from store_samples import (
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

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.model import FailureReason, Result

ERROR = FailureReason.FETCH_ERROR


async def leave(store, stored):
    """Let a background fetch fail that keeps so many bytes."""
    await begin(store, uid="old", id="old")
    await store.settle_records([end(reason=ERROR, stored=stored, uid="old")])
    await store.settle("old", Result.FAILURE, ERROR, 1.0)


async def test_extend_adds_all_records_and_grows_what_is_expected(store):
    await store.register(registration(expected=1, upload_total=5), records(1))
    sent = [evolve(one, request={"body": "MTIzNDU2Nw=="}) for one in records(3)[1:]]
    assert await store.extend("u", sent) is KEPT
    assert await store.records("u") == [*records(1), *sent]
    found = await store.get("u")
    assert (found.expected, found.upload_total) == (3, 19)


async def test_extend_leaves_an_open_number_open(store):
    await store.register(registration(expected=None), records(1))
    assert await store.extend("u", records(2)[1:]) is KEPT
    assert (await store.get("u")).expected is None


async def test_extend_of_a_settled_or_unknown_registration_is_stale(store):
    await begin(store, expected=1)
    await store.settle("u", Result.SUCCESS, NONE, 1.0)
    assert await store.extend("u", records(3)[1:]) is STALE
    assert await store.extend("nobody", records(1, "nobody")) is STALE
    assert len(await store.records("u")) == (await store.get("u")).expected == 1


async def test_extend_takes_records_of_its_registration_only(store):
    await store.register(registration(), records(1))
    with pytest.raises(ValueError, match="not of registration"):
        await store.extend("u", [*records(2)[1:], *records(1, "v")])
    assert len(await store.records("u")) == 1


async def test_extend_adds_all_or_nothing(store):
    """The second record has a number that is taken."""
    await store.register(registration(expected=1), records(1))
    with pytest.raises(StoreError):
        await store.extend("u", [records(2)[1], records(1)[0]])
    found = await store.get("u")
    assert (found.expected, found.upload_total) == (1, 0)
    assert await store.records("u") == records(1)


@pytest.mark.parametrize(("stored", "verdict"), [(20, KEPT), (21, OVER)])
async def test_extend_takes_bytes_over_within_the_budget(store, stored, verdict):
    """Behaviour 50."""
    await leave(store, stored)
    row = registration(download_total=30, downloaded=10, expected=1)
    await store.register(row, [evolve(records(1)[0], stored=10)])
    bare, taking = records(3)[1:]
    added = [bare, evolve(taking, stored=stored)]
    assert await store.extend("u", added, [("old", 0)]) is verdict
    kept = verdict is KEPT
    assert await downloaded(store) == (10 + stored if kept else 10)
    assert len(await store.records("u")) == (3 if kept else 1)
    assert len(await store.kept("s", "old")) == (0 if kept else 1)
    assert await store.stored_bytes() == 10 + stored


async def test_an_added_record_can_be_claimed_and_is_aborted_with_the_others(store):
    await begin(store, expected=1)
    await store.extend("u", records(2)[1:])
    assert await store.claim("u", 1) == 1
    await store.settle("u", Result.FAILURE, FailureReason.ABORTED, 1.0)
    assert (await store.records("u"))[1].failure_reason == "aborted"


async def test_a_record_settles_as_not_modified(store):
    await begin(store, download_total=1)
    await store.settle_records([end(size=9, head=HEAD, path="o/a", not_modified=True)])
    (record,) = await store.records("u")
    assert (record.not_modified, record.path, record.size) == (True, "o/a", 9)
    assert await downloaded(store) == 0
