"""One attempt at a record: ask, take the body, say what must happen next."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from scrapy_bgfetch.model import FailureReason
from scrapy_bgfetch.perform.answers import Answered, exposed, head_of
from scrapy_bgfetch.perform.attempt_log import AttemptLog
from scrapy_bgfetch.perform.intake import Intake
from scrapy_bgfetch.perform.lines import host_of
from scrapy_bgfetch.perform.outcome import (
    REFUSALS,
    Again,
    Failed,
    Outcome,
    outcome_of,
    refused,
)
from scrapy_bgfetch.perform.requests import attempt_request
from scrapy_bgfetch.perform.revalidation import condition, confirmed, earlier_file
from scrapy_bgfetch.perform.sending import file_body, sending_of
from scrapy_bgfetch.rules.asking import ask, lacks_nothing, stored_of
from scrapy_bgfetch.rules.hosts import allows
from scrapy_bgfetch.rules.resume import (
    Append,
    Done,
    Fail,
    Replace,
    RetryLater,
    decide,
    discards,
)
from scrapy_bgfetch.rules.validation import shown_url
from scrapy_bgfetch.transport.base import Exchange, TransportError
from scrapy_bgfetch.transport.cancelling import take_back

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from scrapy import Request

    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.rules.asking import Stored
    from scrapy_bgfetch.transport.base import Transport

HEAD_FLAG = "bgfetch"
SLOT_PREFIX = "bgfetch "

T = TypeVar("T")


class AttemptClosed(IgnoreRequest):
    """The attempt was interrupted before its request reached the network."""


class Attempt:
    """One try at a record.

    It is both ends of the way through Scrapy's downloader: :meth:`run` sends the
    request in, :meth:`answer` meets it at the download handler.
    """

    def __init__(
        self,
        context: Context,
        record: LiveRecord,
        number: int,
        log: AttemptLog,
        token: str | None = None,
    ) -> None:
        self._context = context
        self._record = record
        self._log = log
        self._exchange: Exchange | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self._closed = False
        self._number = number
        self._others = 0
        self.token = token or f"{record.row.uid}/{record.index}/{number}"

    async def run(self) -> Outcome:
        """Make the attempt.

        Cancelling it closes its connection at once; the bytes that are stored
        stay.
        """
        self._context.attempts[self.token] = self
        self._context.asking.add(self.token)
        try:
            return await self._run()
        except TransportError as error:
            failed = Failed(FailureReason.FETCH_ERROR, str(error))
            again = Again(RetryLater(str(error), None), failed)
            return again if error.temporary else failed
        except REFUSALS as error:
            return refused(error)
        finally:
            self.end()

    def beside(self) -> Attempt:
        """Return what makes another connection of the same attempt, and is to end."""
        self._others += 1
        number, token = self._number, f"{self.token}/{self._others}"
        log = AttemptLog(number, self._record.stored, self._record.wire)
        self._context.asking.add(token)
        return Attempt(self._context, self._record, number, log, token)

    async def open(self, fields: dict[str, str]) -> Exchange:
        """Ask with these fields, and return what answers; :meth:`end` closes it.

        :raises Exception: nothing answers, or somebody refuses it.
        """
        self._context.attempts[self.token] = self
        return await self._ask(fields)

    def end(self) -> None:
        """Close it, and forget it."""
        self._context.attempts.pop(self.token, None)
        self._context.asking.discard(self.token)
        self.close()

    def close(self) -> None:
        """Close its connection, and refuse to open another."""
        self._closed = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        self._drop_exchange()

    def check(self, request: Request) -> None:
        """Check, before it is sent, that a request may go where it goes.

        :raises TransportError: it is outside of ``allowed_hosts``.
        """
        allowed = self._record.group.options.allowed_hosts
        if allowed is not None and not allows(allowed, request.url):
            raise TransportError(
                f"{shown_url(request.url)} is outside of allowed_hosts "
                f"({', '.join(allowed)}): nothing was sent there. Add its "
                "host when it may be fetched from.",
                temporary=False,
            )

    async def answer(self, request: Request, transport: Transport) -> Response:
        """Ask the server, at the far end of the downloader, and return the head.

        The body of a 2xx answer stays on the wire until :meth:`run` reads it;
        any other body comes with the response, cut to BGFETCH_ERROR_BODY_MAXSIZE.

        :raises TransportError: there is no answer, or :meth:`check` refuses it.
        """
        self.check(request)
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
        self._log.asks(request.url)
        upload = sending_of(request, self._record, self._context.bodies)
        self._record.begun = True
        return await self._unless_closed(transport.open(request, upload))

    async def _unless_closed(self, doing: Coroutine[Any, Any, T]) -> T:
        """Wait for what :meth:`close` cancels, without a task of its own.

        :raises AttemptClosed: it did.
        """
        task = self._waiting = asyncio.current_task()
        try:
            return await doing
        except asyncio.CancelledError:
            if not self._closed:
                raise
            take_back(task)
            raise AttemptClosed("the attempt was interrupted") from None
        finally:
            self._waiting = None

    async def _error_body(self, exchange: Exchange) -> bytes:
        """Read what the page may have in size and, if it drips, in time.

        It keeps to the rate limits, like any body. Where they make it drip it is cut
        too, or a low one would hold up the record for a page that nobody asked for.
        """
        settings, page = self._context.settings, bytearray()
        paced = Intake(self._context, self._record, self.beside).paced(exchange)
        most, seconds = settings.error_body_maxsize, settings.stall_timeout
        try:
            # The status has decided; what came of the page is enough.
            with suppress(TransportError, asyncio.TimeoutError):
                await self._unless_closed(_read(paced, page, most, seconds))
        finally:
            exchange.close()
        return bytes(page[:most])

    async def _run(self) -> Outcome:
        record, settings = self._record, self._context.settings
        await self._check_upload()
        stored = self._resumable()
        if lacks_nothing(stored) and record.head is not None:
            return Done(stored.length)
        asked = ask(stored, settings.resume_without_validator)
        previous = earlier_file(self._context, record)
        self._log.fields = {**asked.fields, **condition(previous)}
        exchange = await self._ask(self._log.fields)
        head = self._log.head = exchange.head
        if previous is not None and head.status == 304:
            return await confirmed(self._context, record, previous, head)
        decision = decide(stored, head, asked)
        if isinstance(decision, (Append, Replace)):
            if discards(stored, decision) and not self._spend_restart():
                decision = Fail(FailureReason.FETCH_ERROR, _TOO_OFTEN)
            else:
                self._log.takes(decision)
                intake = Intake(self._context, record, self.beside)
                decision = await intake.take(decision, exchange)
        body = exchange.body if isinstance(exchange, Answered) else b""
        return outcome_of(decision, head, body)

    def _resumable(self) -> Stored:
        """Return what is stored and can be gone on with: an upload begins anew."""
        record = self._record
        if record.row.method != "GET" or not record.stored:
            return stored_of(0, None, record.size, record.encoded)
        until = record.segments.open[0].end if record.segments is not None else None
        return stored_of(
            *(record.front, record.head, record.size, record.encoded),
            until=until if until != record.size else None,
        )

    async def _check_upload(self) -> None:
        """Look at the file that will be sent, before anything is (219).

        :raises UploadChanged: it is not what it was.
        """
        body = file_body(self._record, self._context.bodies)
        if body is not None:
            await asyncio.to_thread(body.check)

    def _spend_restart(self) -> bool:
        record = self._record
        left = (record.budgets or self._context.budgets).spend_restart()
        if left is not None:
            record.budgets = left
        return left is not None

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
        except ValueError as error:  # of RedirectMiddleware, for what is no URL
            raise IgnoreRequest(f"its redirect cannot be followed, {error}") from error
        finally:
            self._context.asking.discard(self.token)
        if HEAD_FLAG in response.flags and self._exchange is not None:
            return self._exchange
        self._drop_exchange()
        self._log.asks(response.url)
        return Answered(head_of(response), response.body)

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()


_TOO_OFTEN = "it had to start again from its first byte too often (BGFETCH_RESTARTS)"


async def _read(exchange: Exchange, page: bytearray, most: int, seconds: float) -> None:
    """Read ``most`` bytes, little more, or the whole page.

    :raises asyncio.TimeoutError: that takes longer than so many seconds.
    """

    async def read() -> None:
        nonlocal page
        while len(page) < most and (data := await exchange.read()):
            page += data

    await asyncio.wait_for(read(), seconds)


def _forget(download: asyncio.Future[Any]) -> None:
    if not download.cancelled():
        download.exception()
