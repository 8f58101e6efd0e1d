"""Rate limits: bodies that come no faster than they may."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field

from scrapy_bgfetch.perform.answers import Answered
from scrapy_bgfetch.rules.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy_bgfetch.transport.base import Exchange


@define(eq=False)
class RateLimit(Pace):
    """A limit that transfers share, one after another in the order they came.

    :ivar rate: bytes a second, 0 for no limit; it may be changed at any time.
    """

    _turn: asyncio.Lock | None = field(default=None, init=False)

    async def wait(self, size: int) -> None:
        """Wait until ``size`` more bytes may be used.

        One who is cancelled leaves its place to the next.
        """
        if self._turn is None:
            self._turn = asyncio.Lock()  # first come, first served
        async with self._turn:
            if delay := self.take(size, time.monotonic()):
                await asyncio.sleep(delay)


class Paced:
    """An exchange whose body comes in small pieces, each when the limits let it.

    The network is read only when the pieces are used up: TCP slows the server, and a
    stall time-out that counts while the network is read does not count this waiting.
    """

    def __init__(self, exchange: Exchange, limits: Sequence[RateLimit]) -> None:
        self._exchange = exchange
        self._limits = limits
        self._left = memoryview(b"")
        self.head = exchange.head
        self.protocol = exchange.protocol
        self.ip_address = exchange.ip_address
        self.certificate = exchange.certificate

    async def read(self) -> bytes | memoryview:
        limits = [limit for limit in self._limits if limit.rate]
        if not (limits or self._left):
            return await self._exchange.read()
        if not self._left:
            self._left = memoryview(await self._exchange.read())
        size = min((limit.step for limit in limits), default=len(self._left))
        data, self._left = bytes(self._left[:size]), self._left[size:]
        for limit in limits:
            await limit.wait(len(data))
        return data

    def close(self) -> None:
        self._exchange.close()


def paced(
    exchange: Exchange, limits: Sequence[RateLimit], *, later: bool = False
) -> Exchange:
    """Return an exchange that keeps to all of the limits.

    Without a limit it is the same one, unless one may be set ``later``; so is one
    whose body is here already.
    """
    limited = later or any(limit.rate for limit in limits)
    if isinstance(exchange, Answered) or not limited:
        return exchange
    return Paced(exchange, limits)
