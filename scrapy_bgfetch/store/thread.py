"""One thread that owns one SQLite connection and commits in groups."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from scrapy_bgfetch.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

_GROUP = 512  # functions in one transaction at most: the first one waits for the last


@frozen
class _Job:
    function: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]


@frozen
class _Answer:
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def give(self) -> None:
        if self.future.done():  # its waiter was cancelled
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class DatabaseThread:
    """Runs functions on a connection that nobody else touches.

    All functions that wait when a transaction ends share the next one, in the
    order they came; one that raises is undone alone. A function has been
    committed when its waiter hears of it. A waiter that is cancelled does not
    stop its function. The thread is a daemon: an interpreter that exits without
    ``stop`` does not wait, and keeps what was committed.

    :param connect: makes the connection (in autocommit mode), in the thread.
    :param explain: maps what sqlite3 raises.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        explain: Callable[[Exception], StoreError],
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()  # nothing is queued behind the None that stops
        self._stopping = False
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Start the thread and wait for its connection.

        :raises StoreError: what ``connect`` raised, mapped.
        """
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thread = threading.Thread(
            target=self._main, args=(opened,), name="bgfetch-store", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.stop()
            raise

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``function`` returns, once that is committed.

        :raises StoreError: SQLite failed, here or in the group's commit; nothing
            of ``function`` was kept. Or the thread was stopped.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._stopping:
                raise StoreError("the store is closed")
            self._queue.put(_Job(function, future))
        return await future

    async def stop(self) -> None:
        """Run what is queued, close the connection, wait for the thread's end."""
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _main(self, opened: asyncio.Future[None]) -> None:
        try:
            con = self._connect()
        except Exception as error:
            _deliver([_Answer(opened, error=self._explain(error))])
            return
        _deliver([_Answer(opened)])
        more = True
        while more:
            jobs, more = self._take()
            if jobs:
                _deliver(self._transact(con, jobs))
        _close(con)

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for work; return it, and whether more may come."""
        jobs: list[_Job] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == _GROUP:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _transact(self, con: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Answer]:
        try:
            con.execute("BEGIN IMMEDIATE")
            answers = [self._attempt(con, job) for job in jobs]
            con.execute("COMMIT")
        except Exception as error:
            if con.in_transaction:
                with suppress(sqlite3.Error):
                    con.execute("ROLLBACK")
            return [_Answer(job.future, error=self._explain(error)) for job in jobs]
        return answers

    def _attempt(self, con: sqlite3.Connection, job: _Job) -> _Answer:
        con.execute("SAVEPOINT job")
        try:
            answer = _Answer(job.future, job.function(con))
        except Exception as error:
            if not con.in_transaction:  # SQLite gave up all of the group
                raise
            con.execute("ROLLBACK TO job")
            if isinstance(error, sqlite3.Error):
                error = self._explain(error)
            answer = _Answer(job.future, error=error)
        con.execute("RELEASE job")
        return answer


def _close(con: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # the log keeps what could not be moved
        con.execute("PRAGMA wal_checkpoint")
    con.close()


def _deliver(answers: Sequence[_Answer]) -> None:
    """Wake the waiters, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}
    for answer in answers:
        by_loop.setdefault(answer.future.get_loop(), []).append(answer)
    for loop, batch in by_loop.items():
        with suppress(RuntimeError):  # a closed loop: nobody waits there
            loop.call_soon_threadsafe(_give, batch)


def _give(answers: Sequence[_Answer]) -> None:
    for answer in answers:
        answer.give()
