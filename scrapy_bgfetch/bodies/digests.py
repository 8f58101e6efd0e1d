"""The digests of a part file, computed in threads behind its writer."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor, Future
    from pathlib import Path

BLOCK = 1024 * 1024
"""Bytes that are read at a time, and that must be new before :meth:`Digests.follow`
goes on. A thread that hashes holds one block of memory."""

_SLICE = 256 * BLOCK  # bytes of one job: then it is the turn of another file


class Digests:
    """The digests of the first bytes of a file that grows.

    Hashing begins at byte 0, whatever was stored before this object was made, and
    reads each byte once for all algorithms. One job at a time runs in the pool; it
    opens the file for itself, and takes turns with those of other files. Bytes that
    were announced must not change: for a body that begins anew, ``stop`` this and make
    another.

    Not for several threads: its methods belong to the thread of the event loop.

    :param path: the file; it may appear later.
    :param algorithms: names that :mod:`hashlib` knows, at least one.
    :param pool: where the jobs run. It stays open as long as this is used.
    :raises ValueError: hashlib does not know an algorithm.
    """

    def __init__(self, path: Path, algorithms: Iterable[str], pool: Executor) -> None:
        self._path = path
        self._algorithms = tuple(algorithms)
        self._pool = pool
        self._job: Future[dict[str, str]] | None = None
        self._stopped = False
        self._known = 0
        self._begin()

    def follow(self, length: int) -> None:
        """Hash on in the background: the file has ``length`` bytes by now.

        A job that is running in the background goes on to there. Otherwise nothing
        happens while less than BLOCK is new, while ``finish`` is at work, after
        ``stop``, and after a job that failed: ``finish`` meets its error again.
        Never raises and never blocks; needs no running event loop.
        """
        self._known = max(self._known, length)
        if self._may_follow() and length - self._position >= BLOCK:
            with suppress(RuntimeError):  # the pool is closed: finish() says it
                self._job = self._pool.submit(self._hash)

    async def finish(self, length: int) -> dict[str, str]:
        """Return algorithm -> lower-case hex digest of the first ``length`` bytes.

        Hashes what ``follow`` left, or all again when that went further. May be
        called again, for more bytes too. When it is cancelled, all is stopped.

        :raises OSError: the file cannot be read, or is shorter, or ``stop`` was
            called before all was hashed (errno ECANCELED).
        :raises RuntimeError: the pool was closed.
        """
        try:
            while self._job is not None and not self._job.done():
                running = asyncio.wrap_future(self._job)
                await asyncio.gather(running, return_exceptions=True)
            self._known = length
            if length < self._position:
                self._begin()
            return await self._to_the_end(length)
        except asyncio.CancelledError:
            self.stop()
            raise

    async def _to_the_end(self, length: int) -> dict[str, str]:
        while True:
            self._job = self._pool.submit(self._hash, length)
            digests = await asyncio.wrap_future(self._job)
            if self._position == length:
                return digests

    def stop(self) -> None:
        """Let a running job end with its block, and start no other.

        Does not wait. May be called at any time, more than once.
        """
        self._stopped = True

    def _begin(self) -> None:
        self._position = 0
        self._hashes = {
            name: hashlib.new(name, usedforsecurity=False) for name in self._algorithms
        }

    def _may_follow(self) -> bool:
        job = self._job
        if self._stopped or (job is not None and not job.done()):
            return False
        return job is None or not (job.cancelled() or job.exception())

    def _hash(self, length: int = sys.maxsize) -> dict[str, str]:
        """Go on to ``length``, or as far as is known; one slice at most, in a thread.

        While it runs nobody else moves the position and the hashes.
        """
        last = min(length, self._position + _SLICE)
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._position)
            block = memoryview(bytearray(min(BLOCK, self._known - self._position)))
            while left := min(self._known, last) - self._position:
                if self._stopped:
                    raise self._error(errno.ECANCELED, "hashing was stopped")
                count = file.readinto(block[:left])
                if not count:
                    what = f"ends after {self._position} of {self._known} bytes"
                    raise self._error(errno.EIO, what)
                for hashing in self._hashes.values():
                    hashing.update(block[:count])
                self._position += count
        return {name: hashing.hexdigest() for name, hashing in self._hashes.items()}

    def _error(self, number: int, what: str) -> OSError:
        return OSError(number, what, str(self._path))
