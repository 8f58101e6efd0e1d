"""Take a body in: checked, counted and written, with as little work as possible."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from scrapy_bgfetch.bodies.decoding import Decoder, make_decoder
from scrapy_bgfetch.bodies.digests import Digests
from scrapy_bgfetch.perform.answers import Answered, Pushback
from scrapy_bgfetch.perform.outcome import OverBudget, TooLarge
from scrapy_bgfetch.perform.pacing import paced
from scrapy_bgfetch.perform.segments import Transfer, divided
from scrapy_bgfetch.perform.space import NoRoom
from scrapy_bgfetch.rules.budget import (
    announced_excess,
    announced_length,
    would_exceed,
)
from scrapy_bgfetch.rules.resume import (
    Append,
    Decision,
    Replace,
    RetryLater,
    after_body,
    tail_differs,
)
from scrapy_bgfetch.transport.base import Exchange, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.bodies.local import PartFile
    from scrapy_bgfetch.bodies.writing import Target
    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.attempt import Attempt
    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import LiveRecord


class _TailDiffers(Exception):  # noqa: N818
    """What the body repeats is not what is stored."""


class _Overlong(Exception):  # noqa: N818
    """The body goes on after the length that was promised for it.

    :ivar more: how many bytes came at once, some of them beyond it.
    """

    def __init__(self, more: int) -> None:
        super().__init__(more)
        self.more = more


class Intake:
    """Takes the body of one answer into the part file of a record.

    :param beside: makes the attempt of another connection.
    """

    def __init__(
        self, context: Context, record: LiveRecord, beside: Callable[[], Attempt]
    ) -> None:
        self._context = context
        self._record = record
        self._beside = beside

    async def take(self, decision: Append | Replace, exchange: Exchange) -> Decision:
        """Take a body in; return what to do when it has ended, well or not.

        :raises OverBudget, TooLarge, NoRoom: its bytes are too many.
        :raises TransportError: it broke off for good.
        :raises OSError: they cannot be written.
        """
        head = exchange.head
        if self._record.row.method == "HEAD":
            return await self._take_none(head)
        self._refuse_early(decision)
        decoder = make_decoder(head.get("Content-Encoding"))
        await self._begin(decision, head, encoded=decoder is not None)
        if transfer := self._in_parts(decision):
            return await transfer.run(exchange, _limit(decision))
        return await self._receive(decision, self.paced(exchange), decoder)

    async def _take_none(self, head: Head) -> Decision:
        """Take the answer to HEAD: its fields are about a body that never comes (54).

        RFC 9110 section 9.3.2: neither a length nor a coding is held against it.
        """
        nothing = Replace(0)
        await self._begin(nothing, head, encoded=False)
        return await self._receive(nothing, Answered(head, b""), None)

    def _in_parts(self, decision: Append | Replace) -> Transfer | None:
        """Return what takes a body in over several connections, if it may have them."""
        record, settings = self._record, self._context.settings
        said = record.group.options.connections_per_record
        most = said or settings.connections_per_record
        if record.row.method != "GET":
            return None
        segments = divided(record, decision, most)
        if segments is None:
            return None
        return Transfer(
            *(self._context, record, self, segments), most=most, beside=self._beside
        )

    def _refuse_early(self, decision: Append | Replace) -> None:
        """Refuse a body that announces to be too long, before it comes."""
        record, group = self._record, self._record.group
        others = group.downloaded - record.stored
        excess = announced_excess(group.download_total, others, decision)
        if excess:
            raise OverBudget(
                f"{record.url} announces {excess} bytes more than are left of the "
                f"download_total of {group.download_total} bytes. {_BUDGET_ADVICE}"
            )
        length = announced_length(decision)
        if length is None:
            return
        most = self._context.settings.record_maxsize
        if would_exceed(most, 0, length):
            raise self._too_large(f"announces {length} bytes")
        need = length - record.stored
        if need > self._context.space.left:
            raise NoRoom(f"{need} more bytes of {record.url} do not fit", need)

    async def _begin(
        self, decision: Append | Replace, head: Head, *, encoded: bool
    ) -> None:
        """Keep the head that the bytes belong to, and show it (48, 79)."""
        record = self._record
        if isinstance(decision, Append):
            record.size = decision.complete_length
        else:
            record.size = None if encoded else decision.length
        starts_over = _starts_over(decision, record)
        if starts_over or record.head is None:
            record.head, record.encoded = head, encoded
        if starts_over:
            self._context.space.left += record.stored
            record.drop_bytes()
            await self._context.ledger.forget_bytes(record)
        record.head_kept = False
        watch_digests(self._context, record)
        assert record.group.delegate is not None
        await record.group.delegate.response_started(record)
        record.wake()

    def paced(self, exchange: Exchange) -> Exchange:
        """Return the exchange as it keeps to the rate limits, if there are any."""
        group = self._record.group
        grouped = "group" in group.row.options  # a later request may set a limit
        limits = (group.limit, self._context.limit)
        return paced(exchange, limits, later=grouped)

    async def _receive(
        self, decision: Append | Replace, exchange: Exchange, decoder: Decoder | None
    ) -> Decision:
        record = self._record
        part = self._context.bodies.open_part(record.part, record.stored)
        before = record.stored
        compared, clean, broken = 0, True, ""
        try:
            _check_part(part, record)
            if isinstance(decision, Append) and decision.verify:
                exchange = await self._compare(exchange, part, decision)
                compared = decision.verify
            await self._copy(exchange, decoder, part, self._most(decision))
            if decoder is not None:
                decoder.finish()
        except _TailDiffers:
            assert isinstance(decision, Append)
            return tail_differs(decision)
        except _Overlong as overlong:
            if self._most(decision) < _limit(decision):
                raise self._beyond_maxsize(overlong.more) from None
            return after_body(_limit(decision) + 1, decision, received=1, clean=True)
        except TransportError as error:
            if not error.temporary:
                raise
            clean, broken = False, str(error)
        finally:
            self._count(part.length - record.stored)
            part.close()
        received = max(record.stored - before, 0)
        then = after_body(
            record.stored,
            decision,
            received=received,
            clean=clean,
            compared=compared,
        )
        if broken and isinstance(then, RetryLater):
            return RetryLater(broken, None)
        return then

    async def _compare(
        self, exchange: Exchange, part: PartFile, decision: Append
    ) -> Exchange:
        """Compare what the body repeats; return the exchange with what follows.

        :raises _TailDiffers: it is another body.
        :raises TransportError: it ended before all of it was compared.
        """
        stored = memoryview(part.tail(decision.verify))
        while stored:
            data = await exchange.read()
            self._record.wire += len(data)
            if not data:
                raise TransportError(_TAIL_SHORT, temporary=True)
            same = min(len(data), len(stored))
            if stored[:same] != data[:same]:
                raise _TailDiffers
            stored, rest = stored[same:], data[same:]
        return Pushback(exchange, rest) if rest else exchange

    def _most(self, decision: Append | Replace) -> int:
        """Return how many bytes the record may have, whoever says so."""
        most = self._context.settings.record_maxsize
        return min(_limit(decision), most) if most else _limit(decision)

    async def _copy(
        self, exchange: Exchange, decoder: Decoder | None, part: PartFile, limit: int
    ) -> None:
        """The hot path: what arrives is counted, checked and written, no more."""
        record, group, read = self._record, self._record.group, exchange.read
        space, writing = self._context.space, self._context.writing
        breath = record.stored + _BREATH
        while data := await read():
            record.wire += len(data)
            pieces = (data,) if decoder is None else decoder.feed(bytes(data))
            for piece in pieces:
                size = len(piece)
                if record.stored + size > limit:
                    raise _Overlong(size)
                if would_exceed(group.download_total, group.downloaded, size):
                    raise self.over_budget()
                if size > space.left:
                    raise self.no_room(size)
                space.left -= size
                if writing.slow:
                    await self.write_slowly(part, piece)
                else:
                    writing.write(part, piece)
                record.stored += size
                group.downloaded += size
                if record.stored > breath:  # one read can decode to very much
                    breath = record.stored + _BREATH
                    await asyncio.sleep(0)
            if record.waited_for:
                record.wake()

    async def write_slowly(self, part: Target, piece: bytes | memoryview) -> None:
        """Write without the loop; the budget has no room for others meanwhile."""
        group = self._record.group
        group.downloaded += len(piece)
        try:
            await self._context.writing.write_slowly(part, piece)
        finally:
            group.downloaded -= len(piece)

    def _count(self, missing: int) -> None:
        """Count bytes of a write that failed half-way."""
        self._record.stored += missing
        self._record.group.downloaded += missing

    def no_room(self, least: int) -> NoRoom:
        record = self._record
        rest = least if record.size is None else record.size - record.stored
        return NoRoom(f"The next bytes of {record.url} do not fit", max(rest, least))

    def _beyond_maxsize(self, more: int) -> OverBudget | TooLarge:
        """Name the budget when the same bytes break that too (51)."""
        group = self._record.group
        if would_exceed(group.download_total, group.downloaded, more):
            return self.over_budget()
        return self._too_large("goes on")

    def _too_large(self, what: str) -> TooLarge:
        most = self._context.settings.record_maxsize
        return TooLarge(
            f"{self._record.url} {what}, more than BGFETCH_RECORD_MAXSIZE, {most} "
            "bytes, lets a record have: raise it, or leave the file out."
        )

    def over_budget(self) -> OverBudget:
        group = self._record.group
        return OverBudget(
            f"The next bytes of {self._record.url} would take the background fetch "
            f"{group.row.id!r} over its download_total of {group.download_total} "
            f"bytes; {group.downloaded} are stored. {_BUDGET_ADVICE}"
        )


def wanted_digests(context: Context, record: LiveRecord) -> set[str]:
    """Return the algorithms whose digests somebody wants of a body."""
    wanted = set(record.integrity)
    if context.settings.checksum is not None:
        wanted.add(context.settings.checksum)
    return wanted


def watch_digests(context: Context, record: LiveRecord) -> Digests | None:
    """Return what computes the digests that somebody wants of a body, if anybody."""
    wanted = wanted_digests(context, record)
    if wanted and record.digests is None:
        path = context.bodies.parts / record.part
        record.digests = Digests(path, sorted(wanted), context.pool)
    return record.digests


_BREATH = 8 * 1024 * 1024  # bytes
_BUDGET_ADVICE = "Raise download_total, or take files out of the group."


_TAIL_SHORT = "the part ended before the bytes that it repeats"


def _starts_over(decision: Append | Replace, record: LiveRecord) -> bool:
    if isinstance(decision, Replace):
        return True
    return decision.at == 0 and record.segments is None


def _limit(decision: Append | Replace) -> int:
    """Return how many bytes may be stored when the body has ended."""
    end = decision.until if isinstance(decision, Append) else decision.length
    return sys.maxsize if end is None else end


def _check_part(part: PartFile, record: LiveRecord) -> None:
    if part.length < record.stored:
        raise TransportError(
            f"the part file of {record.url} has lost bytes: {part.length} of "
            f"{record.stored} are left.",
            temporary=True,
        )
