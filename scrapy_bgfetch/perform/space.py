"""How many bytes may still be written: BGFETCH_QUOTA and BGFETCH_DISK_RESERVE."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import humanize
from attrs import frozen

from scrapy_bgfetch.exceptions import QuotaExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.settings import Settings

LEAST = 1024 * 1024  # bytes that must be free before transfers go on


class NoRoom(Exception):  # noqa: N818
    """There is no room for the next bytes.

    :ivar need: how many bytes must be free before it makes sense to go on.
    """

    def __init__(self, message: str, need: int = LEAST) -> None:
        super().__init__(message)
        self.need = need


@frozen
class Room:
    """How many bytes are left, the most it could be, and what sets that limit."""

    left: int
    most: int
    limit: str
    advice: str

    def __str__(self) -> str:
        left = max(self.left, 0)
        size = humanize.naturalsize(left, binary=True)
        return f"{self.limit} has only {size} ({left} bytes) left. {self.advice}"


class Space:
    """Counts down the bytes that may still be written.

    Whoever writes takes his bytes off ``left`` before he does; between two looks
    it only falls. Without a quota and a reserve it never runs out: the disk itself
    says when it is full.

    :param live: returns how many bytes the background fetches at work have stored.
    """

    def __init__(
        self, bodies: LocalBodies, settings: Settings, live: Callable[[], int]
    ) -> None:
        self._bodies = bodies
        self._quota = settings.quota
        self._reserve = settings.disk_reserve
        self._live = live
        self._settled = 0
        self._looking = asyncio.Lock()  # two at once would count a byte twice
        self.limited = bool(self._quota or self._reserve)
        self.left = sys.maxsize

    async def start(self, stored: int) -> None:
        """Begin with so many bytes that are stored already, live ones among them."""
        self._settled = stored - self._live()
        if self.limited:
            await self.look()

    def settled(self, stored: int) -> None:
        """Count the bytes of a background fetch that is no longer at work.

        A negative number is taken over by one that is.
        """
        self._settled += stored

    async def look(self) -> Room:
        """Look how much room there is, and count down from there."""
        async with self._looking:
            return await self._look()

    async def _look(self) -> Room:
        rooms = [await self._on_disk()]
        if self._quota:
            left = self._quota - self._settled - self._live()
            advice = "Raise it, or take files away"
            rooms.append(Room(left, self._quota, "BGFETCH_QUOTA", advice))
        room = min(rooms, key=lambda one: one.left)
        if self.limited:
            self.left = room.left
        return room

    async def room_for(self, need: int) -> Room:
        """Look for so much room; measure the folders before the quota denies it."""
        async with self._looking:
            room = await self._look()
            if self._quota and room.left < need:
                await self._measure()
                room = await self._look()
        return room

    async def require(self, download_total: int, stored: int, *, waits: bool) -> None:
        """Check that so many bytes fit, of which ``stored`` are there already.

        Without a number, that there is any room at all, unless one ``waits`` for it.

        :raises QuotaExceededError: they don't; the message says what is left.
        """
        need = max(download_total - stored, 0)
        if not download_total:
            if waits or not self.limited:
                return
            need = 1
        room = await self.room_for(need)
        if room.left < need:
            raise _no_room(download_total, room)

    async def _measure(self) -> None:
        """Take what is on the disk for what is stored, and what came meanwhile."""
        before = self._settled + self._live()
        used = await asyncio.to_thread(self._bodies.used_bytes)
        live = self._live()
        arrived = max(self._settled + live - before, 0)
        self._settled = used + arrived - live

    async def _on_disk(self) -> Room:
        before = self.left
        free, total = await asyncio.to_thread(self._bodies.free_bytes)
        written = before - self.left  # meanwhile
        reserve = self._reserve
        limit = "the disk, less BGFETCH_DISK_RESERVE," if reserve else "the disk"
        left = free - reserve - written
        advice = "Free some space: `df` and `df -i` say what is used up"
        return Room(left, total - reserve, limit, advice)


def _no_room(wanted: int, room: Room) -> QuotaExceededError:
    size = humanize.naturalsize(wanted, binary=True)
    what = f"download_total is {size} ({wanted} bytes)" if wanted else "it needs room"
    return QuotaExceededError(f"{what}, but {room}, or ask for less.")
