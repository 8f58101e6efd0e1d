"""Tells Scrapy and the plug-ins what happens: events, signals, hooks, stats."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

import humanize
from attrs import define, field
from pydispatch.dispatcher import getAllReceivers
from scrapy import Request

from scrapy_bgfetch import signals, stats
from scrapy_bgfetch.events import BackgroundFetchEvent, BackgroundFetchUpdateUIEvent
from scrapy_bgfetch.exceptions import BadStatus
from scrapy_bgfetch.model import FailureReason, Result
from scrapy_bgfetch.plugins.dispatcher import Lazy
from scrapy_bgfetch.response import response_of
from scrapy_bgfetch.rules.file_names import file_name, safe_relative_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy.crawler import Crawler

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.plugins.dispatcher import Dispatcher
    from scrapy_bgfetch.record import BackgroundFetchRecord
    from scrapy_bgfetch.registration import BackgroundFetchRegistration, Snapshot
    from scrapy_bgfetch.stats import Stat

logger = logging.getLogger(__name__)


@define
class Reporter:
    """The delegate of one background fetch.

    When the spider closes, handlers and hooks that have not ended are waited for no
    more, but not cancelled: one of them may wait for the close itself.

    :ivar on_released: called when its id is free.
    :ivar on_record: called with each record that has settled.
    """

    registration: BackgroundFetchRegistration
    crawler: Crawler
    dispatcher: Dispatcher
    bodies: LocalBodies
    on_released: Callable[[BackgroundFetchRegistration], None]
    on_record: Callable[[BackgroundFetchRegistration, LiveRecord], None]
    _sent: Snapshot | None = field(default=None, init=False)

    async def registered(self) -> None:
        """Say that it was registered."""
        self._count(stats.REGISTERED)
        await self._signal("bgfetch_registered")

    def released(self) -> None:
        """Free the id."""
        self.on_released(self.registration)

    def updated(self) -> None:
        """Let the handle have its last values before any event (35)."""
        self.registration.refresh()

    async def progress(self) -> None:
        """Send a progress event, when a number has changed (68)."""
        self.registration.refresh()
        if self.registration.numbers != self._sent:
            await self._send_progress()

    async def response_started(self, record: LiveRecord) -> None:
        """Ask the plug-ins whether they want the body.

        :raises NotAllowedError: one of them refused it.
        """
        await self._ask("bgfetch_response_started", record)

    async def body_complete(self, record: LiveRecord) -> None:
        """Ask the plug-ins whether the body is what it should be.

        :raises NotAllowedError: one of them refused it.
        """
        await self._ask("bgfetch_body_complete", record)

    async def file_name(self, record: LiveRecord) -> str:
        """Let the plug-ins name the file; whatever they say is made safe."""
        name = await self.dispatcher.first(
            "bgfetch_file_name",
            registration=self.registration,
            record=self._record(record),
            response=self._response(record),
        )
        if not isinstance(name, str):
            assert record.head is not None
            name = file_name(record.url, record.head)
        return safe_relative_path(name)

    async def refresh_request(self, record: LiveRecord, why: str) -> Request | None:
        """Ask the plug-ins for a new request; an unusable answer is logged."""
        said = self._record(record)
        failure = BadStatus(why, registration=self.registration, record=said)
        new = await self.dispatcher.first(
            "bgfetch_refresh_request",
            registration=self.registration,
            record=said,
            failure=failure,
        )
        if new is None or isinstance(new, Request):
            return new
        logger.error("bgfetch_refresh_request must return a Request, not %r.", new)
        return None

    async def clicked(self) -> None:
        """Send the click event."""
        self._count(stats.CLICK)
        event = BackgroundFetchEvent("backgroundfetchclick", self.registration)
        with event.dispatching():
            await self._signal("bgfetch_click", event=event)

    async def record_settled(self, record: LiveRecord) -> None:
        """Send the signal, call the hooks, hand the record back to its spider."""
        said = self._record(record)
        self.registration.refresh()
        self._count(stats.RECORD_SETTLED)
        outcome = record.failure_reason or Result.SUCCESS
        self._count(stats.RECORD_SETTLED_AS, reason=outcome)
        self._count(stats.WIRE_BYTES, record.wire)
        if record.not_modified:
            self._count(stats.NOT_MODIFIED)
        if record.failure_reason is FailureReason.NONE:
            self._count(stats.DOWNLOADED_BYTES, record.stored)
        await self._signal("bgfetch_record_settled", record=said)
        await self._call("bgfetch_record_settled", record=said)
        self.on_record(self.registration, record)

    async def settled(self) -> None:
        """Send the last progress and the one terminal event (36), call the hooks."""
        registration = self.registration
        await self.progress()
        signal, event, stat = _terminal(registration)
        self._count(stat)
        said = _Summary(registration)
        about = {"spider": self.crawler.spider}
        logger.info("Background fetch %r: %s", registration.id, said, extra=about)
        with event.dispatching():
            await self._signal(signal, event=event)
            await self._call("bgfetch_settled")

    async def _send_progress(self) -> None:
        self._sent = self.registration.numbers
        result = self.registration.result
        self._count(stats.PROGRESS)
        if self.registration.listeners:
            event = BackgroundFetchEvent("progress", self.registration)
            with event.dispatching():
                failed = await asyncio.shield(self.registration.dispatch(event))
                self._count_errors("progress", failed)
        if self._is_heard("bgfetch_progress"):
            await asyncio.shield(self._signal_progress(result))

    async def _signal_progress(self, result: Result) -> None:
        """Send the signal, unless it has ended meanwhile: the last one follows (69)."""
        if self.registration.result is result:
            await self._send("bgfetch_progress")

    async def _ask(self, hook: str, record: LiveRecord) -> None:
        """Call a hook that may refuse what came of a record.

        :raises NotAllowedError: an implementation did.
        """
        if self.dispatcher.has(hook):
            await self.dispatcher.ask(
                hook,
                registration=self.registration,
                record=self._record(record),
                response=self._response(record),
            )

    async def _call(self, hook: str, **arguments: object) -> None:
        """Call a hook and wait for its implementations, which go on if nobody waits."""
        if self.dispatcher.has(hook):
            call = self.dispatcher.call
            await asyncio.shield(
                call(hook, registration=self.registration, **arguments)
            )

    async def _signal(self, name: str, **arguments: object) -> None:
        """Send a signal and wait for its handlers, which go on if nobody waits."""
        if self._is_heard(name):
            await asyncio.shield(self._send(name, **arguments))

    def _is_heard(self, name: str) -> bool:
        """Whether anybody is connected: Scrapy takes its time to tell nobody."""
        receivers = getAllReceivers(self.crawler.signals.sender, getattr(signals, name))
        return next(receivers, None) is not None

    async def _send(self, name: str, **arguments: object) -> None:
        """Send a signal; Scrapy logs the handlers that raise."""
        results = await self.crawler.signals.send_catch_log_async(
            getattr(signals, name),
            registration=self.registration,
            spider=self.crawler.spider,
            **arguments,
        )
        self._count_errors(name, sum(_failed(name, result) for result in results))

    def _count_errors(self, name: str, errors: int) -> None:
        if errors:
            self._count(stats.HANDLER_ERRORS, errors)
            self._count(stats.HANDLER_ERRORS_OF, errors, signal=name)

    def _count(self, stat: Stat, amount: int = 1, **parts: object) -> None:
        assert self.crawler.stats is not None
        self.crawler.stats.inc_value(stat.key(**parts), amount)

    def _record(self, record: LiveRecord) -> BackgroundFetchRecord:
        return self.registration.record(record)

    def _response(self, record: LiveRecord) -> Lazy:
        return Lazy(partial(response_of, record, self.bodies, request=record.request))


class _Summary:
    """What the log says of one that has ended: text only where it is written."""

    def __init__(self, registration: BackgroundFetchRegistration) -> None:
        self._registration = registration

    def __str__(self) -> str:
        registration = self._registration
        reason, records = registration.failure_reason, registration.records
        good = sum(not record.failure_reason for record in records)
        same = sum(record.not_modified for record in records)
        stored = humanize.naturalsize(registration.downloaded, binary=True)
        return (
            f"{registration.result}{f' ({reason})' if reason else ''}, "
            f"{good} of {len(records)} files"
            f"{f' ({same} not modified)' if same else ''}, {stored}"
        )


def _failed(signal: str, result: object) -> bool:
    """Whether it comes from a handler that raised, or that was cancelled.

    Scrapy gives a pair of handler and result for each, and logs what was raised; of
    one that was cancelled there is the bare exception.
    """
    if isinstance(result, tuple):
        return isinstance(result[1], BaseException)
    logger.error("A handler of %s was cancelled: %r", signal, result)
    return True


def _terminal(
    registration: BackgroundFetchRegistration,
) -> tuple[str, BackgroundFetchEvent, Stat]:
    reason = registration.failure_reason
    if reason is FailureReason.ABORTED:
        event = BackgroundFetchEvent("backgroundfetchabort", registration)
        return "bgfetch_abort", event, stats.ABORT
    if reason is FailureReason.NONE:
        success = BackgroundFetchUpdateUIEvent("backgroundfetchsuccess", registration)
        return "bgfetch_success", success, stats.SUCCESS
    fail = BackgroundFetchUpdateUIEvent("backgroundfetchfail", registration)
    return "bgfetch_fail", fail, stats.FAIL
