"""Writes of bodies: at once while the disk is quick, in threads while it is slow."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from scrapy_bgfetch.rules.slow_writes import SlowWrites

if TYPE_CHECKING:
    from collections.abc import Callable

_THREADS = 4


class Target(Protocol):
    """A part file, or a place in one."""

    def write(self, data: bytes | memoryview) -> None: ...


class Writing:
    """Writes to one disk.

    A write to the page cache takes 0.1 ms, less than handing it to a thread. It takes
    0.2 s when the kernel slows down who writes more than the disk can take, and any
    time on a disk of the network: the loop must not wait for that.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._disk = SlowWrites()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bgfetch-write")

    @property
    def slow(self) -> bool:
        """Whether to use :meth:`write_slowly` for the next write."""
        return self._disk.slow(self._clock())

    def write(self, part: Target, data: bytes | memoryview) -> None:
        """Append to a part file, and wait for it.

        :raises OSError: it did not fit; its ``length`` says how much is there.
        """
        begin = self._clock()
        try:
            part.write(data)
        finally:
            self._disk.took(len(data), begin, self._clock())

    async def write_slowly(self, part: Target, data: bytes | memoryview) -> None:
        """Append to a part file in a thread.

        Who is cancelled meanwhile is so when the write has ended: its bytes count.

        :raises OSError: it did not fit; its ``length`` says how much is there.
        """
        write = self._write_in_thread
        running = asyncio.wrap_future(self._pool.submit(write, part, data))
        cancelled = False
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                cancelled = True
        error = running.exception()
        if cancelled:
            raise asyncio.CancelledError
        if error is not None:
            raise error

    def _write_in_thread(self, part: Target, data: bytes | memoryview) -> None:
        begin = self._clock()
        try:
            part.write(data)
        finally:
            self._disk.took_thread(begin, self._clock())
