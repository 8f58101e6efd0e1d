"""One crawl at a time in a state folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from scrapy_bgfetch.exceptions import StoreError

if TYPE_CHECKING:
    from pathlib import Path


class FolderLock:
    """A lock on a folder that ends with its process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(
            folder / "lock", timeout=0, mode=0o600, thread_local=False
        )

    def acquire(self) -> None:
        """Take the lock; the folder must be there.

        :raises StoreError: another crawl has it, or it cannot be written.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise StoreError(
                f"{self._folder} is in use by another crawl: wait until it has ended, "
                "or give this one a BGFETCH_DIR of its own."
            ) from None
        except OSError as error:
            raise StoreError(
                f"{self._folder} cannot be locked: {error.strerror}. Point BGFETCH_DIR "
                "to a folder that this user may write."
            ) from error

    def release(self) -> None:
        """Give the lock back, if it is held."""
        self._lock.release()
