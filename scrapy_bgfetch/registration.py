"""What users hold: a background fetch, and the records in it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from attrs import frozen

from scrapy_bgfetch.exceptions import BadRequestError, InvalidStateError
from scrapy_bgfetch.manifest import make_manifest
from scrapy_bgfetch.matching import Finder, Matches, query_of
from scrapy_bgfetch.plugins.dispatcher import invoke
from scrapy_bgfetch.record import BackgroundFetchRecord
from scrapy_bgfetch.rules.matching import MatchOptions
from scrapy_bgfetch.rules.validation import check_icons, check_title

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrapy import Request

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.events import BackgroundFetchEvent
    from scrapy_bgfetch.model import FailureReason, Result
    from scrapy_bgfetch.perform.groups import Performer
    from scrapy_bgfetch.perform.live import Group, LiveRecord
    from scrapy_bgfetch.perform.space import Space
    from scrapy_bgfetch.rules.matching import Candidate
    from scrapy_bgfetch.store.base import Store

    Listener = Callable[[BackgroundFetchEvent], Any]

logger = logging.getLogger(__name__)


@frozen
class Workshop:
    """What registrations act through."""

    performer: Performer
    store: Store
    bodies: LocalBodies
    space: Space


@frozen
class Snapshot:
    """The values of a handle: they change only together with an event (67)."""

    uploaded: int
    downloaded: int
    result: Result
    failure_reason: FailureReason


class BackgroundFetchRegistration:
    """A background fetch.

    There is one object for each background fetch of a crawl (behaviour 24); an
    old one never acts on a later background fetch of the same id (73).
    """

    def __init__(self, group: Group, workshop: Workshop) -> None:
        self._group = group
        self._workshop = workshop
        self._finder: Finder | None = None
        self._listeners: tuple[Listener, ...] = ()
        self.onprogress: Listener | None = None
        self.refresh()

    def __repr__(self) -> str:
        state = self.result or ("paused" if self.paused else "active")
        return f"<BackgroundFetchRegistration {self.id!r} {state}>"

    @property
    def id(self) -> str:
        """The id that its caller chose; unique among the active ones (22)."""
        return self._group.row.id

    @property
    def uid(self) -> str:
        """An id that is never used again (184)."""
        return self._group.uid

    @property
    def title(self) -> str:
        """What to call it when talking to people."""
        return self._group.title

    @property
    def icons(self) -> tuple[dict[str, Any], ...]:
        """Its icons, with ``src``, ``sizes`` and ``type``."""
        return self._group.icons

    @property
    def upload_total(self) -> int:
        """How many bytes its requests send, in their bodies (98)."""
        return self._group.upload_total

    @property
    def uploaded(self) -> int:
        """How many of those bytes were sent."""
        return self._snapshot.uploaded

    @property
    def download_total(self) -> int:
        """The most bytes that it may store, over all records; 0 for no limit."""
        return self._group.download_total

    @property
    def rate_limit(self) -> int:
        """How many bytes a second it may bring, over all records; 0 for no limit."""
        return self._group.limit.rate

    @property
    def downloaded(self) -> int:
        """How many body bytes are stored now, decoded; it can fall (3, 49)."""
        return self._snapshot.downloaded

    @property
    def result(self) -> Result:
        """Empty while it is active, then ``success`` or ``failure``."""
        return self._snapshot.result

    @property
    def failure_reason(self) -> FailureReason:
        """Why it failed; empty while it is active and after success."""
        return self._snapshot.failure_reason

    @property
    def records_available(self) -> bool:
        """Whether :meth:`match` may be called: until all handlers have ended."""
        return self._group.records_available

    @property
    def paused(self) -> bool:
        """Whether it waits for :meth:`resume`."""
        return self._group.paused

    @property
    def created_at(self) -> float:
        """When it was registered, in seconds since the epoch."""
        return self._group.row.created_at

    @property
    def settled_at(self) -> float | None:
        """When it ended, in seconds since the epoch; None while it is active."""
        return self._group.settled_at

    @property
    def base_url(self) -> str:
        """The URL against which relative URLs are resolved."""
        group = self._group
        return group.row.base_url or (group.records[0].url if group.records else "")

    @property
    def records(self) -> tuple[BackgroundFetchRecord, ...]:
        """All records, in the order of registration; always readable."""
        return tuple(self.record(live) for live in self._group.records)

    async def match(
        self,
        request: str | Request,
        *,
        ignore_search: bool = False,
        ignore_method: bool = False,
        ignore_vary: bool = False,
    ) -> BackgroundFetchRecord | None:
        """Return the first record of :meth:`match_all`, None when none matches.

        It looks only at the records of that URL, however many there are.
        """
        options = MatchOptions(ignore_search, ignore_method, ignore_vary)
        query = query_of(request, self.base_url)
        async for record in self._matches(query, options):
            return record
        return None

    def match_all(
        self,
        request: str | Request | None = None,
        *,
        ignore_search: bool = False,
        ignore_method: bool = False,
        ignore_vary: bool = False,
    ) -> Matches:
        """Return the records that match a request, all of them without one (77).

        ``await`` it for a list, or iterate with ``async for``: then each record is
        made when its turn comes, and none is held. They come in the order of
        registration; those that join meanwhile come at the end. Each time there are
        new objects (84).

        The rules are those of the Cache API (131-133). A relative URL is resolved
        against the ``base_url`` that was given to ``fetch``, otherwise against the
        first record's URL. A request is compared as its spider made it; Cookie,
        Authorization and Proxy-Authorization play no role, whatever ``Vary`` says,
        as they are not kept.

        :raises InvalidStateError: ``records_available`` is False (74).
        :raises BadRequestError: ``request`` is no URL that could be fetched.
        """
        options = MatchOptions(ignore_search, ignore_method, ignore_vary)
        query = None if request is None else query_of(request, self.base_url)
        return self._matches(query, options)

    async def abort(self) -> bool:
        """Abort; True when it was active, False when it had ended already (71).

        When this returns, the id is free and the transfers have been cut; the
        records that had ended before stay readable (57). ``result`` and
        ``failure_reason`` follow together with the event (67).

        :raises InvalidStateError: it is being registered: a plug-in refuses it in
            ``bgfetch_register`` by raising.
        :raises SuspendedError: the spider is closing; it goes on next time.
        """
        return await self._workshop.performer.abort(self._group)

    async def pause(self) -> None:
        """Stop its bytes and keep them, also over a restart (56).

        In ``bgfetch_register``: let it start paused.

        :raises InvalidStateError: it has ended, or a request is not GET.
        """
        await self._workshop.performer.pause(self._group)

    async def resume(self) -> None:
        """Go on after :meth:`pause`."""
        group = self._group
        if not (group.ending or group.freed):
            # It begins when it is registered; the store may be writing it down now.
            group.paused = False
            await self._workshop.store.amend(self.uid, paused=False)
            return
        await self._workshop.performer.resume(self._group)

    async def click(self) -> None:
        """Send the click event, while it is active or after its end (88, 207).

        Returns when its handlers have ended.
        """
        assert self._group.delegate is not None
        await self._group.delegate.clicked()

    async def manifest(self) -> dict[str, Any]:
        """Return what was fetched, how, and what its files are, as JSON values (N3).

        For :func:`verify`, later and anywhere. Files without a checksum are hashed
        in a thread. The page "The manifest" says what is in it.

        :raises InvalidStateError: it is active, or BGFETCH_HISTORY has forgotten it.
        :raises StoreError: the state cannot be read, as after the end of the crawl.
        """
        return await make_manifest(
            self.uid, self._workshop.store, self._workshop.bodies.files
        )

    async def settled(self) -> BackgroundFetchRegistration:
        """Wait until it has ended, well or not, and return it.

        A group of ordinary requests that says no number of ``requests`` ends when
        the spider is idle, and a spider is not idle while one of its callbacks
        waits: say ``requests``, or use the signals. Nor can a hook of one of its
        records wait for it: it ends when those have.

        :raises SuspendedError: the spider is closing; it goes on next time.
        """
        if not (self._group.ending or self._group.complete):
            logger.warning(
                "Somebody waits for the group %r, which says no number of requests: it "
                "ends when the spider is idle, which it is not while a callback waits. "
                'Say {"requests": N} in its meta.',
                self.id,
            )
        if self._group.finished is not None:
            await asyncio.shield(self._group.finished)
        return self

    def add_event_listener(self, type: str, listener: Listener) -> None:
        """Call ``listener``, which may be async, with each ``progress`` event.

        :raises BadRequestError: there is no event of that name.
        """
        _check_event(type)
        if not callable(listener):
            raise BadRequestError(f"a listener must be callable, {listener!r} is not.")
        if listener not in self._listeners:
            self._listeners += (listener,)

    def remove_event_listener(self, type: str, listener: Listener) -> None:
        """Undo :meth:`add_event_listener`; unknown listeners are ignored."""
        _check_event(type)
        if listener in self._listeners:
            left = list(self._listeners)
            left.remove(listener)
            self._listeners = tuple(left)

    async def update(
        self, *, title: str | None = None, icons: Sequence[Any] | None = None
    ) -> None:
        """Change what is shown of it; what is None stays."""
        changes: dict[str, Any] = {}
        if title is not None:
            changes["title"] = check_title(title)
        if icons is not None:
            changes["icons"] = check_icons(icons)
        for name, value in changes.items():
            setattr(self._group, name, value)
        if changes:
            await self._workshop.store.amend(self.uid, **changes)

    # -- for the floor that reports -------------------------------------------

    @property
    def numbers(self) -> Snapshot:
        """The values that its handle shows now."""
        return self._snapshot

    def refresh(self) -> None:
        """Take over the values as they are now."""
        group = self._group
        self._snapshot = Snapshot(
            group.uploaded, group.downloaded, group.result, group.failure_reason
        )

    @property
    def listeners(self) -> list[Listener]:
        """Those who are called with each progress event, the attribute last."""
        own = [] if self.onprogress is None else [self.onprogress]
        return [*self._listeners, *own]

    async def dispatch(self, event: BackgroundFetchEvent) -> int:
        """Call the progress listeners; return how many raised, which is logged.

        When it ends meanwhile, the rest of them waits for its last event (69).
        """
        result = self.result
        failed = 0
        for listener in self.listeners:
            if self.result is not result:
                break
            try:
                await invoke(listener, event)
            except Exception:
                failed += 1
                logger.exception("A progress listener of %r failed.", self.id)
        return failed

    @property
    def bodies(self) -> LocalBodies:
        """Where its files are."""
        return self._workshop.bodies

    def record(self, live: LiveRecord) -> BackgroundFetchRecord:
        return BackgroundFetchRecord(self, live, self._workshop.bodies)

    def check_available(self) -> None:
        """Check that its records may be searched.

        :raises InvalidStateError: ``records_available`` is False (74).
        """
        if not self.records_available:
            raise InvalidStateError(
                f"the records of {self.id!r} are no longer available: all handlers of "
                "its event have ended. Use `records` to read what is kept of them."
            )

    def _matches(self, query: Candidate | None, options: MatchOptions) -> Matches:
        self.check_available()
        if self._finder is None:
            self._finder = Finder(self._group.records)
        return Matches(self, self._finder, query, options)


def _check_event(type: str) -> None:
    if type != "progress":
        raise BadRequestError(
            f"a registration has no event {type!r}: it has 'progress'. Success, fail, "
            "abort and click are Scrapy signals, in scrapy_bgfetch.signals."
        )
