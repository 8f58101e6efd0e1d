"""One attempt at a record: ask, take the body, say what must happen next."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from scrapy_bgfetch.bodies.decoding import Decoder, make_decoder
from scrapy_bgfetch.model import FailureReason, Head
from scrapy_bgfetch.perform.answers import Answered, exposed, head_of
from scrapy_bgfetch.perform.outcome import (
    REFUSALS,
    Again,
    Failed,
    Outcome,
    OverBudget,
    outcome_of,
    refused,
)
from scrapy_bgfetch.perform.requests import attempt_request
from scrapy_bgfetch.perform.slots import host_of
from scrapy_bgfetch.rules.budget import announced_excess, would_exceed
from scrapy_bgfetch.rules.resume import (
    Append,
    Decision,
    Fail,
    Replace,
    RetryLater,
    after_body,
    decide,
    discards,
    range_fields,
    stored_of,
)
from scrapy_bgfetch.store.base import Mark
from scrapy_bgfetch.transport.base import Exchange, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy import Request

    from scrapy_bgfetch.bodies.local import PartFile
    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.transport.base import Transport

HEAD_FLAG = "bgfetch"
SLOT_PREFIX = "bgfetch "


class AttemptClosed(IgnoreRequest):
    """The attempt was interrupted before its request reached the network."""


class _Overlong(Exception):  # noqa: N818
    """The body goes on after the length that was promised for it."""


class Attempt:
    """One try at a record.

    It is both ends of the way through Scrapy's downloader: :meth:`run` sends the
    request in, :meth:`answer` meets it at the download handler.
    """

    def __init__(self, context: Context, record: LiveRecord, number: int) -> None:
        self._context = context
        self._record = record
        self._number = number
        self._exchange: Exchange | None = None
        self._opening: asyncio.Future[Exchange] | None = None
        self._closed = False
        self.token = f"{record.row.uid}/{record.index}/{number}"

    async def run(self) -> Outcome:
        """Make the attempt.

        Cancelling it closes its connection at once; the bytes that are stored
        stay.
        """
        self._context.attempts[self.token] = self
        try:
            return await self._run()
        except TransportError as error:
            failed = Failed(FailureReason.FETCH_ERROR, str(error))
            again = Again(RetryLater(str(error), None), failed)
            return again if error.temporary else failed
        except REFUSALS as error:
            return refused(error)
        finally:
            self._context.attempts.pop(self.token, None)
            self.close()

    def close(self) -> None:
        """Close its connection, and refuse to open another."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        self._drop_exchange()

    async def answer(self, request: Request, transport: Transport) -> Response:
        """Ask the server, at the far end of the downloader, and return the head.

        The body of a 2xx answer stays on the wire until :meth:`run` reads it;
        any other body comes with the response, cut to BGFETCH_ERROR_BODY_MAXSIZE.
        """
        exchange = await self._open(request, transport)
        self._exchange = exchange
        if self._closed:
            self._drop_exchange()
            raise AttemptClosed("the attempt was interrupted")
        body = b""
        if not 200 <= exchange.head.status < 300:
            body = await self._error_body(exchange)
            self._exchange = Answered(exchange.head, body)
        return Response(
            exchange.head.url,
            status=exchange.head.status,
            headers=exposed(exchange.head),
            body=body,
            flags=[HEAD_FLAG],
            request=request,
            certificate=exchange.certificate,
            ip_address=exchange.ip_address,
            protocol=exchange.protocol,
        )

    async def _open(self, request: Request, transport: Transport) -> Exchange:
        self._drop_exchange()
        if self._closed:
            raise AttemptClosed("the attempt was interrupted")
        self._opening = asyncio.ensure_future(transport.open(request))
        try:
            return await self._opening
        except asyncio.CancelledError:
            if self._closed:
                raise AttemptClosed("the attempt was interrupted") from None
            raise
        finally:
            self._opening = None

    async def _error_body(self, exchange: Exchange) -> bytes:
        """Read what the page may have in size and, if it drips, in time."""
        settings = self._context.settings
        limit, body = settings.error_body_maxsize, bytearray()
        deadline = time.monotonic() + settings.stall_timeout
        try:
            while len(body) < limit and time.monotonic() < deadline:
                data = await exchange.read()
                if not data:
                    break
                body += data
        except TransportError:
            pass  # the status has decided; what came of the page is enough
        finally:
            exchange.close()
        return bytes(body[:limit])

    async def _run(self) -> Outcome:
        record = self._record
        head = record.head if record.stored else None
        stored = stored_of(record.stored, head, record.size, record.encoded)
        fields = range_fields(stored)
        exchange = await self._ask(fields)
        await self._count_upload()
        head = exchange.head
        decision = decide(stored, head, ranged="Range" in fields)
        if isinstance(decision, (Append, Replace)):
            if discards(stored, decision) and not self._spend_restart():
                decision = Fail(FailureReason.FETCH_ERROR, _TOO_OFTEN)
            else:
                decision = await self._body(decision, exchange)
        body = exchange.body if isinstance(exchange, Answered) else b""
        return outcome_of(decision, head, body)

    async def _count_upload(self) -> None:
        """Count the request's body as sent, once (118)."""
        record, group = self._record, self._record.group
        if record.request is not None and record.request.body and not record.sent:
            record.sent = True
            group.uploaded += len(record.request.body)
            await self._context.store.amend(group.uid, uploaded=group.uploaded)

    def _spend_restart(self) -> bool:
        record = self._record
        left = (record.budgets or self._context.budgets).spend_restart()
        if left is not None:
            record.budgets = left
        return left is not None

    async def _body(self, decision: Append | Replace, exchange: Exchange) -> Decision:
        head = exchange.head
        self._refuse_early(head, decision)
        decoder = make_decoder(head.get("Content-Encoding"))
        await self._begin(decision, head, encoded=decoder is not None)
        return await self._take(decision, exchange, decoder)

    async def _ask(self, fields: dict[str, str]) -> Exchange:
        """Send the request through the downloader and return what answered."""
        record = self._record
        assert record.request is not None
        slot = SLOT_PREFIX + host_of(record.request.url)
        request = attempt_request(record.request, self.token, slot, fields)
        download = asyncio.ensure_future(self._context.fetch(request))
        try:
            response = await asyncio.shield(download)
        except asyncio.CancelledError:
            # The downloader goes on to its end; nobody waits for it any more.
            download.add_done_callback(_forget)
            raise
        if HEAD_FLAG in response.flags and self._exchange is not None:
            return self._exchange
        self._drop_exchange()
        return Answered(head_of(response), response.body)

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def _refuse_early(self, head: Head, decision: Append | Replace) -> None:
        record, group = self._record, self._record.group
        others = group.downloaded - record.stored
        excess = announced_excess(group.download_total, others, head, decision)
        if excess:
            raise OverBudget(
                f"{record.url} announces {excess} bytes more than are left of the "
                f"download_total of {group.download_total} bytes. {_BUDGET_ADVICE}"
            )

    async def _begin(
        self, decision: Append | Replace, head: Head, *, encoded: bool
    ) -> None:
        """Keep the head that the bytes belong to, and show it (48, 79)."""
        record = self._record
        if isinstance(decision, Append):
            record.size = decision.complete_length
        else:
            record.size = None if encoded else decision.length
        if _starts_over(decision) or record.head is None:
            record.head, record.encoded = head, encoded
        if _starts_over(decision):
            await self._forget_bytes()
        record.head_kept = False
        assert record.group.delegate is not None
        await record.group.delegate.response_started(record)
        record.wake()

    async def _forget_bytes(self) -> None:
        """Let the state forget the old bytes before new ones can follow them."""
        record = self._record
        record.drop_bytes()
        if record.marked:
            record.marked = 0
            mark = Mark(record.row.uid, record.index, self._number, stored=0)
            await self._context.store.checkpoint([mark])

    async def _take(
        self, decision: Append | Replace, exchange: Exchange, decoder: Decoder | None
    ) -> Decision:
        record = self._record
        part = self._context.bodies.open_part(record.part, record.stored)
        before = record.stored
        clean, broken = True, ""
        try:
            _check_part(part, record)
            await self._copy(exchange, decoder, part, _limit(decision))
            if decoder is not None:
                decoder.finish()
        except _Overlong:
            return after_body(_limit(decision) + 1, decision, received=1, clean=True)
        except TransportError as error:
            if not error.temporary:
                raise
            clean, broken = False, str(error)
        finally:
            self._count(part.length - record.stored)
            part.close()
        received = max(record.stored - before, 0)
        then = after_body(record.stored, decision, received=received, clean=clean)
        if broken and isinstance(then, RetryLater):
            return RetryLater(broken, None)
        return then

    async def _copy(
        self, exchange: Exchange, decoder: Decoder | None, part: PartFile, limit: int
    ) -> None:
        """The hot path: what arrives is counted, checked and written, no more."""
        record, group, read = self._record, self._record.group, exchange.read
        breath = record.stored + _BREATH
        while data := await read():
            record.wire += len(data)
            pieces = _whole(data) if decoder is None else decoder.feed(data)
            for piece in pieces:
                if record.stored + len(piece) > limit:
                    raise _Overlong
                if would_exceed(group.download_total, group.downloaded, len(piece)):
                    raise self._over_budget()
                part.write(piece)
                record.stored += len(piece)
                group.downloaded += len(piece)
                if record.stored > breath:  # one read can decode to very much
                    breath = record.stored + _BREATH
                    await asyncio.sleep(0)
            if record.waited_for:
                record.wake()

    def _count(self, missing: int) -> None:
        """Count bytes of a write that failed half-way."""
        self._record.stored += missing
        self._record.group.downloaded += missing

    def _over_budget(self) -> OverBudget:
        group = self._record.group
        return OverBudget(
            f"The next bytes of {self._record.url} would take the background fetch "
            f"{group.row.id!r} over its download_total of {group.download_total} "
            f"bytes; {group.downloaded} are stored. {_BUDGET_ADVICE}"
        )


_BREATH = 8 * 1024 * 1024  # bytes
_BUDGET_ADVICE = "Raise download_total, or take files out of the group."


_TOO_OFTEN = "it had to start again from its first byte too often (BGFETCH_RESTARTS)"


def _starts_over(decision: Append | Replace) -> bool:
    return isinstance(decision, Replace) or decision.at == 0


def _limit(decision: Append | Replace) -> int:
    """Return how many bytes may be stored when the body has ended."""
    end = decision.until if isinstance(decision, Append) else decision.length
    return sys.maxsize if end is None else end


def _whole(data: bytes) -> Iterator[bytes]:
    yield data


def _check_part(part: PartFile, record: LiveRecord) -> None:
    if part.length < record.stored:
        raise TransportError(
            f"the part file of {record.url} has lost bytes: {part.length} of "
            f"{record.stored} are left.",
            temporary=True,
        )


def _forget(download: asyncio.Future[Any]) -> None:
    if not download.cancelled():
        download.exception()
