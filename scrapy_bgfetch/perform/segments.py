"""Take one body in over several connections, each for another part of it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from scrapy_bgfetch.bodies.local import Place
from scrapy_bgfetch.perform.connections import Connection
from scrapy_bgfetch.perform.lines import host_of
from scrapy_bgfetch.rules.asking import ask, stored_of
from scrapy_bgfetch.rules.backoff import delay
from scrapy_bgfetch.rules.budget import would_exceed
from scrapy_bgfetch.rules.resume import Append, Done, Restart, RetryLater, decide
from scrapy_bgfetch.rules.segments import LEAST, Segments, divisible
from scrapy_bgfetch.transport.base import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.perform.attempt import Attempt
    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.intake import Intake
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.rules.resume import Decision, Replace
    from scrapy_bgfetch.rules.segments import Segment
    from scrapy_bgfetch.transport.base import Exchange

logger = logging.getLogger(__name__)

_LOOK_INTERVAL = 1.0  # seconds between two looks whether a host has room now


class _Refused(Exception):  # noqa: N818
    """A part was asked for, and something else came."""


class _Overlong(Exception):  # noqa: N818
    """An answer went on after the last byte that it had promised."""


class Transfer:
    """Takes the rest of a body in, over several connections at once or one by one.

    The first is the attempt's own. It reads on where nobody else has begun, so that a
    server without ranges is asked for nothing twice. Whoever is done takes the
    later part of the longest stretch that is left (the work of the slowest).

    :param segments: what is stored, and what is not.
    :param most: how many connections there may be.
    :param beside: makes the attempt of another connection.
    """

    def __init__(
        self,
        context: Context,
        record: LiveRecord,
        intake: Intake,
        segments: Segments,
        *,
        most: int,
        beside: Callable[[], Attempt],
    ) -> None:
        self._context = context
        self._record = record
        self._intake = intake
        self._segments = segments
        self._most = most
        self._beside = beside
        self._host = host_of(record.url)
        self._held: dict[Segment, Connection] = {}
        self._answered: asyncio.Future[None]
        self._not_before = 0.0
        self._why = ""

    async def run(self, exchange: Exchange, until: int) -> Decision:
        """Take in the body of an answer, up to ``until``, and what others bring.

        Cancelling it closes all connections at once; the bytes that are stored stay.

        :raises OverBudget, NoRoom: the next bytes are too many.
        :raises TransportError: the first connection broke off for good.
        :raises OSError: they cannot be written.
        """
        record, segments = self._record, self._segments
        self._part = self._context.bodies.open_part(record.part, segments.extent)
        record.segments = segments
        try:
            if self._part.length < segments.extent:
                return self._lost()
            first = Connection(segments.open[0], exchange, until)
            self._begin(first)
            await self._work()
        except _Overlong:
            return Restart("a part went on after the last byte that it had promised")
        finally:
            try:
                await self._stop_all()
            finally:
                self._part.close()
                if not record.stretches:
                    record.segments = None
        return self._conclusion()

    def _lost(self) -> Decision:
        """Count what the part file has lost as not stored."""
        record, had = self._record, self._record.stored
        self._segments.cut(self._part.length)
        record.stored = self._segments.stored
        record.group.downloaded -= had - record.stored
        return RetryLater(
            f"the part file of {record.url} has lost bytes: {record.stored} of {had} "
            "are left."
        )

    def _conclusion(self) -> Decision:
        record, size = self._record, self._segments.size
        if record.stored == size:
            return Done(size)
        missing = f"{size - record.stored} of {size} bytes are missing"
        return RetryLater(self._why or missing)

    # -- who does what -----------------------------------------------------------

    async def _work(self) -> None:
        """Let connections work until everything is stored, or nobody is left."""
        self._grow()
        while self._held:
            done = await self._news()
            for one in [one for one in self._held.values() if one.task in done]:
                self._ended(one)
            self._grow()

    async def _news(self) -> set[asyncio.Future[None]]:
        """Wait until a connection has ended, or others may begin; return what ended."""
        tasks = [one.task for one in self._held.values() if one.task is not None]
        self._answered = asyncio.get_running_loop().create_future()
        waits: list[asyncio.Future[None]] = [*tasks, self._answered]
        done, _ = await asyncio.wait(
            waits, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED
        )
        return done

    def _patience(self) -> float | None:
        """Return after how many seconds to look again who may begin, if ever."""
        if len(self._held) >= self._most:
            return None
        wait = self._not_before - time.monotonic()
        return wait if wait > 0 else _LOOK_INTERVAL

    def _begin(self, connection: Connection) -> None:
        self._held[connection.segment] = connection
        work = self._bring(connection)
        connection.task = asyncio.ensure_future(work)
        connection.task.add_done_callback(_seen)

    def _grow(self) -> None:
        """Open the connections that may be opened now."""
        if time.monotonic() < self._not_before:
            return
        extras = self._context.extras
        while (idle := self._most - len(self._held)) > 0:
            extra = not all(one.extra for one in self._held.values())
            if extra and not (self._may_ask() and extras.may_take(self._host)):
                return
            segment = self._next(idle + 1)
            if segment is None:
                return
            connection = Connection(segment, attempt=self._beside(), extra=extra)
            if extra:
                extras.take(self._host, connection.stop)
            self._begin(connection)

    def _may_ask(self) -> bool:
        """Whether Scrapy's downloader has room that is not the crawl's own."""
        context = self._context
        return len(context.asking) < context.settings.concurrent_records

    def _next(self, parts: int) -> Segment | None:
        """Return a segment that nobody has, or a part of the longest that is left."""
        left = self._segments.open
        free = next((one for one in left if one not in self._held), None)
        if free is not None or not left:
            return free
        longest = max(left, key=lambda one: one.left)
        part = self._segments.split(longest, parts, LEAST)
        return part or self._taken_over()

    def _taken_over(self) -> Segment | None:
        """Return the segment of one that has been asked for in vain, None without."""
        for late in [one for one in self._held.values() if one.late]:
            self._give_up(late)
            return late.segment
        return None

    def _give_up(self, connection: Connection) -> None:
        """Wait no longer for its answer: the next one would be as late."""
        connection.stop()
        self._leave(connection)
        self._most -= 1

    def _ended(self, connection: Connection) -> None:
        """Take note of how a connection has ended; raise what concerns them all."""
        self._leave(connection)
        task = connection.task
        assert task is not None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            if connection.segment.left:
                self._broke(connection, "the connection ended early")
        elif isinstance(error, (TransportError, _Refused)):
            final = isinstance(error, TransportError) and not error.temporary
            if final and connection.attempt is None:
                raise error
            self._broke(connection, str(error))
        else:
            raise error

    def _broke(self, connection: Connection, why: str) -> None:
        """Wait before the next try; one that brought nothing is one less for good."""
        logger.debug("A connection for %s broke off: %s", self._record.url, why)
        self._why = why
        if not connection.brought:
            self._most = len(self._held)
            return
        settings = self._context.settings
        base, cap = settings.retry_delay, settings.retry_max_delay
        jitter = random.random()  # noqa: S311
        wait = delay(1, base=base, cap=cap, jitter=jitter)
        self._not_before = time.monotonic() + wait

    def _leave(self, connection: Connection) -> None:
        connection.close()
        del self._held[connection.segment]
        if connection.extra:
            self._context.extras.give_back(self._host, connection.stop)

    async def _stop_all(self) -> None:
        left = list(self._held.values())
        for one in left:
            one.stop()
            self._leave(one)
        tasks = [one.task for one in left if one.task is not None]
        cancelled = False
        while any(not task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:  # one may be writing in a thread
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    # -- one connection ----------------------------------------------------------

    async def _bring(self, connection: Connection) -> None:
        if connection.attempt is not None:
            await self._open(connection, connection.attempt)
        assert connection.exchange is not None
        exchange = self._intake.paced(connection.exchange)
        record, segment = self._record, connection.segment
        while segment.left or self._reads_on(connection):
            data = await exchange.read()
            if not data:
                return
            record.wire += len(data)
            if record.log is not None and not connection.brought:
                record.log.connections += connection.attempt is not None
            connection.brought += len(data)
            await self._take(connection, memoryview(data))
            if record.waited_for:
                record.wake()

    async def _open(self, connection: Connection, attempt: Attempt) -> None:
        """Ask for the segment.

        :raises _Refused: something else came.
        """
        record, segment = self._record, connection.segment
        stored = stored_of(segment.at, record.head, record.size, False, segment.end)
        asked = ask(stored, self._context.settings.resume_without_validator)
        try:
            exchange = await attempt.open(asked.fields)
        except Exception as error:
            raise _Refused(str(error)) from error
        decision = decide(stored, exchange.head, asked)
        fits = isinstance(decision, Append) and decision.at == segment.at
        if not fits or asked.first is None or "If-Range" not in asked.fields:
            raise _Refused(f"a part was answered by {exchange.head.status}")
        assert isinstance(decision, Append)
        connection.exchange, connection.until = exchange, decision.until
        if not self._answered.done():
            self._answered.set_result(None)

    async def _take(self, connection: Connection, data: memoryview) -> None:
        segment = connection.segment
        while data and (segment.left or self._reads_on(connection)):
            piece = data[: segment.left]
            data = data[await self._store(segment, piece) :]
        if data and segment.at == connection.until:
            raise _Overlong

    def _reads_on(self, connection: Connection) -> bool:
        """Take what follows over, unless it is stored, or somebody brings it."""
        segment, until = connection.segment, connection.until
        other = self._segments.after(segment)
        if other is None or until is None or until < other.end:
            return False
        if other.at > other.start:
            return False
        holder = self._held.get(other)
        if holder is not None:
            if holder.answered:
                return False
            self._give_up(holder)
        self._segments.absorb(segment)
        return True

    async def _store(self, segment: Segment, piece: memoryview) -> int:
        """Count, check and write: the budget and the room are those of all.

        Returns how much was stored: somebody may have taken the end of the segment
        while it was written.
        """
        record, group, size = self._record, self._record.group, len(piece)
        space = self._context.space
        if would_exceed(group.download_total, group.downloaded, size):
            raise self._intake.over_budget()
        if size > space.left:
            raise self._intake.no_room(size)
        space.left -= size
        await self._write(segment, piece)
        size = min(size, segment.left)
        segment.at += size
        record.stored += size
        group.downloaded += size
        return size

    async def _write(self, segment: Segment, piece: memoryview) -> None:
        """Write, without the loop while the disk is slow: as :class:`Intake` does."""
        writing, place = self._context.writing, Place(self._part, segment.at)
        if writing.slow:
            await self._intake.write_slowly(place, piece)
        else:
            writing.write(place, piece)


def divided(
    record: LiveRecord, decision: Append | Replace, most: int
) -> Segments | None:
    """Return the segments of a body that may have several connections, or has gaps.

    None for one that is better taken in as it comes.
    """
    assert record.head is not None
    if record.segments is not None:
        return record.segments
    if most < 2:
        return None
    size = divisible(decision, record.head, record.size)
    if size is None or size - record.stored < 2 * LEAST:
        return None
    return Segments(size, ((0, record.stored),))


def _seen(task: asyncio.Task[None]) -> None:
    """Let nobody complain that its error was not looked at."""
    if not task.cancelled():
        task.exception()
