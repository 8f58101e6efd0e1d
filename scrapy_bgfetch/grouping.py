"""Ordinary requests, grouped by their ``bgfetch`` meta key.

A grouped request goes through the scheduler as usual. When its turn comes it is
*parked*: it leaves the downloader, so that it takes none of the crawl's slots,
and becomes a record. When the record has settled, the request is scheduled once
more, and is answered at once with the record's response or failure.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import asdict, define
from scrapy import Request

from scrapy_bgfetch.exceptions import (
    BackgroundFetchError,
    BadRequestError,
    record_error,
)
from scrapy_bgfetch.joining import Joining, Queue, passing, split_by_room
from scrapy_bgfetch.perform.requests import GROUPED, META_KEY, from_json
from scrapy_bgfetch.response import failure_of, response_of
from scrapy_bgfetch.rules.fetch_options import GROUP, kept_in
from scrapy_bgfetch.rules.group_options import GroupOptions, merge, parse_group_options
from scrapy_bgfetch.rules.hosts import check_allowed
from scrapy_bgfetch.rules.record_options import (
    BODY_PATH,
    record_options,
    without_record_options,
)
from scrapy_bgfetch.rules.validation import check_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy.crawler import Crawler
    from scrapy.http import Response

    from scrapy_bgfetch.model import FailureReason, RecordRow
    from scrapy_bgfetch.perform.groups import Performer
    from scrapy_bgfetch.perform.live import Group, LiveRecord
    from scrapy_bgfetch.registration import BackgroundFetchRegistration
    from scrapy_bgfetch.registry import Registry
    from scrapy_bgfetch.store.base import Store

_PARKED = {"parked": True}
CACHED_FLAG = "cached"  # Scrapy's own, so that its HTTP cache lets it alone


def is_parked(request: Request) -> bool:
    """Whether a request is on its way out of the engine."""
    return bool(request.meta.get(META_KEY) == _PARKED)


def parked(request: Request) -> Request:
    """Return what leaves the engine in place of a request that became a record."""
    meta = {META_KEY: _PARKED, "allow_offsite": True}
    return Request(request.url, meta=meta, dont_filter=True)


@define
class _Open:
    """A group that requests may still join."""

    options: GroupOptions
    group: Group


@define
class _Cut:
    """A group that ended before all of its requests came; ``missing`` did not."""

    registration: BackgroundFetchRegistration
    reason: FailureReason
    missing: int | None


class Grouping:
    """Turns grouped requests into records, and records back into requests."""

    def __init__(
        self, crawler: Crawler, registry: Registry, performer: Performer, store: Store
    ) -> None:
        self._crawler = crawler
        self._registry = registry
        self._performer = performer
        self._store = store
        self._open: dict[str, _Open] = {}
        self._cut: dict[str, _Cut] = {}
        self._unanswered: set[tuple[str, int]] = set()
        self._left: dict[str, dict[tuple[str, str], list[LiveRecord]]] = {}
        self._queue = Queue(self._join)
        registry.on_record = self.returned
        registry.on_released = self._released

    @property
    def unanswered(self) -> bool:
        """Whether requests of settled records are on their way to their callbacks."""
        return bool(self._unanswered)

    async def park(self, request: Request) -> Request:
        """Make a record of a grouped request; return what leaves in its place.

        :raises BackgroundFetchError: its meta value is unusable, or contradicts
            what an earlier request of the group said, or the group is refused.
        """
        options = parse_group_options(without_record_options(request.meta[META_KEY]))
        check_url(request.url, where="the URL of a grouped request")
        await self._queue.join(request, options)
        return parked(request)

    def returned(
        self, registration: BackgroundFetchRegistration, live: LiveRecord
    ) -> None:
        """Schedule the request of a settled record once more."""
        if not (live.row.request.get(GROUPED) and live.returnable):
            return
        request = live.request
        if not live.has_callback:
            return
        live.returnable = False
        self._unanswered.add((registration.uid, live.index))
        if request is None:
            request = from_json(live.row.request, spider=self._crawler.spider)
        value = {"id": registration.id, "uid": registration.uid, "record": live.index}
        meta = {**request.meta, META_KEY: value}
        engine = self._crawler.engine
        assert engine is not None
        engine.crawl(request.replace(url=live.url, meta=meta, dont_filter=True))

    async def outcome(self, request: Request) -> Response | None:
        """Return the response of a record that has settled.

        None for another request, whose meta was copied from a record's: it is no
        part of any group.

        :raises RecordError: it failed.
        """
        value = request.meta[META_KEY]
        found = await self._registry.find(value["uid"])
        self._unanswered.discard((value["uid"], value["record"]))
        if found is None or value["record"] >= len(found[0].records):
            raise BackgroundFetchError(
                f"{request.url} was a record of the background fetch {value['id']!r}, "
                "but the state in BGFETCH_DIR does not know it any more."
            )
        group, registration = found
        live = group.records[value["record"]]
        if (live.url, live.row.method) != (request.url, request.method):
            del request.meta[META_KEY]
            return None
        if live.failure_reason:
            record = registration.record(live)
            raise failure_of(live, registration=registration, record=record)
        flags = [META_KEY, CACHED_FLAG]
        return response_of(live, registration.bodies, request=request, flags=flags)

    def close_idle(self) -> None:
        """The spider is idle: settle the groups that wait for no record any more."""
        self._cut.clear()
        known = self._registry.forget_taken_up()
        self._left = {uid: left for uid, left in self._left.items() if uid in known}
        for group in list(self._registry.groups.values()):
            if not (group.complete or group.unannounced):
                self._performer.close_group(group)

    def _released(self, registration: BackgroundFetchRegistration) -> None:
        entry = self._open.pop(registration.id, None)
        if entry is None or entry.group.complete or not entry.group.outcome:
            return
        expected = entry.group.expected
        missing = None if expected is None else expected - len(entry.group.records)
        self._cut[registration.id] = _Cut(registration, entry.group.outcome, missing)

    async def _wait_for_end(self, id: str) -> None:
        """Wait until a group that ends just now has left its id."""
        registration = self._registry.active.get(id)
        group = registration and self._registry.groups.get(registration.uid)
        if group and group.ending and group.freed is not None:
            await asyncio.shield(group.freed)

    def _refuse_late(self, options: GroupOptions, request: Request) -> None:
        """Fail a request whose group ended, by its budget or abort, before it came.

        It must not open the group anew, without its budget.
        """
        cut = self._cut.get(options.id)
        if cut is None or (cut.missing is None and options != GroupOptions(options.id)):
            return
        if cut.missing is not None:
            cut.missing -= 1
            if not cut.missing:
                del self._cut[options.id]
        raise record_error(
            cut.reason,
            f"{request.url} came too late for the background fetch {options.id!r}: it "
            f"had ended with {cut.reason} already.",
            registration=cut.registration,
        )

    async def _join(self, options: GroupOptions, joining: Sequence[Joining]) -> None:
        """Make records of requests that say the same of their group."""
        await self._wait_for_end(options.id)
        joining = passing(joining, partial(self._refuse_late, options))
        entry = self._find_open(options)
        if entry is not None:
            with self._performer.growing(entry.group):
                await self._join_open(entry, options, joining)
        elif joining := self._not_rejoined(options.id, joining):
            await self._open_with(options, joining)

    async def _join_open(
        self, entry: _Open, options: GroupOptions, joining: Sequence[Joining]
    ) -> None:
        """Make records of those that are expected; the others have their turn next."""
        group, merged = entry.group, merge(entry.options, options)
        joining = passing(joining, partial(_check_host, merged))
        if joining:
            await self._agree(entry, merged)
        joining = self._not_rejoined(options.id, joining)
        now, later = split_by_room(group, joining)
        if not now:
            return
        if await self._registry.join(group, [one.request for one in now]):
            for one in now:
                one.end()
            self._queue.put_back(later)
        elif group.ending:  # just now: nobody may open it anew without its budget
            self._queue.put_back(joining)
        else:
            await self._open_with(options, joining)

    async def _open_with(
        self, options: GroupOptions, joining: Sequence[Joining]
    ) -> None:
        """Open a group with the first of them; the others have their turn next."""
        first, *others = joining
        self._queue.put_back(others)
        try:
            await self._open_group(options, first.request)
        except Exception as error:
            first.end(error)
        first.end()

    def _not_rejoined(self, id: str, joining: Sequence[Joining]) -> list[Joining]:
        """Let those have their records that an earlier run made; return the others."""
        left = []
        for one in joining:
            if one.over.done():
                continue
            if self._rejoin(id, one.request):
                one.end()
            else:
                left.append(one)
        return left

    def _find_open(self, options: GroupOptions) -> _Open | None:
        entry = self._open.get(options.id)
        if entry is not None and not entry.group.ending:
            return entry
        registration = self._registry.active.get(options.id)
        if registration is None:
            return None
        group = self._registry.groups[registration.uid]
        said = group.row.options.get(GROUP)
        if said is None:
            raise BadRequestError(
                f"the id {options.id!r} names a background fetch that was registered "
                "with fetch(): grouped requests cannot join it. Use another id."
            )
        entry = _Open(parse_group_options({"id": options.id, **said}), group)
        self._open[options.id] = entry
        return entry

    async def _open_group(self, options: GroupOptions, request: Request) -> None:
        _check_host(options, request)
        registration = await self._registry.register(
            options.id,
            [request],
            grouped=True,
            title=options.title or "",
            icons=options.icons or (),
            download_total=options.download_total or 0,
            expected=options.requests,
            options={GROUP: _said(options)},
        )
        group = self._registry.groups.get(registration.uid)
        if group is not None:
            self._open[options.id] = _Open(options, group)

    async def _agree(self, entry: _Open, options: GroupOptions) -> None:
        """Take over what a later request of the group brings."""
        if options == entry.options:
            return
        group = entry.group
        total = options.download_total or 0
        if total != group.download_total:
            await self._registry.check_room(total, group.downloaded)
        group.title, group.icons = options.title or "", options.icons or ()
        group.download_total, group.expected = total, options.requests
        group.limit.rate = options.rate_limit or 0
        kept, before = {GROUP: _said(options)}, group.options.priority
        group.options = kept_in(kept)
        self._performer.reprioritize(group, before)
        await self._store.amend(
            group.uid,
            title=group.title,
            icons=group.icons,
            download_total=total,
            expected=group.expected,
            options=kept,
        )
        entry.options = options

    def _rejoin(self, id: str, request: Request) -> bool:
        """Give a request the record that an earlier run made of it, if there is one.

        A spider without JOBDIR yields its requests again when it is started again;
        the record's group may have ended meanwhile.
        """
        for group, registration in self._registry.taken_up.get(id, ()):
            for live in self._rejoinable(group, request):
                if _same(live, request):
                    self._left[group.uid][_key(live.row)].remove(live)
                    live.request = request
                    live.has_callback = True
                    if live.announced and live.returnable:
                        self.returned(registration, live)
                    return True
        return False

    def _rejoinable(self, group: Group, request: Request) -> list[LiveRecord]:
        """Return the records of that URL which no request has found again yet."""
        if group.uid not in self._left:
            left = self._left[group.uid] = defaultdict(list)
            for live in group.records:
                if live.row.request.get(GROUPED):
                    left[_key(live.row)].append(live)
        return self._left[group.uid].get(_key(request), [])


def _check_host(options: GroupOptions, request: Request) -> None:
    where = "the URL of a grouped request"
    check_allowed(request.url, options.allowed_hosts, where=where)


def _key(one: Request | RecordRow) -> tuple[str, str]:
    return one.method, one.url


def _same(live: LiveRecord, request: Request) -> bool:
    kept, asked = live.row.request, record_options(request.meta.get(META_KEY))
    if kept.get(BODY_PATH) != asked.get(BODY_PATH):
        return False
    return from_json(kept, spider=None).body == request.body


def _said(options: GroupOptions) -> dict[str, Any]:
    said = asdict(options, recurse=False)
    return {k: v for k, v in said.items() if k != "id" and v is not None}
