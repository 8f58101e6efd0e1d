"""Rows and statements that the tests of the stores share."""

from __future__ import annotations

from scrapy_bgfetch.model import (
    AttemptOutcome,
    AttemptRow,
    FailureReason,
    Head,
    RecordRow,
    RegistrationRow,
    Taken,
)
from scrapy_bgfetch.store.base import Settlement, Verdict

KEPT, STALE, OVER = Verdict.KEPT, Verdict.STALE, Verdict.OVER_BUDGET
NONE, BAD_STATUS = FailureReason.NONE, FailureReason.BAD_STATUS
HEAD = Head(
    "https://example.org/a", 200, (("ETag", '"\xe9"'), ("Via", "a"), ("Via", "b"))
)
FAILURES = sorted(set(FailureReason) - {NONE})


def registration(uid="u", id="my-fetch", scope="s", **values):
    return RegistrationRow(uid=uid, id=id, scope=scope, **values)


def records(count, uid="u"):
    return [
        RecordRow(uid=uid, index=index, url=f"https://example.org/{index}")
        for index in range(count)
    ]


async def begin(store, count=1, **values):
    """Register a background fetch and claim all its records (attempt 1)."""
    row = registration(**values)
    await store.register(row, records(count, row.uid))
    for index in range(count):
        await store.claim(row.uid, index)


def end(index=0, attempt=1, reason=NONE, stored=0, uid="u", **values):
    return Settlement(uid, index, attempt, reason, stored, **values)


def log(index=0, number=1, uid="u", **values):
    """Return an attempt in which every column has a value of its own."""
    said = {
        "urls": ("https://example.org/a", "https://example.org/é"),
        "range": "bytes=4-",
        "if_range": '"v"',
        "status": 206,
        "content_range": "bytes 4-9/10",
        "content_encoding": "gzip",
        "etag": '"\xe9"',
        "last_modified": "Sun, 06 Nov 1994 08:49:37 GMT",
        "wire": 7,
        "before": 4,
        "after": 10,
        "taken": Taken.APPEND,
        "outcome": AttemptOutcome.RETRY,
        "error": "it broke off",
    }
    return AttemptRow(uid, index, number, 1.5, 2.5, **{**said, **values})


async def downloaded(store, uid="u"):
    return (await store.get(uid)).downloaded
