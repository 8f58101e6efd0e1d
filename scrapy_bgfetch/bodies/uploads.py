"""Bodies of requests that are in files: looked at, copied, read in pieces."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import frozen

from scrapy_bgfetch.exceptions import (
    BadRequestError,
    QuotaExceededError,
    StoreError,
    SuspendedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

PIECE_SIZE = 128 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_COPY = "copy"


class UploadChanged(Exception):  # noqa: N818
    """The file of a request's body is not what it was at registration."""


@frozen
class FileBody:
    """A body in a file, as it was when its request was registered.

    ``mtime_ns`` is None for a copy of our own.
    """

    path: Path
    size: int
    mtime_ns: int | None = None

    def check(self) -> None:
        """Look whether the file is still the same.

        :raises UploadChanged: it is not, or cannot be read.
        """
        reader = _Reader(self)
        try:
            reader.open()
        finally:
            reader.close()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Read the file in threads, PIECE_SIZE bytes at a time.

        :raises UploadChanged: it is not the same any more; then its last piece
            never came.
        """
        reader = _Reader(self)
        try:
            while piece := await asyncio.to_thread(reader.read):
                yield piece
        finally:
            reader.close()


class _Reader:
    """Reads a file in threads that nobody has to wait for."""

    def __init__(self, body: FileBody) -> None:
        self._body = body
        self._left = body.size
        self._fd: int | None = None
        self._closed = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open the file, if it is not open, and check it."""
        try:
            if self._fd is None:
                self._fd = os.open(self._body.path, _READ_FLAGS)
            found = os.fstat(self._fd)
        except OSError as error:
            raise self._changed(error.strerror or str(error)) from error
        body = self._body
        if not stat.S_ISREG(found.st_mode) or found.st_size != body.size:
            raise self._changed(f"{found.st_size} bytes instead of {body.size}")
        if body.mtime_ns not in (None, found.st_mtime_ns):
            raise self._changed("it was written to")

    def read(self) -> bytes:
        """Return the next bytes, b"" at the end and after :meth:`close`."""
        try:
            with self._lock:
                return b"" if self._closed else self._read()
        finally:
            if self._closed:  # while the bytes were read
                self.close()

    def close(self) -> None:
        """Close the file; if it is being read, whoever reads it does so."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)
            self._lock.release()

    def _read(self) -> bytes:
        self.open()
        assert self._fd is not None
        try:
            data = os.read(self._fd, min(self._left, PIECE_SIZE))
        except OSError as error:
            raise self._changed(error.strerror or str(error)) from error
        if not data and self._left:
            raise self._changed(f"its last {self._left} bytes are missing")
        self._left -= len(data)
        if not self._left:
            self.open()  # as it is now
        return data

    def _changed(self, why: str) -> UploadChanged:
        return UploadChanged(
            f"The file {self._body.path}, the body of the request, is not what it was "
            f"at registration ({why}): leave it alone until its record has settled, "
            "and fetch again."
        )


class UploadFiles:
    """The files that requests send, and the folder of those that were copied.

    :param folder: it is made when it is needed.
    :ivar durable: whether copies survive a loss of power.
    """

    durable = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def describe(self, path: str) -> dict[str, Any]:
        """Return the kept form of a file that stays where it is.

        :raises BadRequestError: it cannot be read, or is no regular file.
        """
        absolute = Path(path).absolute()
        try:
            fd = os.open(absolute, _READ_FLAGS)
            try:
                found = os.fstat(fd)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise BadRequestError(
                f"the body {absolute} cannot be read: {why}."
            ) from error
        if not stat.S_ISREG(found.st_mode):
            raise BadRequestError(
                f"the body {absolute} is no regular file: its length cannot be known."
            )
        return {
            "path": str(absolute),
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
        }

    def copy(
        self, name: str, file: BinaryIO, stopped: Callable[[], bool]
    ) -> dict[str, Any]:
        """Copy what is left of a file object; return the kept form of the copy (17).

        When it raises, no copy is left (18).

        :raises BadRequestError: the file object cannot be read.
        :raises QuotaExceededError: the disk is full.
        :raises StoreError: the copy cannot be written.
        :raises SuspendedError: ``stopped`` says so.
        """
        target = self.folder / name
        try:
            size = self._copy(target, file, stopped)
        except BaseException as error:
            with suppress(OSError):
                target.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _not_written(target, error) from error
            raise
        return {_COPY: name, "size": size}

    def find(self, kept: Mapping[str, Any]) -> FileBody:
        """Return the body that a kept form tells of."""
        if _COPY in kept:
            return FileBody(self.folder / kept[_COPY], kept["size"])
        return FileBody(Path(kept["path"]), kept["size"], kept["mtime_ns"])

    def discard(self, kept: Mapping[str, Any] | None) -> None:
        """Remove a copy, if it is one; other files are nothing of ours."""
        if kept is not None and _COPY in kept:
            with suppress(OSError):  # the next start tries again
                (self.folder / kept[_COPY]).unlink(missing_ok=True)

    def discard_orphans(self, known: Iterable[str]) -> None:
        """Remove the copies that no record knows."""
        kept = set(known)
        for name in names_in(self.folder, ".body"):
            if name not in kept:
                (self.folder / name).unlink(missing_ok=True)

    def _copy(self, target: Path, file: BinaryIO, stopped: Callable[[], bool]) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = 0
        with os.fdopen(
            os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
        ) as copy:
            while data := _read(file):
                if stopped():
                    raise SuspendedError(
                        "the spider is closing: nothing was registered"
                    )
                copy.write(data)
                size += len(data)
            copy.flush()
            if self.durable:
                os.fsync(copy.fileno())
        if self.durable:
            _flush_names(self.folder)
        return size


async def in_own_thread(work: Callable[[], Any]) -> Any:
    """Return what ``work`` does in a thread that the interpreter does not wait for.

    What reads a file object of somebody's may block for ever.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(error)

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # for whoever waits
            failed = error
        with suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(tell, result, failed)

    threading.Thread(target=run, name="bgfetch-upload", daemon=True).start()
    return await future


def names_in(folder: Path, ending: str) -> list[str]:
    """Return the names with that ending in a folder, which may not be there."""
    try:
        with os.scandir(folder) as entries:
            return [one.name for one in entries if one.name.endswith(ending)]
    except FileNotFoundError:
        return []


def _read(file: BinaryIO) -> bytes:
    """Return the next bytes of a file object of somebody's, whatever it raises (18)."""
    try:
        data = file.read(PIECE_SIZE)
    except Exception as error:
        raise BadRequestError(
            f"a body cannot be read: {type(error).__name__}: {error}. Nothing was "
            "registered."
        ) from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise BadRequestError(
            f"a body must be bytes, not {type(data).__name__}: open the file in binary "
            'mode, as "rb". Nothing was registered.'
        )
    return bytes(data)


def _not_written(target: Path, error: OSError) -> QuotaExceededError | StoreError:
    if error.errno in _FULL:
        return QuotaExceededError(
            f"a body does not fit on the disk as {target}: {error.strerror}. Free some "
            "space, or give its path instead of a file object: then it is not copied."
        )
    return StoreError(f"a body cannot be copied to {target}: {error.strerror}.")


def _flush_names(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
