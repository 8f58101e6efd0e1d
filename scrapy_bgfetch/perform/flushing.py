"""Flushes to the disk, shared by all who wait for one at the same time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from scrapy_bgfetch.bodies.local import LocalBodies

_GOES = 4  # at a time: a disk writes files together much faster than in turn


class Flusher:
    """Lets part files, and the names of settled files, survive a loss of power.

    Part files that wait while others are flushed share the next goes, each of them
    in a thread; their folder is flushed once for all that wait for it, and so are
    the folders of settled files. A waiter hears of its own errors only, and one that
    is cancelled stops nobody's flush.

    What could not be flushed once fails at once from then on: a system may say of
    the same bytes the next time that they are flushed, and they never were.
    """

    def __init__(self, bodies: LocalBodies) -> None:
        self._bodies = bodies
        pool = ThreadPoolExecutor(_GOES + 2, thread_name_prefix="bgfetch-flush")
        self._bytes = _Grouped(bodies.flush_parts, pool, _GOES)
        self._names = _Grouped(self._flush_names, pool, 1)
        self._renames = _Grouped(bodies.flush_renames, pool, 1)

    async def flush(self, name: str) -> None:
        """Flush what was written to a part file before the call, and its name.

        :raises OSError: the disk refuses.
        """
        await self._bytes.do([name])
        if self._bodies.is_unnamed(name):
            await self._names.do([name])

    async def flush_renames(self, paths: Sequence[str]) -> None:
        """Flush the names of files that were published at these paths.

        :raises OSError: the disk refuses.
        """
        await self._renames.do(paths)

    def forget(self, name: str) -> None:
        """Take note that a part file begins anew."""
        self._bytes.forget(name)
        self._names.forget(name)

    def _flush_names(self, names: Iterable[str]) -> dict[str, OSError]:
        try:
            self._bodies.flush_names()
        except OSError as error:
            return dict.fromkeys(names, error)
        return {}


@frozen
class _Waiter:
    names: Sequence[str]
    future: asyncio.Future[None]

    def hear(self, errors: Mapping[str, Exception]) -> None:
        if self.future.done():  # it was cancelled
            return
        error = _first(self.names, errors)
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class _Grouped:
    """Work on names, in threads: those that wait share the next goes.

    :param work: returns the names that it failed for, and why.
    :param pool: threads that no hook, nor anything else, can keep busy.
    :param most: how many goes there are at a time.
    """

    def __init__(
        self,
        work: Callable[[Sequence[str]], Mapping[str, OSError]],
        pool: Executor,
        most: int,
    ) -> None:
        self._work = work
        self._pool = pool
        self._most = most
        self._goes: set[asyncio.Task[None]] = set()
        self._waiting: list[_Waiter] = []
        self._lost: dict[str, Exception] = {}

    async def do(self, names: Sequence[str]) -> None:
        """Return when a go with these names, begun after this call, has ended.

        :raises OSError: it failed for one of them, now or earlier.
        """
        lost = _first(names, self._lost)
        if lost is not None:
            raise lost
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(names, future))
        if len(self._goes) < self._most:
            self._begin()
        await future

    def forget(self, name: str) -> None:
        """Let a name that failed be tried again."""
        self._lost.pop(name, None)

    def _begin(self) -> None:
        task = asyncio.ensure_future(self._go())
        self._goes.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._goes.discard(task)
        if self._waiting and not task.cancelled():
            self._begin()

    async def _go(self) -> None:
        """Work for a share of those that wait: the other goes want theirs."""
        share = -(-len(self._waiting) // self._most)
        mine, self._waiting = self._waiting[:share], self._waiting[share:]
        names = [name for waiter in mine for name in waiter.names]
        errors: Mapping[str, Exception]
        try:
            errors = await self._in_thread(names) if mine else {}
        except Exception as error:
            errors = dict.fromkeys(names, error)
        except asyncio.CancelledError:  # the event loop ends
            for waiter in mine:
                waiter.future.cancel()
            raise
        self._lost.update(errors)
        for waiter in mine:
            waiter.hear(errors)

    async def _in_thread(self, names: Sequence[str]) -> Mapping[str, OSError]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._work, names)


def _first(names: Iterable[str], errors: Mapping[str, Exception]) -> Exception | None:
    return next((errors[name] for name in names if name in errors), None)
