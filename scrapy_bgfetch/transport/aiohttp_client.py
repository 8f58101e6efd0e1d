"""The transport on aiohttp's public client API."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import yarl

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.settings import bind_address
from scrapy_bgfetch.transport.base import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request

    from scrapy_bgfetch.settings import Network

READ_SIZE = 256 * 1024
_LINE_SIZE = 64 * 1024  # of the status line, and of each header field

_TLS_VERSIONS = {
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
_NO_AUTO_FIELDS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_PERMANENT = (
    aiohttp.InvalidURL,
    aiohttp.ClientSSLError,
    ssl.SSLCertVerificationError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientResponseError,  # it speaks no HTTP that we understand
)


def ssl_context(network: Network) -> ssl.SSLContext:
    """Return the TLS context that Scrapy's settings ask for."""
    if network.verify_certificates:
        context = ssl.create_default_context()
    else:  # without the certificates of the system: loading them takes 0.1 s
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if network.tls_minimum:
        context.minimum_version = _TLS_VERSIONS[network.tls_minimum]
    if network.tls_maximum:
        context.maximum_version = _TLS_VERSIONS[network.tls_maximum]
    if network.tls_ciphers:
        context.set_ciphers(network.tls_ciphers)
    return context


class AiohttpExchange:
    """One answered request of :class:`AiohttpTransport`."""

    def __init__(self, response: aiohttp.ClientResponse, url: str) -> None:
        self._response = response
        self._url = url
        self.head = Head(url, response.status, _field_lines(response))
        version = response.version
        self.protocol = f"HTTP/{version.major}.{version.minor}" if version else None
        connection = response.connection
        transport = connection.transport if connection else None
        self.ip_address = _peer_address(transport)
        self.certificate = _peer_certificate(transport)

    async def read(self) -> bytes:
        """Return what has arrived, up to twice READ_SIZE bytes."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise _transport_error(error, self._url) from error

    def close(self) -> None:
        """Give a connection back whose body has ended, close any other."""
        self._response.close()


class AiohttpTransport:
    """One session for each local address, made when it is first used."""

    def __init__(self, network: Network, *, stall_timeout: float) -> None:
        self._network = network
        self._stall_timeout = stall_timeout
        self._ssl = ssl_context(network)
        self._sessions: dict[tuple[str, int] | None, aiohttp.ClientSession] = {}

    async def open(self, request: Request) -> AiohttpExchange:
        """Send the request as the downloader middlewares left it.

        The head must arrive within ``download_timeout``.
        """
        timeout = float(request.meta.get("download_timeout", self._network.timeout))
        started = time.monotonic()
        try:
            response = await asyncio.wait_for(self._send(request), timeout or None)
        except asyncio.TimeoutError as error:
            raise TransportError(
                f"{request.url} did not answer within {timeout:g} seconds.",
                temporary=True,
            ) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _transport_error(error, request.url) from error
        request.meta["download_latency"] = time.monotonic() - started
        return AiohttpExchange(response, request.url)

    async def close(self) -> None:
        """Close all sessions."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        session = self._session(bind_address(request.meta.get("bindaddress")))
        return await session.request(
            request.method,
            yarl.URL(request.url, encoded=True),
            data=request.body or None,
            headers=_fields(request),
            allow_redirects=False,
            ssl=self._ssl,
            **_proxy(request),
        )

    def _session(self, local: tuple[str, int] | None) -> aiohttp.ClientSession:
        local = local or self._network.bind_address
        if local not in self._sessions:
            self._sessions[local] = self._new_session(local)
        return self._sessions[local]

    def _new_session(self, local: tuple[str, int] | None) -> aiohttp.ClientSession:
        # The slots of the downloads are counted elsewhere: no limit here.
        connector = aiohttp.TCPConnector(limit=0, local_addr=local)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=READ_SIZE,
            max_line_size=_LINE_SIZE,
            max_field_size=_LINE_SIZE,
            timeout=aiohttp.ClientTimeout(total=None, sock_read=self._stall_timeout),
            skip_auto_headers=_NO_AUTO_FIELDS,
        )


def _fields(request: Request) -> list[tuple[str, str]]:
    """Return the fields to send; those for the proxy only when it reads them here.

    Through a tunnel they would reach the server.
    """
    to_proxy = request.meta.get("proxy") and request.url.startswith("http:")
    return [
        (_text(name, request), _text(value, request))
        for name, values in request.headers.items()
        if to_proxy or name.lower() != b"proxy-authorization"
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


def _field_lines(response: aiohttp.ClientResponse) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in response.raw_headers
    )


def _peer_address(transport: asyncio.Transport | None) -> Any:
    peer = transport.get_extra_info("peername") if transport else None
    try:
        return ipaddress.ip_address(peer[0]) if peer else None
    except ValueError:
        return None


def _peer_certificate(transport: asyncio.Transport | None) -> bytes | None:
    tls = transport.get_extra_info("ssl_object") if transport else None
    return tls.getpeercert(binary_form=True) if tls else None


def _transport_error(error: Exception, url: str) -> TransportError:
    if isinstance(error, TransportError):
        return error
    if isinstance(error, asyncio.TimeoutError):
        return TransportError(f"{url} sent no byte for too long.", temporary=True)
    return TransportError(
        f"{url} could not be read: {_said(error)}.",
        temporary=not _is_permanent(error),
    )


def _said(error: Exception) -> str:
    """Return what went wrong in words, without objects and tracebacks in them."""
    for kind, say in _WORDS:
        if isinstance(error, kind):
            return say(error)
    return str(error) or type(error).__name__


def _unconnected(error: Any) -> str:
    why = error.os_error.strerror or str(error.os_error)
    return f"cannot connect to {error.host}:{error.port}: {why}"


def _no_http(error: Any) -> str:
    what = error.message.strip().partition("\n")[0].rstrip(":")
    return f"the answer is no good HTTP: {what}"


_WORDS: tuple[tuple[type[Exception], Callable[[Any], str]], ...] = (
    (
        aiohttp.ClientConnectorDNSError,
        lambda e: f"the host name {e.host} cannot be resolved",
    ),
    (
        aiohttp.ClientConnectorCertificateError,
        lambda e: f"the certificate of {e.host} was refused: {e.certificate_error}",
    ),
    (aiohttp.ClientConnectorError, _unconnected),
    (
        aiohttp.ServerDisconnectedError,
        lambda _: "the server closed the connection without an answer",
    ),
    (aiohttp.ClientPayloadError, lambda _: "the body broke off before its end"),
    (
        aiohttp.ClientHttpProxyError,
        lambda e: f"the proxy answered {e.status} {e.message}",
    ),
    (aiohttp.ClientResponseError, _no_http),
)


def _is_permanent(error: Exception) -> bool:
    """Whether the same request will fail again; a proxy that refuses us will."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return 400 <= error.status < 500
    return isinstance(error, (*_PERMANENT, ValueError))
