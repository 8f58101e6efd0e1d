"""A look at settled files: whether they are there, how long, and their digests."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from scrapy_bgfetch.bodies.digests import BLOCK
from scrapy_bgfetch.model import FileStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # nobody may feed a pipe


class FileProblem(Exception):  # noqa: N818
    """The file is not what it was: ``status`` says how."""

    def __init__(self, status: FileStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class LinkProblem(FileProblem):
    """A symbolic link is on the way to the file: it was not followed."""


class Stopped(Exception):  # noqa: N818
    """Nobody wants the digests any more."""


def look(
    folder: Path,
    parts: Sequence[str],
    size: int | None,
    algorithms: Collection[str],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Return algorithm -> lower-case hex digest of a file; {} without algorithms.

    Nothing outside of the folder is opened: symbolic links below it are not
    followed. One block of memory is used, whatever the length.

    :param parts: the segments of its path below the folder, at least one, none of
        them empty, ``.`` or ``..``.
    :param size: the length that it has, None when it is not known.
    :param stopped: asked now and then.
    :raises FileProblem: it is missing, unreadable, or has changed.
    :raises Stopped: ``stopped`` said True.
    """
    try:
        fd = _open(folder, parts)
    except (FileNotFoundError, NotADirectoryError):
        raise FileProblem(FileStatus.MISSING, "it is not there") from None
    except OSError as error:
        raise _unreadable(error) from error
    try:
        _check(os.fstat(fd), size)
        return _digests(fd, algorithms, stopped)
    except OSError as error:
        raise _unreadable(error) from error
    finally:
        os.close(fd)


def _open(folder: Path, parts: Sequence[str]) -> int:
    """Open a file step by step, so that no link can be put in the way meanwhile."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in parts[:-1]:
            inner = _step(name, _FOLDER, fd)
            os.close(fd)
            fd = inner
        return _step(parts[-1], _FILE, fd)
    finally:
        os.close(fd)


def _step(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                what = f"{name!r} is a symbolic link, which is not followed"
                raise LinkProblem(FileStatus.CHANGED, what) from None
        raise


def _check(found: os.stat_result, size: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileProblem(FileStatus.CHANGED, "it is no regular file")
    if size is not None and found.st_size != size:
        what = f"it has {found.st_size} bytes, and had {size}"
        raise FileProblem(FileStatus.CHANGED, what)


def _digests(
    fd: int, algorithms: Collection[str], stopped: Callable[[], bool]
) -> dict[str, str]:
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    left = os.fstat(fd).st_size if hashes else 0
    while left:
        if stopped():
            raise Stopped
        data = os.read(fd, min(BLOCK, left))
        if not data:
            raise FileProblem(FileStatus.CHANGED, "it became shorter while it was read")
        left -= len(data)
        for hashing in hashes.values():
            hashing.update(data)
    return {name: hashing.hexdigest() for name, hashing in hashes.items()}


def _unreadable(error: OSError) -> FileProblem:
    what = f"it cannot be read: {error.strerror or error}"
    return FileProblem(FileStatus.UNREADABLE, what)
