"""One request that aiohttp has answered, and the body that follows."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING, Any

import aiohttp

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.rules.resume import identity_length
from scrapy_bgfetch.transport.body_reader import BodyReader, readable
from scrapy_bgfetch.transport.errors import stalled, transport_error
from scrapy_bgfetch.transport.shares import limit_tls
from scrapy_bgfetch.transport.tls import peer_certificate

if TYPE_CHECKING:
    from scrapy_bgfetch.transport.sending import SentBody
    from scrapy_bgfetch.transport.shares import Share

_WATCH_INTERVAL = 1.0  # seconds
_MOMENT = 0.05  # seconds


class _ReadAhead:
    """Reads a body on until somebody asks for it, up to about twice its share.

    When a connection breaks, aiohttp forgets what has arrived and was not read. A
    reader that always waits gets all of it; this is that reader in the meantime.

    :param size: how much was read already.
    """

    def __init__(self, content: aiohttp.StreamReader, size: int) -> None:
        self._content = content
        self._pieces = deque[bytes]()
        self._size = size
        self._most = 2 * content.get_read_buffer_limits()[0]
        self._wanted = False
        self._reading = asyncio.ensure_future(self._read_on())

    async def next(self) -> bytes:
        """Return the next bytes that were read, b"" when they are used up.

        What ended the reading, the body's end or an error, comes again to whoever
        goes on reading.
        """
        self._wanted = True
        while self._pieces or not self._reading.done():
            if not self._pieces:
                await self._reading
            elif data := self._pieces.popleft():
                return data
        return b""

    async def _read_on(self) -> None:
        with suppress(Exception):
            while self._size < self._most and not self._wanted:
                data = await self._content.readany()
                self._pieces.append(data)
                if not data:
                    break
                self._size += len(data)


class AiohttpExchange:
    """One answered request of :class:`AiohttpTransport`.

    Make it in the very step in which the head was received: what comes after that is
    read ahead, or past aiohttp (:class:`_ReadAhead`, :class:`BodyReader`).

    :param stall: seconds that a reader waits for the next bytes; 0 is no limit. A
        look now and then costs nothing, aiohttp's own timer moves with each read.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        url: str,
        share: Share,
        stall: float,
        body: SentBody | None = None,
    ) -> None:
        self._response = response
        self._share = share
        self._body = body
        self._content = response.content
        self._url = url
        self.head = Head(
            url, response.status, tuple(starmap(_field_line, response.raw_headers))
        )
        version = response.version
        self.protocol = f"HTTP/{version.major}.{version.minor}" if version else None
        connection = response.connection
        transport = connection.transport if connection else None
        self._protocol = connection.protocol if connection else None
        self.ip_address = _peer_address(transport)
        self.certificate = peer_certificate(transport)
        self._transport = transport
        self._first = b""
        self._reader: BodyReader | None = None
        self._ahead: _ReadAhead | None = None
        if not self._content.is_eof():  # what stands for no body has no limits
            limit_tls(transport, self._content)
            self._begin_body()
        self._stall = stall
        self._waits_since: float | None = None
        self._doubted: float | None = None
        self._stalled = False
        self._watch: asyncio.TimerHandle | None = None
        self._watch_later(_WATCH_INTERVAL)

    async def read(self) -> bytes | memoryview:
        """Return what has arrived, about twice its share at most."""
        self._waits_since = time.monotonic()
        try:
            return await self._next()
        except (aiohttp.ClientError, OSError) as error:
            raise self._meaning_of(error) from error
        finally:
            self._waits_since = None

    def close(self) -> None:
        """Give a connection back whose body has ended, close any other."""
        self._share.end()
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None and not self._content.is_eof():
            self._transport.abort()  # TLS would wait for the peer's goodbye
        if self._reader is not None:
            self._reader.close()
        if self._body is not None:
            self._body.cut()
        self._response.close()

    def _begin_body(self) -> None:
        self._first = self._content.read_nowait()
        left = (identity_length(self.head) or 0) - len(self._first)
        if left > 0 and self._body is None and readable(self._transport):
            end = self._content.feed_eof
            self._reader = BodyReader(self._transport, left, self._share, end)
        else:
            self._ahead = _ReadAhead(self._content, len(self._first))

    async def _next(self) -> bytes | memoryview:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._reader is not None:
            self._share.begin()
            return await self._reader.read()
        if self._ahead is not None:
            if data := await self._ahead.next():
                return data
            self._ahead = None
            self._share.begin()
        data = await self._content.readany()
        if not data:
            self._refuse_a_reset()
        return data

    def _refuse_a_reset(self) -> None:
        """Raise what ended a body that the end of its connection should have ended.

        To aiohttp such a body is complete, however the connection ended.
        """
        framed = {"content-length", "transfer-encoding"}
        if self._protocol is None or any(
            name.lower() in framed for name, _ in self.head.headers
        ):
            return
        error = self._protocol.exception()
        if isinstance(error, OSError):
            raise error

    def _meaning_of(self, error: Exception) -> Exception:
        if self._stalled:
            return stalled(self._url)
        return upload_error(self._body) or transport_error(error, self._url)

    def _watch_later(self, seconds: float) -> None:
        if self._transport is not None and not self._content.is_eof():
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Wake the reader of a body that does not go on.

        On a chunk that it cannot parse, aiohttp closes the connection, but tells
        nobody who waits for the body. A reader that waits for too long gets one more
        moment: when the loop was blocked, its bytes may have come just now.
        """
        assert self._transport is not None
        left, since = self._patience_left(), self._waits_since
        self._stalled = left <= 0 and since == self._doubted
        self._doubted = since if left <= 0 else None
        closed = self._transport.is_closing() and not self._content.is_eof()
        if closed or self._stalled:
            self._response.close()
        else:
            self._watch_later(min(max(left, _MOMENT), _WATCH_INTERVAL))

    def _patience_left(self) -> float:
        if not self._stall or self._waits_since is None:
            return self._stall or _WATCH_INTERVAL
        return self._waits_since + self._stall - time.monotonic()


def upload_error(body: SentBody | None) -> Exception | None:
    """Return what kept the request's body from being sent, if anything did."""
    return body.error if body is not None else None


@lru_cache(maxsize=1024)
def _field_line(name: bytes, value: bytes) -> tuple[str, str]:
    """Return what many answers share, as one object: heads are kept."""
    return name.decode("latin-1"), value.decode("latin-1")


def _peer_address(transport: asyncio.Transport | None) -> Any:
    peer = transport.get_extra_info("peername") if transport else None
    try:
        return ipaddress.ip_address(peer[0]) if peer else None
    except ValueError:
        return None
