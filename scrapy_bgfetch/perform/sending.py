"""The body of a request while it is sent: read in pieces, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.bodies.uploads import PIECE_SIZE
from scrapy_bgfetch.rules.uploads import sends_body

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scrapy import Request

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.bodies.uploads import FileBody
    from scrapy_bgfetch.perform.live import LiveRecord

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class MemoryBody:
    """A body that its request holds."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.size = len(body)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Return the body, PIECE_SIZE bytes at a time."""
        for start in range(0, self.size, PIECE_SIZE):
            yield self._body[start : start + PIECE_SIZE]


class Sending:
    """A body on its way to one server; a redirect makes another (58, B25)."""

    def __init__(self, record: LiveRecord, body: MemoryBody | FileBody) -> None:
        self._record = record
        self._sent = 0
        self.size = body.size
        self.pieces = body.pieces

    def sent(self, count: int) -> None:
        """Count bytes that were handed to the network."""
        self._sent += count
        self._record.count_upload(self._sent)


def file_body(record: LiveRecord, bodies: LocalBodies) -> FileBody | None:
    """Return the body that a record sends from a file, None without one."""
    return None if record.upload is None else bodies.uploads.find(record.upload)


def sending_of(
    request: Request, record: LiveRecord, bodies: LocalBodies
) -> Sending | None:
    """Return the body of a request as the downloader middlewares left it.

    None for a safe method (RFC 9110 section 9.2.1) without one; a redirect may have
    made a GET of the request.
    """
    if sends_body(request.method):
        body = file_body(record, bodies)
        if body is not None:
            return Sending(record, body)
    if request.body or request.method not in _SAFE:
        return Sending(record, MemoryBody(request.body))
    return None
