"""A body of known length, read from its connection without aiohttp in between."""

from __future__ import annotations

import asyncio
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
    each piece. This takes their connection over, and gives it back after the last
    byte, as if they had read all of it. One on which more comes than was promised is
    closed (RFC 9112 section 6.3).

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
        self._spare: bytearray | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._broken = False
        self._cause: Exception | None = None
        self._owner = connection.get_protocol()
        self._hand_over(self)

    async def read(self) -> memoryview:
        """Return what has arrived: it is valid until the next call, empty at the end.

        :raises aiohttp.ClientPayloadError: the connection ended before the body, or
            this was closed.
        """
        self._spare, self._lent = self._lent or self._spare, None
        if self._left and len(self._full) < _BLOCKS and not self._broken:
            self._connection.resume_reading()
        while not (self._full or self._filled):
            if self._broken:
                raise aiohttp.ClientPayloadError from self._cause
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

    def close(self) -> None:
        """Hold nothing any more: whoever keeps this may be garbage for long."""
        self._full.clear()
        self._room = self._lent = self._spare = None
        self._filled = 0
        self._broken = True
        self._wake()

    # -- what the transport calls --------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go: a share, or one byte more than are left."""
        size = min(self._left + 1, self._share.size)
        if self._room is None:
            self._room = self._new_room()
        return memoryview(self._room)[self._filled : self._filled + size]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what has arrived, and wake the reader."""
        assert self._room is not None
        size = min(nbytes, self._left)
        self._filled += size
        self._left -= size
        if self._filled == len(self._room):
            self._close_block()
        if not self._left:
            self._end(overlong=nbytes > size)
        elif len(self._full) + (self._lent is not None) >= _BLOCKS:
            self._connection.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep what ended the body; what had arrived comes first."""
        self._broken, self._cause = True, exc
        self._owner.connection_lost(exc)
        self._wake()

    def pause_writing(self) -> None:
        """Tell who writes."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Tell who writes."""
        self._owner.resume_writing()

    # -- its parts -----------------------------------------------------------------

    def _new_room(self) -> bytearray:
        """Return a block that is not in use, unless the shares have changed much.

        One has room for more than is read at once: longer pieces for slow readers.
        """
        size = self._share.size * 3 // 2
        needed, spare, self._spare = min(size, self._left + 1), self._spare, None
        if spare is not None and needed // 2 <= len(spare) <= 2 * size:
            return spare
        return bytearray(needed)

    def _close_block(self) -> None:
        assert self._room is not None
        self._full.append((self._room, self._filled))
        self._room, self._filled = None, 0

    def _end(self, *, overlong: bool) -> None:
        self._hand_over(self._owner)
        if overlong:
            self._connection.abort()
        self._tell_end()

    def _hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        """Let this protocol have what comes.

        Some event loops look at what it is only when they begin to read.
        """
        self._connection.pause_reading()
        self._connection.set_protocol(protocol)
        self._connection.resume_reading()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def readable(connection: asyncio.Transport | None) -> TypeGuard[asyncio.Transport]:
    """Say whether a :class:`BodyReader` may take a connection over now.

    While it is not read, aiohttp may keep some of what it has read back. TLS may do so
    at any time, and takes longer to decrypt than what could be saved.
    """
    if connection is None or connection.is_closing() or not connection.is_reading():
        return False
    return connection.get_extra_info("sslcontext") is None
