"""The body of a request on aiohttp: sent in pieces, counted, watched."""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import aclosing
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from scrapy_bgfetch.rules.uploads import may_repeat
from scrapy_bgfetch.transport.base import Exchange, TransportError
from scrapy_bgfetch.transport.cancelling import Limit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from aiohttp.abc import AbstractStreamWriter

    from scrapy_bgfetch.transport.base import Upload

_RESET = struct.pack("ii", 1, 0)  # linger for no time: RFC 9293's ABORT
_LOOK_INTERVAL = 0.5  # seconds


E = TypeVar("E", bound=Exchange)


class SentBody(aiohttp.Payload):
    """Sends a body once; aiohttp cannot repeat it by itself (43).

    :ivar error: what its pieces raised: aiohttp shows something else.
    :ivar moved: when it last moved, by the monotonic clock; None before.
    :ivar ended: whether all of it was handed to the network.
    """

    def __init__(self, upload: Upload) -> None:
        super().__init__(upload)
        self._upload = upload
        self._size = upload.size
        self._transport: asyncio.Transport | None = None
        self.error: Exception | None = None
        self.moved: float | None = None
        self.ended = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: the body is never whole in memory."""
        raise TypeError(f"a body in pieces has no text, in {encoding} or {errors}")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body."""
        if self._consumed:
            raise aiohttp.ClientConnectionError("the body was sent once already")
        self._consumed = True
        self._transport = getattr(writer, "transport", None)
        self.moved = time.monotonic()
        try:
            async with aclosing(self._upload.pieces()) as pieces:
                async for piece in pieces:
                    await writer.write(piece)
                    self.moved = time.monotonic()
                    self._upload.sent(len(piece))
        except (OSError, aiohttp.ClientError):
            raise
        except Exception as error:
            self.error = error
            raise
        self.ended = True

    def cut(self) -> None:
        """Break the connection off, unless the body has been sent."""
        transport = self._transport
        if not self.ended and transport is not None and not transport.is_closing():
            socket = transport.get_extra_info("socket")
            if socket is not None:  # otherwise the system goes on with what it has
                socket.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            transport.abort()


class _Once:
    """Sends a request once; a second try comes to what the first one came to."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._error is not None:
            raise self._error
        try:
            return await send(request)
        except Exception as error:
            self._error = error
            raise


def repeats_of(method: str) -> Sequence[aiohttp.ClientMiddlewareType]:
    """Return what keeps aiohttp from sending a request again, if it may not (43).

    When a connection breaks, it repeats each idempotent method. Without a body there
    is no :class:`SentBody` that would refuse.
    """
    return () if may_repeat(method, retry_uploads=False) else (_Once(),)


class Patience:
    """How long to wait for an answer.

    :param answer: seconds until the head is there, from the end of the body on.
    :param stall: seconds that the body may not move. 0 is no limit, of both.
    """

    def __init__(
        self, url: str, body: SentBody | None, answer: float, stall: float
    ) -> None:
        self._url = url
        self._body = body
        self._answer = answer
        self._stall = stall
        self._began = time.monotonic()

    async def wait_for(self, sending: Coroutine[Any, Any, E]) -> E:
        """Return the exchange; one that takes too long, or that nobody wants, is cut.

        :raises TransportError: nothing moved for too long.
        """
        if self._body is None:
            return await self._wait_for_answer(sending)
        opening = asyncio.ensure_future(sending)
        try:
            while not opening.done():
                limit, left = self._left()
                if limit and left <= 0:
                    raise self.lost()
                await asyncio.wait(
                    {opening}, timeout=self._until_next_look(limit, left)
                )
            return opening.result()
        except BaseException:
            opening.cancel()
            opening.add_done_callback(_close_late)
            self._body.cut()
            raise

    async def _wait_for_answer(self, sending: Coroutine[Any, Any, E]) -> E:
        """Wait without a task of its own, which most requests would make in vain."""
        limit = Limit(self._answer)
        try:
            return await sending
        except asyncio.CancelledError:
            if limit.passed():
                raise self.lost() from None
            raise
        finally:
            limit.stop()

    def lost(self) -> TransportError:
        """Return the error of an exchange that took too long."""
        if self._is_sending():
            why = f"took no byte of the request's body for {self._stall:g} seconds"
        else:
            why = f"did not answer within {self._answer:g} seconds"
        return TransportError(f"{self._url} {why}.", temporary=True)

    def _left(self) -> tuple[float, float]:
        """Return the limit that holds now, and what is left of it."""
        limit = self._stall if self._is_sending() else self._answer
        moved = self._body.moved if self._body is not None else None
        since = self._began if moved is None else moved
        return limit, since + limit - time.monotonic()

    def _until_next_look(self, limit: float, left: float) -> float | None:
        if self._body is not None:  # another limit may hold soon
            return min(left, _LOOK_INTERVAL) if limit else _LOOK_INTERVAL
        return left if limit else None

    def _is_sending(self) -> bool:
        body = self._body
        return body is not None and body.moved is not None and not body.ended


def _close_late(opening: asyncio.Future[E]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
