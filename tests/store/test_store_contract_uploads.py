"""What store/base.py promises of bodies that are sent, tested on every store."""

from __future__ import annotations

import base64

from attrs import evolve
from store_samples import KEPT, STALE, begin, end, records, registration

from scrapy_bgfetch.model import Result
from scrapy_bgfetch.store.base import Mark


async def uploaded(store):
    """Return what the registration has sent, and each of its records."""
    row = await store.get("u")
    return row.uploaded, [record.uploaded for record in await store.records("u")]


async def test_a_mark_says_what_was_sent_and_the_registration_has_the_sum(store):
    """58, 200."""
    await begin(store, 2)
    marks = [Mark("u", 0, 1, 0, uploaded=10), Mark("u", 1, 1, 0, uploaded=5)]
    assert await store.checkpoint(marks) == [KEPT, KEPT]
    assert await uploaded(store) == (15, [10, 5])
    assert await store.checkpoint([Mark("u", 0, 1, 0, uploaded=30)]) == [KEPT]
    assert await uploaded(store) == (35, [30, 5])


async def test_what_was_sent_never_falls(store):
    """58, B25: a second attempt begins at zero."""
    await begin(store, 1)
    await store.checkpoint([Mark("u", 0, 1, 0, uploaded=10)])
    await store.claim("u", 0)
    await store.checkpoint([Mark("u", 0, 2, 0, uploaded=4), Mark("u", 0, 2, 7)])
    assert await uploaded(store) == (10, [10])
    await store.settle_records([end(0, 2, stored=7, uploaded=3)])
    assert await uploaded(store) == (10, [10])


async def test_an_older_attempt_says_nothing_of_what_was_sent(store):
    await begin(store, 1)
    await store.claim("u", 0)
    assert await store.checkpoint([Mark("u", 0, 1, 0, uploaded=9)]) == [STALE]
    assert await uploaded(store) == (0, [0])


async def test_a_record_that_settles_says_what_was_sent_also_without_a_body(store):
    """200."""
    await begin(store, 1)
    assert await store.settle_records([end(0, 1, stored=0, uploaded=12)]) == [KEPT]
    await store.settle("u", Result.SUCCESS, "", 1.0)
    assert await uploaded(store) == (12, [12])


async def test_a_body_that_joins_is_added_to_upload_total(store):
    """98, B18: from memory or from a file."""
    await store.register(registration(upload_total=3), records(1))
    _, held, filed, none = records(4)
    coded = base64.b64encode(b"hello").decode()
    await store.extend("u", [evolve(held, request={"body": coded})])
    await store.extend(
        "u", [evolve(filed, request={"body": "", "upload": {"size": 70}})]
    )
    await store.extend("u", [none])
    assert (await store.get("u")).upload_total == 78
