"""Heads and answers that did not come over our transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define

from scrapy_bgfetch.model import Head

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from scrapy.http import Response

    from scrapy_bgfetch.transport.base import Exchange


@define
class Answered:
    """An exchange that is over when it begins: the body came with the response."""

    head: Head
    body: bytes
    protocol: str | None = None
    ip_address: Any = None
    certificate: Any = None

    async def read(self) -> bytes:
        body, self.body = self.body, b""
        return body

    def close(self) -> None:
        pass


class Pushback:
    """An exchange of which some bytes were read too many: they come first."""

    def __init__(self, exchange: Exchange, data: bytes | memoryview) -> None:
        self._exchange = exchange
        self._data = data
        self.head = exchange.head
        self.protocol = exchange.protocol
        self.ip_address = exchange.ip_address
        self.certificate = exchange.certificate

    async def read(self) -> bytes | memoryview:
        data, self._data = self._data, b""
        return data or await self._exchange.read()

    def close(self) -> None:
        self._exchange.close()


def exposed(head: Head) -> dict[str, list[bytes]]:
    """Return the fields for the downloader middlewares, which get no coded body."""
    return headers_of(head, {"content-encoding"})


def headers_of(head: Head, hidden: AbstractSet[str]) -> dict[str, list[bytes]]:
    """Return the fields of a head, without those of the hidden lower-case names.

    They are what a Response makes its headers of.
    """
    fields: dict[str, list[bytes]] = {}
    for name, value in head.headers:
        key = name.lower()
        if key not in hidden:
            fields.setdefault(key, []).append(value.encode("latin-1"))
    return fields


def head_of(response: Response) -> Head:
    lines = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in response.headers.items()
        for value in values
        if name.lower() not in {b"content-encoding", b"content-length"}
    )
    return Head(response.url, response.status, lines)
