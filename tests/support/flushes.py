"""A crawl in a process of its own that writes down what it flushes to the disk.

``python -m tests.support.flushes CONFIG.json`` is ``tests.support.crawl_process``
with a journal of what was flushed, kept by the process itself in ``journal``; it may
also die, or meet a broken disk, at a flush. Nothing of the project is imported before
``os`` is watched.

``die_at_flush``: it kills itself right after the flush of that number, from 1.
``die_after_rename``: the same, after that many files were put in their places.
``break_names``: the first flush of a folder below this one fails, with EIO.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """The process's side: writes down what each flush has made durable.

    What is written down is never more than what is durable: lengths and names are
    read before the flush and written after it, a cut is written before it happens.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._fd = os.open(
            config["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
        )
        self._lock = threading.Lock()
        self._flushes = 0
        self._renames = 0

    def install(self) -> None:
        """Watch all flushes from now on."""
        os.fsync = self._watched(os.fsync)
        os.fdatasync = self._watched(os.fdatasync)
        truncate = os.ftruncate

        def ftruncate(fd, length):
            said = {"inode": os.fstat(fd).st_ino, "cut": length}
            self._write({"at": time.monotonic_ns(), **said})
            truncate(fd, length)

        os.ftruncate = ftruncate
        open_file = os.open

        def opened(path, flags, *args, **kwargs):
            fd = open_file(path, flags, *args, **kwargs)
            if flags & os.O_CREAT and not os.fstat(fd).st_size:
                self._write(
                    {"at": time.monotonic_ns(), "inode": os.fstat(fd).st_ino, "cut": 0}
                )
            return fd

        os.open = opened

    def watch_renames(self) -> None:
        from scrapy_bgfetch.bodies.local import LocalBodies  # noqa: PLC0415

        publish = LocalBodies.publish

        def published(bodies, name, path):
            target = publish(bodies, name, path)
            self._renames += 1
            if self._renames == self._config.get("die_after_rename"):
                os.kill(os.getpid(), signal.SIGKILL)
            return target

        LocalBodies.publish = published

    def _watched(self, flush):
        def watched(fd):
            found = _found(fd)
            self._maybe_break(fd)
            flush(fd)
            self._write(found)
            with self._lock:
                self._flushes += 1
                if self._flushes == self._config.get("die_at_flush"):
                    os.kill(os.getpid(), signal.SIGKILL)

        return watched

    def _maybe_break(self, fd: int) -> None:
        below = self._config.get("break_names")
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if below is not None and path.is_dir() and path.is_relative_to(below):
            del self._config["break_names"]
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _write(self, said: dict[str, Any]) -> None:
        os.write(self._fd, json.dumps(said).encode() + b"\n")


def _found(fd: int) -> dict[str, Any]:
    at = time.monotonic_ns()  # flushes in threads may be written down in another order
    found = os.fstat(fd)
    if stat.S_ISDIR(found.st_mode):
        return {"at": at, "inode": found.st_ino, "names": names_in(fd)}
    return {"at": at, "inode": found.st_ino, "size": found.st_size}


def names_in(folder: int | Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}


def main(path: str) -> None:
    settings = json.loads(Path(path).read_text())
    journal = Journal(json.loads(settings["TEST_CONFIG"]))
    journal.install()
    from tests.support import crawl_process  # noqa: PLC0415

    journal.watch_renames()

    crawl_process.main(path)


if __name__ == "__main__":
    main(sys.argv[1])
