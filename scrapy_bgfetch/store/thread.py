"""One thread that owns one SQLite connection and commits in groups."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen

from scrapy_bgfetch.exceptions import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scrapy_bgfetch.store.reserve import Reserve

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL = 1.0  # seconds between two looks whether there is room again

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

    When the disk is full, the reserve is given up and all is tried once more. If
    that does not help, the functions have failed; or, when ``patient``, they wait
    until there is room, or until the thread is told to stop.

    :param connect: makes the connection (in autocommit mode), in the thread.
    :param explain: maps what sqlite3 raises.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        explain: Callable[[Exception], StoreError],
        reserve: Reserve,
        *,
        patient: bool = False,
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._reserve = reserve
        self._patient = patient
        self._told_to_stop = threading.Event()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._new: list[_Job] = []  # of this turn of the event loop
        self._handing_over = False  # at the end of this turn
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
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._stopping:
                raise StoreError("the store is closed")
            if not self._handing_over:
                self._handing_over = True
                loop.call_soon(self._hand_over)
            self._new.append(_Job(function, future))
        return await future

    def hurry(self) -> None:
        """Wait for room on a full disk no longer."""
        self._told_to_stop.set()

    async def stop(self) -> None:
        """Run what is queued, close the connection, wait for the thread's end.

        Functions that wait for room on a full disk are tried once more.
        """
        self.hurry()
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._queue_new()
                self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        with self._lock:
            self._queue_new()

    def _queue_new(self) -> None:
        """Let the thread have at once what came in one turn: it shares a commit."""
        new, self._new, self._handing_over = self._new, [], False
        for job in new:
            self._queue.put(job)

    def _main(self, opened: asyncio.Future[None]) -> None:
        try:
            con = self._insist(self._connect)
        except Exception as error:
            _deliver([_Answer(opened, error=self._explain(error))])
            return
        self._reserve.make()
        _deliver([_Answer(opened)])
        more = True
        while more:
            jobs, more = self._take()
            if jobs:
                _deliver(self._serve(con, jobs))
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

    def _serve(self, con: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Answer]:
        try:
            answers = self._insist(
                lambda: self._transact(con, jobs), lambda: _reuse_log(con)
            )
        except Exception as error:
            return [_Answer(job.future, error=self._explain(error)) for job in jobs]
        self._reserve.make_again()
        return answers

    def _insist(
        self, attempt: Callable[[], T], make_room: Callable[[], None] = lambda: None
    ) -> T:
        """Return what ``attempt`` returns, tried again when the disk is full."""
        try:
            return attempt()
        except Exception as error:
            if not self._is_full(error):
                raise
        self._reserve.release()
        waiting = False
        while True:
            make_room()
            try:
                return attempt()
            except Exception as error:
                full = self._patient and self._is_full(error)
                if full and not waiting:
                    logger.warning("%s. It is waited for.", self._explain(error))
                waiting = full
                if not full or self._told_to_stop.wait(POLL):
                    raise

    def _is_full(self, error: Exception) -> bool:
        return isinstance(self._explain(error), StoreFull)

    def _transact(self, con: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Answer]:
        """Do all in one transaction, without the savepoints that few need."""
        with suppress(_Undone), _transaction(con):
            return [_Answer(job.future, _done(job, con)) for job in jobs]
        with _transaction(con):
            return [self._attempt(con, job) for job in jobs]

    def _attempt(self, con: sqlite3.Connection, job: _Job) -> _Answer:
        con.execute("SAVEPOINT job")
        try:
            answer = _Answer(job.future, job.function(con))
        except Exception as error:
            if not con.in_transaction:  # SQLite gave up all of the group
                raise
            con.execute("ROLLBACK TO job")
            if isinstance(error, sqlite3.Error):
                if self._is_full(error):
                    raise
                error = self._explain(error)
            answer = _Answer(job.future, error=error)
        con.execute("RELEASE job")
        return answer


class _Undone(Exception):  # noqa: N818
    """A function of a transaction has raised."""


def _done(job: _Job, con: sqlite3.Connection) -> Any:
    try:
        return job.function(con)
    except Exception as error:
        raise _Undone from error


@contextmanager
def _transaction(con: sqlite3.Connection) -> Iterator[None]:
    try:
        con.execute("BEGIN IMMEDIATE")
        yield
        con.execute("COMMIT")
    except Exception:
        if con.in_transaction:
            with suppress(sqlite3.Error):
                con.execute("ROLLBACK")
        raise


def _reuse_log(con: sqlite3.Connection) -> None:
    """Move the log into the database, so that the next commit begins it anew."""
    with suppress(sqlite3.Error):
        con.execute("PRAGMA wal_checkpoint(RESTART)")


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
