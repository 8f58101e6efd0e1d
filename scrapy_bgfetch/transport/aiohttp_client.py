"""The transport on aiohttp's public client API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import aiohttp
import yarl

from scrapy_bgfetch.network import bind_address
from scrapy_bgfetch.transport.base import TransportError
from scrapy_bgfetch.transport.errors import transport_error
from scrapy_bgfetch.transport.exchange import AiohttpExchange, upload_error
from scrapy_bgfetch.transport.guard import BlockedAddressError, Guard
from scrapy_bgfetch.transport.sending import Patience, SentBody, repeats_of
from scrapy_bgfetch.transport.shares import READ_SIZE, Shares
from scrapy_bgfetch.transport.tls import ssl_context

if TYPE_CHECKING:
    from scrapy import Request

    from scrapy_bgfetch.network import Network
    from scrapy_bgfetch.rules.addresses import AddressRule
    from scrapy_bgfetch.transport.base import Upload
    from scrapy_bgfetch.transport.shares import Share

_LINE_SIZE = 64 * 1024  # of the status line, and of each header field
_REUSED = "the connection had been used before"

_FRAMING = {b"content-length", b"transfer-encoding"}
_NO_AUTO_FIELDS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


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
            raise upload_error(body) or transport_error(
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
