"""What the downloads need of an HTTP client, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from scrapy import Request

    from scrapy_bgfetch.model import Head


class TransportError(Exception):
    """The exchange broke off.

    :ivar temporary: whether the same request may work later: name resolution,
        refused or reset connections, time-outs, a body that ended early. Not so
        a certificate that does not verify.
    """

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class Exchange(Protocol):
    """One request that was answered: the head is there, the body comes."""

    head: Head
    protocol: str | None
    ip_address: Any
    certificate: Any

    async def read(self) -> bytes:
        """Return the next bytes of the body as they came, b"" at its end.

        :raises TransportError: the connection broke, stalled, or the body did
            not end as its framing promised.
        """

    def close(self) -> None:
        """Close the connection now, unless the body was read to its end."""


class Transport(Protocol):
    """An HTTP client. It follows no redirects, keeps no cookies, decodes nothing."""

    async def open(self, request: Request) -> Exchange:
        """Send the request and wait for the head of the answer.

        :raises TransportError: there was no answer.
        """

    async def close(self) -> None:
        """Close all connections."""
