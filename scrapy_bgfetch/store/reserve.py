"""Space on the disk that the state has for itself when all other is used up."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2**20  # bytes
BESIDES = SIZE // 4  # bytes that must be free besides it
PAUSE = 60.0  # seconds between two tries to have it again

_PROBE = 2**16  # bytes: more than SQLite's index of its log grows by at once
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """A file of :data:`SIZE` bytes that is given up when the disk is full.

    :param path: where it is; its folder must be there when it is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = False
        self._tried = 0.0

    def make(self) -> None:
        """Have the file, when there is room for it and :data:`BESIDES`."""
        self._tried = time.monotonic()
        with suppress(OSError):
            self._held = self._is_whole() or self._write()

    def make_again(self) -> None:
        """Have the file that was given up; tried once in :data:`PAUSE` seconds."""
        if not self._held and time.monotonic() - self._tried >= PAUSE:
            self.make()

    def release(self) -> None:
        """Give its space to whoever writes next."""
        self._held, self._tried = False, time.monotonic()
        with suppress(OSError):
            self._path.unlink()

    def _is_whole(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == SIZE

    def _write(self) -> bool:
        if free_bytes(self._path.parent) < SIZE + BESIDES:
            return False
        try:
            _write_new(self._path, SIZE)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        return True


def is_full(error: OSError) -> bool:
    """Return whether the disk, or the user's share of it, is full."""
    return error.errno in _FULL


def has_room(folder: Path) -> bool:
    """Return whether a small file can be written; False when the disk is full."""
    probe = folder / ".bgfetch-probe"
    try:
        _write_new(probe, _PROBE)
    except OSError as error:
        return not is_full(error)
    finally:
        with suppress(OSError):
            probe.unlink()
    return True


def free_bytes(folder: Path) -> int:
    """Return how many bytes this user may still write to the file system."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _write_new(path: Path, size: int) -> None:
    """Write a file that takes ``size`` bytes, also where zeros would take none."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        data = os.urandom(size)
        while data:  # a disk that is filling up takes a part
            data = data[os.write(file, data) :]
    finally:
        os.close(file)
