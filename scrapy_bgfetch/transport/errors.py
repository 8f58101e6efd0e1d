"""What aiohttp's errors mean: in words, and whether to try again."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp

from scrapy_bgfetch.transport.base import TransportError
from scrapy_bgfetch.transport.guard import BlockedAddressError

if TYPE_CHECKING:
    from collections.abc import Callable

_PERMANENT = (
    aiohttp.InvalidURL,
    aiohttp.ClientSSLError,
    ssl.SSLCertVerificationError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientResponseError,  # it speaks no HTTP that we understand
)


def transport_error(
    error: Exception, url: str, *, reused: bool = False
) -> TransportError:
    """Return what the error means for a request of that URL.

    On a ``reused`` connection most are temporary: it may have read what an earlier
    answer had left there.
    """
    if isinstance(error, TransportError):
        return error
    if isinstance(error, asyncio.TimeoutError):  # of a connection that is being made
        return TransportError(f"{url} could not be reached in time.", temporary=True)
    blocked = getattr(error, "os_error", error)
    if isinstance(blocked, BlockedAddressError):
        return TransportError(f"{url} is refused: {blocked}.", temporary=False)
    return TransportError(
        f"{url} could not be read: {_said(error)}.",
        temporary=reused or not _is_permanent(error),
    )


def stalled(url: str) -> TransportError:
    """Return the error of a body of which no byte comes any more."""
    return TransportError(f"{url} sent no byte for too long.", temporary=True)


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
