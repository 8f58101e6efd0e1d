"""What the last settled background fetch of an id has left: is it still good?"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from typing import TYPE_CHECKING

from scrapy_bgfetch import stats
from scrapy_bgfetch.model import Result
from scrapy_bgfetch.perform.requests import META_KEY
from scrapy_bgfetch.rules.existing import is_fresh
from scrapy_bgfetch.rules.integrity import mismatch
from scrapy_bgfetch.rules.record_options import BODY_PATH, INTEGRITY, record_options
from scrapy_bgfetch.rules.revalidation import (
    Previous,
    asks_itself,
    is_another_variant,
    may_ask,
)
from scrapy_bgfetch.rules.uploads import UPLOAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.model import RecordRow
    from scrapy_bgfetch.registration import Workshop
    from scrapy_bgfetch.rules.revalidation import Lines

    _Left = dict[str, list[RecordRow]]

logger = logging.getLogger(__name__)


class Earlier:
    """Looks at what was fetched before, in this run or another."""

    def __init__(self, crawler: Crawler, workshop: Workshop, scope: str) -> None:
        self._crawler = crawler
        self._store = workshop.store
        self._bodies = workshop.bodies
        self._scope = scope

    async def fresh(
        self, id: str, requests: Sequence[Request], lifetime: float
    ) -> str | None:
        """Return the unique id of the last one, if it is as good as a new one.

        It succeeded less than ``lifetime`` seconds ago, with the same requests, and
        its files are there with their sizes. None otherwise.
        """
        row = await self._store.last_settled(self._scope, id)
        if row is None or row.result is not Result.SUCCESS:
            return None
        if not is_fresh(row.settled_at, now=time.time(), lifetime=lifetime):
            return None
        records = await self._store.records(row.uid)
        if not _same_requests(records, requests):
            return None
        there = await asyncio.to_thread(_all_there, self._bodies, records)
        return row.uid if there else None

    def skipped(self, id: str, settled_at: float | None) -> None:
        """Count and log that nothing is fetched."""
        assert self._crawler.stats is not None
        self._crawler.stats.inc_value(stats.FRESH.key())
        logger.info(
            "Background fetch %r is not fetched again: it succeeded %.0f s ago.",
            *(id, time.time() - (settled_at or 0)),
            extra={"spider": self._crawler.spider},
        )

    async def previous(
        self, id: str, requests: Sequence[Request]
    ) -> dict[int, Previous]:
        """Return, by the number of the request, what can be asked to be the same still.

        Those are the files of successful GET records of the last settled background
        fetch, with a validator that tells them from other variants (:func:`may_ask`),
        where the request sets no condition of its own. The n-th request of a URL
        is that of its n-th record, however many of them succeeded.
        """
        row = await self._store.last_settled(self._scope, id)
        if row is None:
            return {}
        left: _Left = {}
        for record in await self._store.records(row.uid):
            if record.method == "GET":
                left.setdefault(record.url, []).append(record)
        found = {}
        for number, request in enumerate(requests):
            same = _take(left, request)
            if same is not None and _may_ask(request, same):
                found[number] = _previous(same)
        return found


def _same_requests(records: Sequence[RecordRow], requests: Sequence[Request]) -> bool:
    return len(records) == len(requests) and all(
        (row.method, row.url, row.request.get("body", ""))
        == (request.method, request.url, _body(request))
        and not (UPLOAD in row.request or _sends_a_file(request))
        and not mismatch(_integrity(request), row.checksums)
        for row, request in zip(records, requests, strict=True)
    )


def _body(request: Request) -> str:
    return base64.b64encode(request.body).decode("ascii")


def _sends_a_file(request: Request) -> bool:
    return BODY_PATH in record_options(request.meta.get(META_KEY))


def _integrity(request: Request) -> dict[str, list[str]]:
    options = record_options(request.meta.get(META_KEY))
    wanted: dict[str, list[str]] = options.get(INTEGRITY, {})
    return wanted


def _all_there(bodies: LocalBodies, records: Sequence[RecordRow]) -> bool:
    return all(
        row.path is not None and bodies.file_length(row.path) == row.size
        for row in records
    )


def _take(left: _Left, request: Request) -> RecordRow | None:
    """Return the first record of that request which no other one has taken."""
    if request.method != "GET":
        return None
    same, lines = left.get(request.url, []), _lines(request)
    for place, row in enumerate(same):
        if row.head is None or not is_another_variant(row.head, _kept(row), lines):
            return same.pop(place)
    return None


def _may_ask(request: Request, row: RecordRow) -> bool:
    if row.path is None or row.failure_reason or row.head is None:
        return False
    lines = _lines(request)
    own = asks_itself(name for name, _ in lines)
    return not own and may_ask(row.head, _kept(row), lines)


def _lines(request: Request) -> Lines:
    return tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in request.headers.items()
        for value in values
    )


def _kept(row: RecordRow) -> Lines:
    return tuple((name, value) for name, value in row.request.get("headers", ()))


def _previous(row: RecordRow) -> Previous:
    assert row.path is not None
    assert row.head is not None
    assert row.size is not None
    return Previous(row.path, row.size, row.head, row.encoded, row.checksums)
