"""What the downloads need of an HTTP client, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from scrapy import Request

    from scrapy_bgfetch.model import Head


class TransportError(Exception):
    """The exchange broke off.

    :ivar temporary: whether the same request may work later: name resolution,
        refused or reset connections, time-outs, a body that ended early. Not so
        a certificate that does not verify, or an address that the settings block.
    """

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class Upload(Protocol):
    """The body of a request.

    :ivar size: its length in bytes.
    """

    size: int
    pieces: Callable[[], AsyncGenerator[bytes, None]]

    def sent(self, count: int) -> None:
        """So many more bytes were handed to the network."""


class Exchange(Protocol):
    """One request that was answered: the head is there, the body comes."""

    head: Head
    protocol: str | None
    ip_address: Any
    certificate: Any

    async def read(self) -> bytes | memoryview:
        """Return the next bytes of the body as they came, none at its end.

        They may be overwritten in the next call: keep a copy, if any.

        :raises TransportError: the connection broke, stalled, or the body did
            not end as its framing promised.
        """

    def close(self) -> None:
        """Close the connection now, unless the body was read to its end."""


class Transport(Protocol):
    """An HTTP client. It follows no redirects, keeps no cookies, decodes nothing."""

    async def open(self, request: Request, upload: Upload | None = None) -> Exchange:
        """Send the request and wait for the head of the answer.

        Its body is ``upload``, which is sent once at most; what its pieces raise is
        raised. Without one there is no body. Call it in an asyncio task of its own.

        :raises TransportError: there was no answer.
        """

    async def close(self) -> None:
        """Close all connections."""
