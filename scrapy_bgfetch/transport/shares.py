"""How much of its body a transfer may hold: the less, the more of them there are."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    import aiohttp
    from typing_extensions import Buffer

READ_SIZE = 512 * 1024
"""Bytes that are read at once when few transfers are under way: a turn of the event
loop costs as much as 100 KiB. Of 256 KiB and 1 MiB neither was faster."""

_ALL = 3 * 1024 * 1024  # bytes, of all transfers
_LEAST = 16 * 1024  # bytes: a TLS record
_WAITING = 4  # reads that a body can come to that nobody reads yet


class Share:
    """The part of one transfer, as long as somebody holds this object."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._reads = 0
        self._count(_WAITING)

    @property
    def size(self) -> int:
        """How many bytes it may read at once by now."""
        return self._shares.size

    def begin(self) -> None:
        """Take note that somebody reads its body from now on."""
        if self._reads:
            self._count(1)

    def end(self) -> None:
        """Give it back: what holds this object may be garbage for long."""
        self._count(0)

    __del__ = end

    def _count(self, reads: int) -> None:
        self._shares.reads += reads - self._reads
        self._reads = reads


class Shares:
    """Divides the memory for what has arrived among the transfers.

    Each read from the network returns at most one share, whoever reads: asyncio's
    own transports would read 256 KiB from every connection in one turn of the loop,
    no more and no less. They take whatever comes.

    :ivar reads: how many of them the bodies can come to that nobody took yet.
    """

    def __init__(self) -> None:
        self.reads = 0

    @property
    def size(self) -> int:
        """How many bytes each transfer may read at once by now."""
        return share_of(self.reads)

    def take(self) -> Share:
        """Count one transfer more, whose body nobody reads yet."""
        return Share(self)

    @contextmanager
    def taken(self) -> Iterator[Share]:
        """Take a share, and give it back when no transfer comes of it."""
        share = self.take()
        try:
            yield share
        except BaseException:
            share.end()
            raise

    def socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Return a socket, for an address of getaddrinfo, that reads shares."""
        family, kind, proto, *_ = address
        return _SharingSocket(self, family, kind, proto)


class _SharingSocket(socket.socket):
    def __init__(self, shares: Shares, *address: int) -> None:
        super().__init__(*address)
        self._shares = shares

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        size = self._shares.size if bufsize > _LEAST else bufsize
        return super().recv(size, flags)

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        most = nbytes or memoryview(buffer).nbytes
        return super().recv_into(buffer, min(most, self._shares.size), flags)


def share_of(reads: int) -> int:
    """Return how many bytes each of so many reads may bring."""
    return max(_LEAST, min(READ_SIZE, _ALL // max(reads, 1)))


def limit_tls(
    transport: asyncio.Transport | None, content: aiohttp.StreamReader
) -> None:
    """Let TLS hold no more that is encrypted than the body may hold decrypted.

    Where its transport can be told: it holds 256 KiB of each connection otherwise.
    """
    limit = getattr(transport, "set_read_buffer_limits", None)
    if limit is not None:
        limit(content.get_read_buffer_limits()[0])
