"""The store in one SQLite file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.store import adding, attempts, forgetting, schema, statements
from scrapy_bgfetch.store.faults import store_error
from scrapy_bgfetch.store.reserve import Reserve
from scrapy_bgfetch.store.thread import DatabaseThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scrapy_bgfetch.model import (
        AttemptRow,
        FailureReason,
        Head,
        RecordRow,
        RegistrationRow,
        Result,
    )
    from scrapy_bgfetch.store.base import Mark, Settlement, Verdict

T = TypeVar("T")

_SHARING = 0.02  # seconds that nobody has to wait for, but the end of a crawl
BUSY_TIMEOUT = 10.0  # seconds to wait for another process that writes


class SQLiteStore:
    """Keeps the state in the SQLite file ``path`` (:class:`.base.Store`).

    The file and its ``-wal`` and ``-shm`` are made with mode 0600, missing folders
    with 0700. What a coroutine kept survives the death of the process; a loss of
    power may take the last statements, never the file's consistency. The event
    loop is never blocked: SQLite has one thread, which commits in groups.

    A full disk does not harm what was kept. Beside the database a file ``.reserve``
    of 1 MiB is held where there is room for it; when the disk is full its space is
    used to write down the end of things. After that a coroutine raises StoreFull
    and has kept nothing.

    :param durable: what a coroutine kept survives a loss of power, too.
    :param patient: coroutines wait on a full disk until there is room, ``open``
        too; ``close`` ends that: then they raise StoreFull.
    """

    def __init__(
        self, path: Path, *, durable: bool = False, patient: bool = False
    ) -> None:
        self._path = path
        self._durable = durable
        self._patient = patient
        self._thread: DatabaseThread | None = None
        self._delivered: list[str] = []  # not yet written down
        self._delivering: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._thread is not None:
            return
        thread = DatabaseThread(
            partial(connect, self._path, durable=self._durable),
            partial(store_error, self._path),
            Reserve(self._path.with_suffix(".reserve")),
            patient=self._patient,
        )
        await thread.start()
        self._thread = thread

    def hurry(self) -> None:
        if self._thread is not None:
            self._thread.hurry()

    async def close(self) -> None:
        if self._delivering is not None:
            await asyncio.wait({self._delivering})
        if self._thread is not None:
            await self._thread.stop()
            self._thread = None

    async def register(
        self,
        registration: RegistrationRow,
        records: Sequence[RecordRow],
        adopted: Sequence[tuple[str, int]] = (),
    ) -> None:
        await self._run(
            lambda con: adding.register(con, registration, records, adopted)
        )

    async def extend(
        self,
        uid: str,
        records: Sequence[RecordRow],
        adopted: Sequence[tuple[str, int]] = (),
        *,
        grows: bool = True,
    ) -> Verdict:
        return await self._run(
            lambda con: adding.extend(con, uid, records, adopted, grows=grows)
        )

    async def amend(self, uid: str, **changes: Any) -> None:
        await self._run(lambda con: statements.amend(con, uid, changes))

    async def claim(self, uid: str, index: int) -> int | None:
        return await self._run(lambda con: statements.claim(con, uid, index))

    async def release(
        self, uid: str, index: int, attempt: int, log: AttemptRow | None = None
    ) -> Verdict:
        return await self._run(
            lambda con: statements.release(con, uid, index, attempt, log)
        )

    async def keep_head(
        self,
        uid: str,
        index: int,
        attempt: int,
        head: Head,
        *,
        size: int | None,
        encoded: bool,
    ) -> Verdict:
        return await self._run(
            lambda con: statements.keep_head(
                con, uid, index, attempt, head, size=size, encoded=encoded
            )
        )

    async def checkpoint(self, marks: Sequence[Mark]) -> list[Verdict]:
        return await self._run(lambda con: statements.checkpoint(con, marks))

    async def settle_records(self, ends: Sequence[Settlement]) -> list[Verdict]:
        return await self._run(lambda con: statements.settle_records(con, ends))

    async def announced(self, uid: str, *indexes: int) -> None:
        await self._run(lambda con: statements.announced(con, uid, indexes))

    async def settle(
        self,
        uid: str,
        result: Result,
        reason: FailureReason,
        at: float,
        *,
        logs: Sequence[AttemptRow] = (),
        announced: Sequence[int] = (),
    ) -> Verdict:
        return await self._run(
            lambda con: statements.settle(
                *(con, uid, result, reason, at), logs=logs, announced=announced
            )
        )

    async def delivered(self, uid: str) -> None:
        self._delivered.append(uid)
        if self._delivering is None:
            self._delivering = asyncio.ensure_future(self._deliver())
        await asyncio.shield(self._delivering)

    async def _deliver(self) -> None:
        """Write down those that come within _SHARING, in one statement."""
        await asyncio.sleep(_SHARING)
        uids, self._delivered, self._delivering = self._delivered, [], None
        await self._run(lambda con: statements.delivered(con, uids))

    async def get(self, uid: str) -> RegistrationRow | None:
        return await self._run(lambda con: statements.get(con, uid))

    async def records(self, uid: str) -> list[RecordRow]:
        return await self._run(lambda con: statements.records(con, uid))

    async def records_of(
        self, uids: Sequence[str], *, first: int = 0, limit: int
    ) -> list[RecordRow]:
        return await self._run(
            lambda con: statements.records_of(con, uids, first, limit)
        )

    async def attempts(self, uid: str) -> list[AttemptRow]:
        return await self._run(lambda con: attempts.attempts(con, uid))

    async def undelivered(self, scope: str) -> list[RegistrationRow]:
        return await self._run(lambda con: statements.undelivered(con, scope))

    async def history(self, scope: str, limit: int = 100) -> list[RegistrationRow]:
        return await self._run(lambda con: statements.history(con, scope, limit))

    async def last_settled(self, scope: str, id: str) -> RegistrationRow | None:
        return await self._run(lambda con: statements.last_settled(con, scope, id))

    async def kept(self, scope: str, id: str) -> list[RecordRow]:
        return await self._run(lambda con: statements.kept(con, scope, id))

    async def kept_ids(self, scope: str) -> set[str]:
        return await self._run(lambda con: statements.kept_ids(con, scope))

    async def parts(self) -> list[tuple[str, int]]:
        return await self._run(statements.parts)

    async def forget(self, scope: str, keep: int) -> bool:
        return await self._run(lambda con: forgetting.forget(con, scope, keep))

    async def stored_bytes(self) -> int:
        return await self._run(statements.stored_bytes)

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise StoreError(f"the state in {self._path} is not open")
        return await self._thread.run(function)


def connect(path: Path, *, durable: bool = False) -> sqlite3.Connection:
    """Return a connection to the store's database, created or migrated if needed.

    :raises StoreError, sqlite3.Error, OSError: it cannot be used.
    """
    _create_file(path)
    con = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
    )
    try:
        _set_up(con, "FULL" if durable else "NORMAL")
    except BaseException:
        con.close()
        raise
    return con


def _create_file(path: Path) -> None:
    if path.is_dir():
        raise StoreError("it is a directory: point BGFETCH_DIR elsewhere")
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    # A file that is there is not opened: closing it would take away the locks
    # that this process has on it (POSIX advisory locks).
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _set_up(con: sqlite3.Connection, synchronous: str) -> None:
    con.row_factory = sqlite3.Row
    con.execute("BEGIN")
    schema.check(con)  # before anything is changed
    con.execute("COMMIT")
    (mode,) = con.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            "its file system cannot hold a write-ahead log: "
            "point BGFETCH_DIR to a local disk"
        )
    con.execute(f"PRAGMA synchronous = {synchronous}")
    con.execute("PRAGMA foreign_keys = ON")
    schema.prepare(con)
