"""The background fetches of one crawl: made, taken up again, found by their id."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import humanize

from scrapy_bgfetch import stats
from scrapy_bgfetch.exceptions import IdActiveError, QuotaExceededError
from scrapy_bgfetch.model import RecordRow, RegistrationRow
from scrapy_bgfetch.perform.live import Group, LiveRecord
from scrapy_bgfetch.perform.requests import from_json, to_json
from scrapy_bgfetch.registration import BackgroundFetchRegistration
from scrapy_bgfetch.reporting import Reporter
from scrapy_bgfetch.rules.file_names import part_name
from scrapy_bgfetch.store.base import IdActive, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler

    from scrapy_bgfetch.plugins.dispatcher import Dispatcher
    from scrapy_bgfetch.registration import Workshop
    from scrapy_bgfetch.settings import Settings


logger = logging.getLogger(__name__)

_ENDED_KEPT = 8  # background fetches that are still read after their end
_Found = tuple[Group, BackgroundFetchRegistration]


class Registry:
    """Registers background fetches, and knows which ids are active.

    :param scope: whose ids they are: the spider's name (behaviours 1, 22).
    """

    def __init__(
        self,
        crawler: Crawler,
        settings: Settings,
        workshop: Workshop,
        dispatcher: Dispatcher,
        scope: str,
    ) -> None:
        self._crawler = crawler
        self._settings = settings
        self._workshop = workshop
        self._dispatcher = dispatcher
        self._scope = scope
        self._reserved: set[str] = set()
        self.active: dict[str, BackgroundFetchRegistration] = {}
        self.groups: dict[str, Group] = {}
        self.taken_up: set[str] = set()
        self._ended: OrderedDict[str, _Found] = OrderedDict()
        self.on_record: Callable[[BackgroundFetchRegistration, LiveRecord], None] = (
            lambda _registration, _record: None
        )
        self.on_released: Callable[[BackgroundFetchRegistration], None] = (
            lambda _registration: None
        )

    @property
    def busy(self) -> bool:
        """Whether a background fetch is being registered right now."""
        return bool(self._reserved)

    async def register(
        self,
        id: str,
        requests: Sequence[Request],
        *,
        grouped: bool = False,
        **columns: Any,
    ) -> BackgroundFetchRegistration:
        """Register a new background fetch and let it begin.

        ``columns`` are those of :class:`RegistrationRow`.

        :raises IdActiveError: the id is active; of two racing calls one wins (16).
        :raises QuotaExceededError: its download_total does not fit (20).
        :raises NotAllowedError: a plug-in refused it; nothing is stored.
        :raises BadRequestError: a request cannot be kept.
        """
        if id in self.active or id in self._reserved:
            raise _id_active(id)
        self._reserved.add(id)
        try:
            group, registration = self._new(id, requests, grouped, columns)
            await self.check_room(group.download_total)
            await self._dispatcher.ask("bgfetch_register", registration=registration)
            rows = [live.row for live in group.records]
            await self._workshop.store.register(group.row, rows)
            self._activate(group, registration)
        except IdActive:
            raise _id_active(id) from None
        finally:
            self._reserved.discard(id)
        self._workshop.performer.add(group)
        assert isinstance(group.delegate, Reporter)
        await group.delegate.registered()
        return registration

    async def append(self, group: Group, request: Request) -> LiveRecord | None:
        """Add a request to a group; None when the group ended just now."""
        row = self._record_row(group.uid, len(group.records), request, grouped=True)
        if await self._workshop.store.append(row) is not Verdict.KEPT:
            return None
        live = LiveRecord(group, row, request=request)
        group.add(live)
        self._workshop.performer.take_up(live)
        return live

    async def take_up(self) -> None:
        """Go on with what earlier runs of this spider left (DESIGN, "Close")."""
        performer, bodies = self._workshop.performer, self._workshop.bodies
        groups = [await self._load(row) for row in await self._undelivered()]
        unannounced = await self._workshop.store.unannounced()
        known = {part_name(uid, index) for uid, index in unannounced}
        await asyncio.to_thread(bodies.discard_orphans, known)
        for group in groups:
            registration = self._attach(group)
            self.taken_up.add(group.uid)
            if not group.ending:
                self._activate(group, registration)
            performer.add(group)
        if groups:
            assert self._crawler.stats is not None
            self._crawler.stats.inc_value(stats.RESUMED.key(), len(groups))

    async def find(self, uid: str) -> _Found | None:
        """Return a background fetch by its unique id, also one that has ended."""
        group = self._workshop.performer.groups.get(uid)
        if group is not None:
            assert isinstance(group.delegate, Reporter)
            return group, group.delegate.registration
        if uid in self._ended:
            self._ended.move_to_end(uid)
            return self._ended[uid]
        row = await self._workshop.store.get(uid)
        if row is None:
            return None
        group = await self._load(row)
        found = group, BackgroundFetchRegistration(group, self._workshop)
        self._ended[uid] = found
        if len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        return found

    async def check_room(self, download_total: int) -> None:
        """Check that so many bytes fit the disk and BGFETCH_QUOTA (20, 110).

        :raises QuotaExceededError: they don't; the message says what is left.
        """
        if not download_total:
            return
        free = await asyncio.to_thread(self._workshop.bodies.free_bytes)
        if download_total > free:
            raise _no_room(download_total, free, "the disk", "Free some space")
        quota = self._settings.quota
        if quota:
            left = max(quota - await self._workshop.store.stored_bytes(), 0)
            if download_total > left:
                raise _no_room(download_total, left, "BGFETCH_QUOTA", "Raise it")

    def _new(
        self,
        id: str,
        requests: Sequence[Request],
        grouped: bool,
        columns: dict[str, Any],
    ) -> tuple[Group, BackgroundFetchRegistration]:
        uid = uuid.uuid4().hex
        row = RegistrationRow(
            uid=uid,
            id=id,
            scope=self._scope,
            upload_total=sum(len(request.body) for request in requests),
            created_at=time.time(),
            **columns,
        )
        group = Group(row)
        for index, request in enumerate(requests):
            kept = self._record_row(uid, index, request, grouped=grouped)
            group.add(LiveRecord(group, kept, request=request))
        return group, self._attach(group)

    def _record_row(
        self, uid: str, index: int, request: Request, *, grouped: bool
    ) -> RecordRow:
        kept = to_json(
            request,
            spider=self._crawler.spider if grouped else None,
            credentials=self._settings.store_credentials,
        )
        return RecordRow(uid, index, request.url, request.method, kept)

    def _attach(self, group: Group) -> BackgroundFetchRegistration:
        registration = BackgroundFetchRegistration(group, self._workshop)
        group.delegate = Reporter(
            registration,
            self._crawler,
            self._dispatcher,
            self._workshop.bodies,
            self._released,
            self._returned,
        )
        return registration

    def _returned(
        self, registration: BackgroundFetchRegistration, live: LiveRecord
    ) -> None:
        self.on_record(registration, live)

    def _activate(
        self, group: Group, registration: BackgroundFetchRegistration
    ) -> None:
        self.active[group.row.id] = registration
        self.groups[group.uid] = group

    def _released(self, registration: BackgroundFetchRegistration) -> None:
        if self.active.get(registration.id) is registration:
            del self.active[registration.id]
            self.on_released(registration)
        self.groups.pop(registration.uid, None)
        self.taken_up.discard(registration.uid)

    async def _undelivered(self) -> list[RegistrationRow]:
        return await self._workshop.store.undelivered(self._scope)

    async def _load(self, row: RegistrationRow) -> Group:
        group = Group(row)
        for kept in await self._workshop.store.records(row.uid):
            live = LiveRecord(group, kept)
            if not kept.announced:
                self._restore_request(live)
            group.add(live)
        return group

    def _restore_request(self, live: LiveRecord) -> None:
        """Make its request again; one whose callback is gone has none any more."""
        kept = live.row.request
        try:
            live.request = from_json(kept, spider=self._crawler.spider)
        except ValueError as error:
            logger.error(  # noqa: TRY400
                "%s of the background fetch %r goes on, but its callback will not be "
                "called: %s.",
                *(live.url, live.group.row.id, error),
            )
            live.request = from_json(kept, spider=None)
            live.returnable = False


def _id_active(id: str) -> IdActiveError:
    return IdActiveError(
        f"the id {id!r} names a background fetch that is still active: wait until it "
        "has settled, abort it, or use another id. After a restart an unfinished one "
        "goes on by itself: get(id) returns it."
    )


def _no_room(wanted: int, left: int, where: str, what: str) -> QuotaExceededError:
    return QuotaExceededError(
        f"download_total is {humanize.naturalsize(wanted, binary=True)} ({wanted} "
        f"bytes), but {where} has only {humanize.naturalsize(left, binary=True)} "
        f"({left} bytes) left. {what}, or ask for less."
    )
