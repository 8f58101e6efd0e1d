"""The store in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from scrapy_bgfetch.exceptions import StoreError
from scrapy_bgfetch.store import schema, statements
from scrapy_bgfetch.store.faults import store_error
from scrapy_bgfetch.store.thread import DatabaseThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from scrapy_bgfetch.model import (
        FailureReason,
        Head,
        RecordRow,
        RegistrationRow,
        Result,
    )
    from scrapy_bgfetch.store.base import Mark, Settlement, Verdict

T = TypeVar("T")

BUSY_TIMEOUT = 10.0  # seconds to wait for another process that writes


class SQLiteStore:
    """Keeps the state in the SQLite file ``path`` (:class:`.base.Store`).

    The file and its ``-wal`` and ``-shm`` are made with mode 0600, missing folders
    with 0700. What a coroutine kept survives the death of the process; a loss of
    power may take the last statements, never the file's consistency. The event
    loop is never blocked: SQLite has one thread, which commits in groups.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: DatabaseThread | None = None

    async def open(self) -> None:
        if self._thread is not None:
            return
        thread = DatabaseThread(
            partial(connect, self._path), partial(store_error, self._path)
        )
        await thread.start()
        self._thread = thread

    async def close(self) -> None:
        if self._thread is not None:
            await self._thread.stop()
            self._thread = None

    async def register(
        self, registration: RegistrationRow, records: Sequence[RecordRow]
    ) -> None:
        await self._run(lambda con: statements.register(con, registration, records))

    async def append(self, record: RecordRow) -> Verdict:
        return await self._run(lambda con: statements.append(con, record))

    async def amend(self, uid: str, **changes: Any) -> None:
        await self._run(lambda con: statements.amend(con, uid, changes))

    async def claim(self, uid: str, index: int) -> int | None:
        return await self._run(lambda con: statements.claim(con, uid, index))

    async def release(self, uid: str, index: int, attempt: int) -> Verdict:
        return await self._run(lambda con: statements.release(con, uid, index, attempt))

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
        self, uid: str, result: Result, reason: FailureReason, at: float
    ) -> Verdict:
        return await self._run(
            lambda con: statements.settle(con, uid, result, reason, at)
        )

    async def delivered(self, uid: str) -> None:
        await self._run(lambda con: statements.delivered(con, uid))

    async def get(self, uid: str) -> RegistrationRow | None:
        return await self._run(lambda con: statements.get(con, uid))

    async def records(self, uid: str) -> list[RecordRow]:
        return await self._run(lambda con: statements.records(con, uid))

    async def undelivered(self, scope: str) -> list[RegistrationRow]:
        return await self._run(lambda con: statements.undelivered(con, scope))

    async def history(self, scope: str, limit: int = 100) -> list[RegistrationRow]:
        return await self._run(lambda con: statements.history(con, scope, limit))

    async def unannounced(self) -> list[tuple[str, int]]:
        return await self._run(statements.unannounced)

    async def stored_bytes(self) -> int:
        return await self._run(statements.stored_bytes)

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise StoreError(f"the state in {self._path} is not open")
        return await self._thread.run(function)


def connect(path: Path) -> sqlite3.Connection:
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
        _set_up(con)
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


def _set_up(con: sqlite3.Connection) -> None:
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
    con.execute("PRAGMA synchronous = NORMAL")
    con.execute("PRAGMA foreign_keys = ON")
    schema.prepare(con)
