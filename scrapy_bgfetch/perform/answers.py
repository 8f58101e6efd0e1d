"""Heads and answers that did not come over our transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define
from scrapy.http import Headers

from scrapy_bgfetch.model import Head

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from scrapy.http import Response


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


def exposed(head: Head) -> Headers:
    """Return the fields for the downloader middlewares, which get no coded body."""
    return headers_of(head, {"content-encoding"})


def headers_of(head: Head, hidden: AbstractSet[str]) -> Headers:
    """Return the fields of a head, without those of the hidden lower-case names."""
    fields: dict[str, list[bytes]] = {}
    for name, value in head.headers:
        if name.lower() not in hidden:
            fields.setdefault(name.lower(), []).append(value.encode("latin-1"))
    return Headers(fields)


def head_of(response: Response) -> Head:
    lines = tuple(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, values in response.headers.items()
        for value in values
        if name.lower() not in {b"content-encoding", b"content-length"}
    )
    return Head(response.url, response.status, lines)
