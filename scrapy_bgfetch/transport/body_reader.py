"""A body of known length, read from its connection without aiohttp in between."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

    from scrapy_bgfetch.transport.shares import Share

_BLOCKS = 2  # that may be full, or lent, before the network has to wait


class BodyReader(asyncio.BufferedProtocol):
    """Reads what is left of a body, into the same memory again and again.

    aiohttp's parser copies what asyncio has read once more, and both make an object for
    each piece: a fifth of the time of 5 MiB over loopback. This takes their connection
    over, and gives it back after the last byte, as if they had read all of it.

    :param connection: what aiohttp reads, and has handed on all that it has read.
    :param left: how many bytes of the body are still to come, at least one.
    :param share: how much of it is read at once; three times that is held at most.
    :param ended: called after the last byte, when aiohttp has its connection again.
    """

    def __init__(
        self,
        connection: asyncio.Transport,
        left: int,
        share: Share,
        ended: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._left = left
        self._share = share
        self._tell_end = ended
        self._full: deque[tuple[bytearray, int]] = deque()
        self._room: bytearray | None = None  # what is being filled
        self._filled = 0
        self._lent: bytearray | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._owner = connection.get_protocol()
        self._hand_over(self)

    async def read(self) -> memoryview:
        """Return what has arrived: it is valid until the next call, empty at the end.

        :raises aiohttp.ClientPayloadError: the connection ended before the body.
        """
        self._take_back()
        if self._left and len(self._full) < _BLOCKS:
            self._connection.resume_reading()
        while not (self._full or self._filled):
            if self._error is not None:
                raise self._error
            if not self._left:
                return memoryview(b"")
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        if not self._full:
            self._close_block()
        self._lent, size = self._full.popleft()
        return memoryview(self._lent)[:size]

    # -- what the transport calls --------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go, a share at most."""
        size = min(self._left, self._share.size)
        if self._room is None:
            self._room = bytearray(min(self._left, self._block_size()))
        return memoryview(self._room)[self._filled : self._filled + size]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what has arrived, and wake the reader."""
        self._filled += nbytes
        self._left -= nbytes
        assert self._room is not None
        if self._filled == len(self._room):
            self._close_block()
        if not self._left:
            self._end()
        elif len(self._full) + (self._lent is not None) >= _BLOCKS:
            self._connection.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Keep that the body ended early; TLS tells that the connection did later."""
        self._error = aiohttp.ClientPayloadError()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep what ended the body; what had arrived comes first."""
        self._error = aiohttp.ClientPayloadError()
        self._error.__cause__ = exc
        self._owner.connection_lost(exc)
        self._wake()

    def pause_writing(self) -> None:
        """Tell who writes."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Tell who writes."""
        self._owner.resume_writing()

    # -- its parts -----------------------------------------------------------------

    def _close_block(self) -> None:
        assert self._room is not None
        self._full.append((self._room, self._filled))
        self._room, self._filled = None, 0

    def _take_back(self) -> None:
        """Fill the block that was lent again, unless the shares have changed much."""
        block, self._lent = self._lent, None
        if block is None or self._room is not None:
            return
        size = self._block_size()
        if min(size, self._left) // 2 <= len(block) <= 2 * size:
            self._room = block

    def _block_size(self) -> int:
        """Return more than what is read at once: longer pieces for slow readers."""
        return self._share.size * 3 // 2

    def _end(self) -> None:
        self._hand_over(self._owner)
        self._tell_end()

    def _hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        """Let this protocol have what comes; other loops look while they begin."""
        self._connection.pause_reading()
        self._connection.set_protocol(protocol)
        self._connection.resume_reading()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def readable(connection: asyncio.Transport | None) -> TypeGuard[asyncio.Transport]:
    """Say whether a :class:`BodyReader` may take a connection over now.

    While it is not read, aiohttp may keep some of what it has read back. The TLS of
    Python 3.10 knows no reads into memory that is there.
    """
    if connection is None or connection.is_closing() or not connection.is_reading():
        return False
    tls = connection.get_extra_info("sslcontext") is not None
    return sys.version_info >= (3, 11) or not tls
