"""What a state is told of downloads, and no more: that each was begun, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.model import (
    AttemptRow,
    FailureReason,
    Head,
    RecordRow,
    RegistrationRow,
)
from scrapy_bgfetch.store.base import Settlement
from scrapy_bgfetch.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

_UID = "uid"
_SIZE = 20480  # bytes


class State:
    """The state of one background fetch of all URLs, of files of 20 KiB."""

    def __init__(self, store: SQLiteStore, urls: Sequence[str]) -> None:
        self._store = store
        self._urls = urls

    @classmethod
    async def begin_all(cls, path: Path, urls: Sequence[str]) -> Self:
        """Make the SQLite file ``path``, and register all."""
        store = SQLiteStore(path)
        await store.open()
        registration = RegistrationRow(_UID, "id", "scope", expected=len(urls))
        rows = [RecordRow(_UID, index, url) for index, url in enumerate(urls)]
        await store.register(registration, rows)
        return cls(store, urls)

    async def begin(self, index: int) -> int:
        """Say that a download begins; return the number of the attempt."""
        attempt = await self._store.claim(_UID, index)
        assert attempt is not None
        return attempt

    async def end(self, index: int, attempt: int) -> None:
        """Say how it has ended."""
        await self._store.settle_records([_end(index, attempt, self._urls[index])])

    async def end_all(self) -> None:
        """Say that all are known to have ended, and close it."""
        await self._store.announced(_UID, *range(len(self._urls)))
        await self._store.close()


def _end(index: int, attempt: int, url: str) -> Settlement:
    return Settlement(
        *(_UID, index, attempt, FailureReason.NONE, _SIZE),
        size=_SIZE,
        head=Head(url, 200, (("Content-Length", str(_SIZE)),)),
        path=f"id/{index}",
        log=AttemptRow(_UID, index, attempt, 1.0, 2.0, urls=(url,)),
    )
