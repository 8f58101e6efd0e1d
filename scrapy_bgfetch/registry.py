"""The background fetches of one crawl: made, taken up again, found by their id."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakValueDictionary

from attrs import evolve

from scrapy_bgfetch import stats
from scrapy_bgfetch.adoption import Adoption
from scrapy_bgfetch.appending import Appending, to_its_end
from scrapy_bgfetch.earlier import Earlier
from scrapy_bgfetch.exceptions import IdActiveError, InvalidStateError
from scrapy_bgfetch.model import RecordRow, RegistrationRow
from scrapy_bgfetch.new_records import NewRecords
from scrapy_bgfetch.perform.live import Group, LiveRecord
from scrapy_bgfetch.perform.turns import Turns, uncollected
from scrapy_bgfetch.permission import Permission
from scrapy_bgfetch.recovery import Recovery
from scrapy_bgfetch.registration import BackgroundFetchRegistration
from scrapy_bgfetch.reporting import Reporter
from scrapy_bgfetch.rules.uploads import upload_size
from scrapy_bgfetch.store.base import IdActive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler

    from scrapy_bgfetch.plugins.dispatcher import Dispatcher
    from scrapy_bgfetch.registration import Workshop
    from scrapy_bgfetch.rules.revalidation import Previous
    from scrapy_bgfetch.settings import Settings

_ENDED_KEPT = 8  # background fetches that are still read after their end
_Found = tuple[Group, BackgroundFetchRegistration]
# What is being registered right now, and waits for the hook in which this runs.
_AROUND: ContextVar[frozenset[asyncio.Future[None]]] = ContextVar(
    "_AROUND", default=frozenset()
)


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
        self._adoption = Adoption(workshop, scope)
        self._recovery = Recovery(crawler, workshop, scope)
        self._new_records = NewRecords(crawler, workshop, settings)
        self.appending = Appending(workshop, self._adoption, self._new_records)
        self.earlier = Earlier(crawler, workshop, scope)
        self._reporter = partial(
            Reporter,
            crawler=crawler,
            dispatcher=dispatcher,
            bodies=workshop.bodies,
            on_released=self._released,
            on_record=self._returned,
        )
        self._reserved: dict[str, asyncio.Future[None]] = {}
        self.permission = Permission(settings.permission)
        self.looking = 0
        self.active: dict[str, BackgroundFetchRegistration] = {}
        self.groups: dict[str, Group] = {}
        self.taken_up: dict[str, list[_Found]] = {}
        self._known: WeakValueDictionary[str, Group] = WeakValueDictionary()
        self._ended: OrderedDict[str, Group] = OrderedDict()
        self.on_record: Callable[[BackgroundFetchRegistration, LiveRecord], None] = (
            lambda _registration, _record: None
        )
        self.on_released: Callable[[BackgroundFetchRegistration], None] = (
            lambda _registration: None
        )

    @property
    def busy(self) -> bool:
        """Whether a background fetch is being registered, or looked for, right now."""
        return bool(self._reserved or self.looking)

    async def register(
        self,
        id: str,
        requests: Sequence[Request],
        *,
        grouped: bool = False,
        files: Sequence[BinaryIO | None] = (),
        previous: Mapping[int, Previous] | None = None,
        **columns: Any,
    ) -> BackgroundFetchRegistration:
        """Register a new background fetch and let it begin.

        ``columns`` are those of :class:`RegistrationRow`; the rest is that of
        :meth:`NewRecords.make`.

        :raises IdActiveError: the id is active; of two racing calls one wins (16).
        :raises QuotaExceededError: its download_total does not fit (20).
        :raises NotAllowedError: BGFETCH_PERMISSION or a plug-in refused it; nothing
            is stored.
        :raises BadRequestError: a request cannot be kept, or its body not be read.
        """
        make = partial(
            self._new_records.make,
            uuid.uuid4().hex,
            requests,
            files=files,
            grouped=grouped,
            previous=previous or {},
        )
        return await to_its_end(self._register(id, make, columns))

    def taken(self, id: str) -> bool:
        """Whether the id is active, or is being registered."""
        return id in self.active or id in self._reserved

    async def registering(self, id: str) -> None:
        """Wait while the id is being registered.

        :raises InvalidStateError: that waits for the one who would wait.
        """
        while id in self._reserved:
            if self._reserved[id] in _AROUND.get():
                raise InvalidStateError(
                    f"{id!r} is not registered yet: who is called while it is being "
                    "registered, as in bgfetch_register, cannot wait for it."
                )
            await asyncio.shield(self._reserved[id])

    async def _register(
        self,
        id: str,
        make: Callable[[], Awaitable[tuple[list[Request], list[RecordRow]]]],
        columns: dict[str, Any],
    ) -> BackgroundFetchRegistration:
        if self.taken(id):
            raise _id_active(id)
        self.permission.check()
        with self._reserving(id):
            requests, bare = await make()
            with self._new_records.undone(bare):
                group, adopted = await self._new(id, requests, bare, columns)
                registration = await self._keep(group, adopted)
        self._workshop.performer.add(group)
        self._adoption.taken(adopted)
        assert isinstance(group.delegate, Reporter)
        await group.delegate.registered()
        if group.paused and self.permission.asks:
            self.permission.tell_paused(id)
        return registration

    @contextmanager
    def _reserving(self, id: str) -> Iterator[None]:
        """Let nobody else have the id, while it is being registered."""
        reserved = self._reserved[id] = asyncio.get_running_loop().create_future()
        before = _AROUND.set(_AROUND.get() | {reserved})
        try:
            yield
        except IdActive:
            raise _id_active(id) from None
        finally:
            _AROUND.reset(before)
            self._reserved.pop(id).set_result(None)

    async def _keep(
        self, group: Group, adopted: Sequence[RecordRow]
    ) -> BackgroundFetchRegistration:
        """Write a new background fetch down, unless somebody refuses it."""
        registration = self._attach(group)
        rows = [live.row for live in group.records]
        with self._adoption.undone(rows):
            await self.check_room(group.download_total, group.downloaded)
            await self._dispatcher.ask("bgfetch_register", registration=registration)
            whose = [(row.uid, row.index) for row in adopted]
            group.row = _as_it_is_now(group)
            await self._workshop.store.register(group.row, rows, whose)
        self._activate(group, registration)
        return registration

    def forget_taken_up(self) -> set[str]:
        """Forget those of earlier runs that have ended; return the others' uids.

        A spider that has been idle has yielded all that it yields again.
        """
        for id, found in list(self.taken_up.items()):
            self.taken_up[id] = [one for one in found if not one[0].ending]
            if not self.taken_up[id]:
                del self.taken_up[id]
        return {one[0].uid for found in self.taken_up.values() for one in found}

    async def join(self, group: Group, requests: Sequence[Request]) -> bool:
        """Add grouped requests to their group; False when it ended just now.

        :raises NotAllowedError: BGFETCH_PERMISSION forbids it.
        :raises BadRequestError: one cannot be kept, or its body not be read.
        """
        self.permission.check()
        return await self.appending.join(group, requests)

    async def take_up(self) -> None:
        """Go on with what earlier runs of this spider left (DESIGN, "Close")."""
        with uncollected():
            groups = await self._recovery.undelivered()
            await self._recovery.tidy(groups)
            await self._admit(groups)
        await self._workshop.space.start(await self._workshop.store.stored_bytes())
        if groups:
            assert self._crawler.stats is not None
            self._crawler.stats.inc_value(stats.RESUMED.key(), len(groups))

    async def _admit(self, groups: Sequence[Group]) -> None:
        """Let all be known, before the first of them goes on."""
        performer, turns = self._workshop.performer, Turns()
        for group in groups:
            registration = self._attach(group)
            self.taken_up.setdefault(group.row.id, []).append((group, registration))
            if not group.ending:
                self._activate(group, registration)
            performer.admit(group)
            if turns.over:
                await turns.next()
        await self._adoption.open()
        for group in groups:
            await performer.go_on(group, turns)

    async def find(self, uid: str) -> _Found | None:
        """Return one, also after its end: the same while anybody has it (24)."""
        group = self._known.get(uid)
        if group is None:
            row = await self._workshop.store.get(uid)
            loaded = None if row is None else await self._recovery.load(row)
            if loaded is None or not loaded.records:  # forgotten, maybe in between
                return None
            group = self._known.get(uid, loaded)  # maybe somebody was faster
            if group is loaded:
                self._attach(group)
        assert isinstance(group.delegate, Reporter)
        if uid not in self._workshop.performer.groups:
            self._ended[uid] = group
            self._ended.move_to_end(uid)
            if len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)
        return group, group.delegate.registration

    async def history(self, limit: int) -> list[BackgroundFetchRegistration]:
        """Return those that have settled, the last settled first."""
        rows = await self._workshop.store.history(self._scope, limit)
        found = [await self.find(row.uid) for row in rows]
        return [one[1] for one in found if one is not None and one[1].result]

    async def check_room(self, download_total: int, stored: int = 0) -> None:
        """Check that so many bytes fit the disk and BGFETCH_QUOTA (20, 110).

        ``stored`` of them are there already. Without a number, that there is any
        room at all, unless one may wait for it.

        :raises QuotaExceededError: they don't; the message says what is left.
        """
        waits = self._settings.on_full == "pause"
        await self._workshop.space.require(download_total, stored, waits=waits)

    async def forget(self, *, most: int = sys.maxsize) -> None:
        """Forget the settled background fetches beyond BGFETCH_HISTORY.

        :param most: after so many transactions leave the rest for later.
        """
        keep = self._settings.history
        for _ in range(most if keep else 0):
            if not await self._workshop.store.forget(self._scope, keep):
                return

    async def _new(
        self,
        id: str,
        requests: Sequence[Request],
        bare: Sequence[RecordRow],
        columns: dict[str, Any],
    ) -> tuple[Group, list[RecordRow]]:
        """Return a new background fetch, and the records whose bytes it adopts."""
        rows, adopted = await self._adoption.take(
            id, bare, download_total=columns.get("download_total", 0)
        )
        row = RegistrationRow(
            uid=bare[0].uid,
            id=id,
            scope=self._scope,
            upload_total=sum(upload_size(row.request) for row in rows),
            downloaded=sum(row.stored for row in rows),
            created_at=time.time(),
            paused=self.permission.asks,
            **columns,
        )
        group = Group(row)
        for kept, request in zip(rows, requests, strict=True):
            group.add(LiveRecord(group, kept, request=request))
        return group, adopted

    def _attach(self, group: Group) -> BackgroundFetchRegistration:
        registration = BackgroundFetchRegistration(group, self._workshop)
        self._known[group.uid] = group
        group.delegate = self._reporter(registration)
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
        group = self.groups.pop(registration.uid, None)
        if group is not None and any(
            r.failure_reason and r.stored for r in group.records
        ):
            self._adoption.left(registration.id)


def _as_it_is_now(group: Group) -> RegistrationRow:
    """Return its row with what a plug-in has changed since it was made.

    The store could not amend what it did not have yet.
    """
    paused, title, icons = group.paused, group.title, group.icons
    return evolve(group.row, paused=paused, title=title, icons=icons)


def _id_active(id: str) -> IdActiveError:
    return IdActiveError(
        f"the id {id!r} names a background fetch that is still active: wait until it "
        "has settled, abort it, or use another id. After a restart an unfinished one "
        "goes on by itself: get(id) returns it."
    )
