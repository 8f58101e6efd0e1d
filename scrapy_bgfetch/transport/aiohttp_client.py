"""The transport on aiohttp's public client API."""

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
import yarl

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.network import bind_address
from scrapy_bgfetch.transport.base import TransportError
from scrapy_bgfetch.transport.errors import stalled, transport_error
from scrapy_bgfetch.transport.guard import BlockedAddressError, Guard
from scrapy_bgfetch.transport.sending import Patience, SentBody, repeats_of
from scrapy_bgfetch.transport.shares import READ_SIZE, Share, Shares, limit_tls
from scrapy_bgfetch.transport.tls import peer_certificate, ssl_context

if TYPE_CHECKING:
    from scrapy import Request

    from scrapy_bgfetch.network import Network
    from scrapy_bgfetch.rules.addresses import AddressRule
    from scrapy_bgfetch.transport.base import Upload

_LINE_SIZE = 64 * 1024  # of the status line, and of each header field
_WATCH_INTERVAL = 1.0  # seconds
_MOMENT = 0.05  # seconds
_REUSED = "the connection had been used before"

_FRAMING = {b"content-length", b"transfer-encoding"}
_NO_AUTO_FIELDS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class _ReadAhead:
    """Reads a body on until somebody asks for it, up to about twice its share.

    When a connection breaks, aiohttp forgets what has arrived and was not read. A
    reader that always waits gets all of it; this is that reader in the meantime.
    """

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        first = content.read_nowait()
        self._pieces = deque([first])
        self._size = len(first)
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

    Make it in the very step in which the head was received: see :class:`_ReadAhead`.

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
        self._ahead = None if self._content.is_eof() else _ReadAhead(self._content)
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
        if self._ahead is not None:  # what stands for no body has no limits
            limit_tls(transport, self._content)
        self._stall = stall
        self._waits_since: float | None = None
        self._doubted: float | None = None
        self._stalled = False
        self._watch: asyncio.TimerHandle | None = None
        self._watch_later(_WATCH_INTERVAL)

    async def read(self) -> bytes:
        """Return what has arrived, about twice its share at most."""
        self._waits_since = time.monotonic()
        try:
            if self._ahead is not None:
                if data := await self._ahead.next():
                    return data
                self._ahead = None
                self._share.begin()
            data = await self._content.readany()
            if not data:
                self._refuse_a_reset()
        except (aiohttp.ClientError, OSError) as error:
            raise self._meaning_of(error) from error
        finally:
            self._waits_since = None
        return data

    def close(self) -> None:
        """Give a connection back whose body has ended, close any other."""
        self._share.end()
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None and not self._content.is_eof():
            self._transport.abort()  # TLS would wait for the peer's goodbye
        if self._body is not None:
            self._body.cut()
        self._response.close()

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
        return _upload_error(self._body) or transport_error(error, self._url)

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


class AiohttpTransport:
    """One session for each local address, made when it is first used.

    :param addresses: which addresses may be connected to, None for any. The
        proxy of a request always may.
    """

    def __init__(
        self,
        network: Network,
        *,
        stall_timeout: float,
        addresses: AddressRule | None = None,
    ) -> None:
        self._network = network
        self._guard = Guard(addresses) if addresses is not None else None
        self._stall_timeout = stall_timeout
        self._ssl = ssl_context(network)
        self._shares = Shares()
        self._sessions: dict[tuple[Any, Guard | None], aiohttp.ClientSession] = {}

    async def open(
        self, request: Request, upload: Upload | None = None
    ) -> AiohttpExchange:
        """Send the request as the downloader middlewares left it.

        The head must arrive within ``download_timeout``, or the time for a stall where
        that is shorter, counted from the end of the body; the body must not stall.
        """
        timeout = float(request.meta.get("download_timeout", self._network.timeout))
        if self._stall_timeout:
            timeout = min(timeout or self._stall_timeout, self._stall_timeout)
        started, notes = time.monotonic(), set[str]()
        body = SentBody(upload) if upload is not None else None
        patience = Patience(request.url, body, timeout, self._stall_timeout)
        try:
            with self._shares.taken() as share:
                sending = self._send(request, body, notes, share)
                exchange = await patience.wait_for(sending)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reused = _REUSED in notes
            raise _upload_error(body) or transport_error(
                error, request.url, reused=reused
            ) from error
        request.meta["download_latency"] = time.monotonic() - started
        return exchange

    async def close(self) -> None:
        """Close all sessions."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
        if self._guard is not None:
            await self._guard.close()

    async def _send(
        self, request: Request, body: SentBody | None, notes: set[str], share: Share
    ) -> AiohttpExchange:
        url, proxy, guard = yarl.URL(request.url, encoded=True), _proxy(request), None
        if not proxy:
            guard = self._guard
        elif self._guard is not None:
            await self._guard.check_host(url.raw_host or "")
        local = bind_address(request.meta.get("bindaddress"))
        response = await self._session(local, guard).request(
            request.method,
            url,
            data=body,
            headers=_fields(request),
            allow_redirects=False,
            ssl=self._ssl,
            read_bufsize=self._shares.size,
            trace_request_ctx=notes,
            middlewares=repeats_of(request.method),
            **proxy,
        )
        stall = self._stall_timeout
        return _checked(
            AiohttpExchange(response, request.url, share, stall, body), guard
        )

    def _session(
        self, local: tuple[str, int] | None, guard: Guard | None
    ) -> aiohttp.ClientSession:
        key = (local or self._network.bind_address, guard)
        if key not in self._sessions:
            self._sessions[key] = self._new_session(*key)
        return self._sessions[key]

    def _new_session(
        self, local: tuple[str, int] | None, guard: Guard | None
    ) -> aiohttp.ClientSession:
        # The slots of the downloads are counted elsewhere: no limit here.
        if guard is not None:
            connector = guard.connector(local, self._shares.socket)
        else:
            connector = aiohttp.TCPConnector(
                limit=0, local_addr=local, socket_factory=self._shares.socket
            )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_SIZE,
            max_line_size=_LINE_SIZE,
            max_field_size=_LINE_SIZE,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=_NO_AUTO_FIELDS,
            trace_configs=[_tracing()],
        )


def _checked(exchange: AiohttpExchange, guard: Guard | None) -> AiohttpExchange:
    """Return the exchange, unless its peer is none that the guard permits.

    The address 0.0.0.0, for one, leads to another.
    """
    if guard is not None and exchange.ip_address is not None:
        try:
            guard.check(str(exchange.ip_address))
        except BlockedAddressError:
            exchange.close()
            raise
    return exchange


def _tracing() -> aiohttp.TraceConfig:
    tracing: aiohttp.TraceConfig = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_note_reuse)
    return tracing


async def _note_reuse(_: object, context: Any, __: object) -> None:
    context.trace_request_ctx.add(_REUSED)


def _upload_error(body: SentBody | None) -> Exception | None:
    """Return what kept the request's body from being sent, if anything did."""
    return body.error if body is not None else None


def _fields(request: Request) -> list[tuple[str, str]]:
    """Return the fields to send; those for the proxy only when it reads them here.

    Through a tunnel they would reach the server. Those that frame a body are made
    for the one that is sent, if any: otherwise the server would wait for one.
    """
    to_proxy = request.meta.get("proxy") and request.url.startswith("http:")
    return [
        (_text(name, request), _text(value, request))
        for name, values in request.headers.items()
        if name.lower() not in _FRAMING
        and (to_proxy or name.lower() != b"proxy-authorization")
        for value in values
    ]


def _text(value: bytes, request: Request) -> str:
    """Return what aiohttp, which sends UTF-8, turns into these very bytes."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TransportError(
            f"a header field of {request.url} is not UTF-8 and cannot be sent.",
            temporary=False,
        ) from error


def _proxy(request: Request) -> dict[str, Any]:
    proxy = request.meta.get("proxy")
    if not proxy:
        return {}
    url = yarl.URL(proxy if "://" in proxy else f"http://{proxy.lstrip('/')}")
    if url.scheme not in {"http", "https"}:
        raise TransportError(
            f"a proxy with the scheme {url.scheme!r} is not supported for background "
            "fetches: use an http:// or https:// proxy.",
            temporary=False,
        )
    credentials = request.headers.get(b"Proxy-Authorization")
    if credentials is None:
        return {"proxy": url}
    fields = {"Proxy-Authorization": credentials.decode("latin-1")}
    return {"proxy": url, "proxy_headers": fields}


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
