"""Finds the records of a background fetch, as the Cache API does (74-77, N8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.manifest import CREDENTIAL_FIELDS
from scrapy_bgfetch.rules.matching import Candidate, MatchOptions, matches, url_key
from scrapy_bgfetch.rules.validation import resolve_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence

    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.record import BackgroundFetchRecord
    from scrapy_bgfetch.registration import BackgroundFetchRegistration

_TURN = 200  # records after which others get the loop


class Matches:
    """Records that are found: a list to those who await it, one by one otherwise.

    It can be used as often as one likes, as long as the records are available.
    """

    def __init__(
        self,
        registration: BackgroundFetchRegistration,
        finder: Finder,
        query: Candidate | None,
        options: MatchOptions,
    ) -> None:
        self._registration = registration
        self._finder = finder
        self._query = query
        self._options = options

    def __aiter__(self) -> Walk:
        registration = self._registration
        registration.check_available()
        query, options = self._query, self._options
        if query is None:
            return Walk(registration, self._finder.every, lambda _live: True)
        return Walk(
            registration,
            lambda: self._finder.candidates(query, options),
            lambda live: matches(query, stored_of(live), options),
        )

    def __await__(self) -> Generator[Any, None, list[BackgroundFetchRecord]]:
        return self._list().__await__()

    async def _list(self) -> list[BackgroundFetchRecord]:
        return [record async for record in self]


class Walk:
    """Goes through candidates, and makes a record of each that is found."""

    def __init__(
        self,
        registration: BackgroundFetchRegistration,
        candidates: Callable[[], Awaitable[Sequence[LiveRecord]]],
        accepts: Callable[[LiveRecord], bool],
    ) -> None:
        self._registration = registration
        self._candidates = candidates
        self._accepts = accepts
        self._place = 0

    def __aiter__(self) -> Walk:
        return self

    async def __anext__(self) -> BackgroundFetchRecord:
        while self._place < len(candidates := await self._candidates()):
            live = candidates[self._place]
            self._place += 1
            if self._place % _TURN == 0:
                await asyncio.sleep(0)
            if self._accepts(live):
                return self._registration.record(live)
        raise StopAsyncIteration


class Finder:
    """The indices of the records of one background fetch, made when first used.

    :param records: a list that only ever grows.
    """

    def __init__(self, records: Sequence[LiveRecord]) -> None:
        self._records = records
        self._indices = [Index(records, ignore_search=no) for no in (False, True)]

    async def every(self) -> Sequence[LiveRecord]:
        """Return all records."""
        return self._records

    async def candidates(
        self, query: Candidate, options: MatchOptions
    ) -> Sequence[LiveRecord]:
        """Return the records that have the URL of a query, in their order."""
        return await self._indices[options.ignore_search].under(query.url)


class Index:
    """Records by the key of their URL."""

    def __init__(self, records: Sequence[LiveRecord], *, ignore_search: bool) -> None:
        self._records = records
        self._ignore_search = ignore_search
        self._by_key: dict[str, list[LiveRecord]] = {}
        self._known = 0

    async def under(self, url: str) -> Sequence[LiveRecord]:
        """Return the records whose URL has the same key."""
        key = url_key(url, ignore_search=self._ignore_search)
        while self._known < len(self._records):
            self._add(self._records[self._known])
            if self._known % _TURN == 0:
                await asyncio.sleep(0)
        return self._by_key.get(key, ())

    def _add(self, live: LiveRecord) -> None:
        key = url_key(live.url, ignore_search=self._ignore_search)
        self._by_key.setdefault(key, []).append(live)
        self._known += 1


def query_of(request: str | Request, base_url: str) -> Candidate:
    """Return what a search compares of a URL, maybe relative, or of a request.

    :raises BadRequestError: it is neither.
    """
    if isinstance(request, Request):
        lines = (
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in request.headers.items()
            for value in values
        )
        return Candidate(request.url, request.method, _compared(lines))
    if not isinstance(request, str):
        raise BadRequestError(
            f"match takes a URL or a scrapy.Request, not {type(request).__name__}."
        )
    return Candidate(Request(resolve_url(request, base_url)).url)


def stored_of(live: LiveRecord) -> Candidate:
    """Return what a search compares of a record, as it was registered."""
    vary = live.head.get("Vary") if live.head is not None else None
    lines = _compared(live.row.request.get("headers", ()))
    return Candidate(live.url, live.row.method, lines, vary)


def _compared(lines: Iterable[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Leave out the fields that are kept in some states and not in others."""
    return tuple(
        (name, value) for name, value in lines if name.lower() not in CREDENTIAL_FIELDS
    )
