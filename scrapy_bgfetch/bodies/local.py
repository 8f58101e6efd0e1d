"""Bodies on the local file system: part files that grow, files that are settled."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from attrs import frozen

from scrapy_bgfetch.bodies.uploads import UploadFiles, names_in
from scrapy_bgfetch.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

_PART_FLAGS = os.O_RDWR | os.O_CREAT
_PART_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class PartFile:
    """A body that arrives. Writes go straight to the operating system.

    What was written survives the end of the process, however it ends.

    :ivar new: whether it was empty, and perhaps not there, when it was opened.
    """

    def __init__(self, path: Path | str, length: int) -> None:
        self._fd = os.open(path, _PART_FLAGS, 0o600)
        try:
            have = os.fstat(self._fd).st_size
            self.new = not have
            self.length = min(length, have)
            if self.length < have:  # truncating makes ext4 write all back at close()
                os.ftruncate(self._fd, self.length)
            if self.length:
                os.lseek(self._fd, self.length, os.SEEK_SET)
        except OSError:
            os.close(self._fd)
            raise

    def tail(self, length: int) -> bytes:
        """Return the last ``length`` bytes that are there."""
        return os.pread(self._fd, length, self.length - length)

    def write(self, data: bytes | memoryview) -> None:
        """Append all of the data.

        :raises OSError: it did not fit; ``length`` says how much is there.
        """
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self.length += written
            view = view[written:]

    def write_at(self, data: bytes | memoryview, at: int) -> None:
        """Write all of the data from an offset on, wherever others write.

        :raises OSError: it did not fit; some of it may be there.
        """
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            view, at = view[written:], at + written

    def close(self) -> None:
        """Close the file; its bytes stay."""
        os.close(self._fd)


@frozen
class Place:
    """An offset in a part file, where something is written."""

    part: PartFile
    at: int

    def write(self, data: bytes | memoryview) -> None:
        """Write all of the data from there on.

        :raises OSError: it did not fit; some of it may be there.
        """
        self.part.write_at(data, self.at)


class LocalBodies:
    """The folders of part files and of settled files.

    :param parts: folder of part files, one flat folder.
    :param files: folder of settled files, one folder in it for each background
        fetch; on the same file system, so that a rename is atomic.
    :ivar durable: whether the folders that are made survive a loss of power.
    :ivar uploads: the bodies that requests send from files.
    """

    durable = False

    def __init__(self, parts: Path, files: Path) -> None:
        self.parts = parts
        self.files = files
        self.uploads = UploadFiles(parts.parent / "uploads")
        self._made: str | None = None
        self._births: dict[str, int] = {}  # numbers of part files, by name
        self._born = 0
        self._named = 0  # names of part files up to this number are on the disk

    def prepare(self) -> None:
        """Create the folders.

        :raises StoreError: one cannot be created or written, or they are on
            different file systems.
        """
        for folder in (self.parts, self.files):
            try:
                self._make(folder)
            except OSError as error:
                raise StoreError(
                    f"the folder {folder} cannot be created: {error.strerror}. Set "
                    "BGFETCH_DIR (or BGFETCH_FILES_STORE) to a folder that this user "
                    "may write."
                ) from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise StoreError(
                    f"the folder {folder} cannot be written by this user. Change its "
                    "mode, or set BGFETCH_DIR (or BGFETCH_FILES_STORE) to another."
                )
        if self.parts.stat().st_dev != self.files.stat().st_dev:
            raise StoreError(
                f"{self.files} is on another file system than {self.parts}, so files "
                "could not appear there at once: put BGFETCH_FILES_STORE on the file "
                "system of BGFETCH_DIR."
            )

    def open_part(self, name: str, length: int) -> PartFile:
        """Open a part file and cut it to what the state says is in it.

        Its ``length`` is smaller than asked for when bytes are missing.
        """
        part = PartFile(self._part(name), length)
        if self.durable and (part.new or name not in self._births):
            self._born += 1
            self._births[name] = self._born
        return part

    def has_part(self, name: str) -> bool:
        """Say whether there is a part file of that name."""
        return (self.parts / name).exists()

    def part_length(self, name: str) -> int:
        """Return how many bytes a part file has, 0 when there is none."""
        try:
            return os.stat(self._part(name)).st_size  # noqa: PTH116 - so often
        except FileNotFoundError:
            return 0

    def file_length(self, path: str) -> int | None:
        """Return how many bytes a settled file has, None when there is none."""
        try:
            found = (self.files / path).stat()
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def publish(self, name: str, path: str) -> None:
        """Let a part file appear at its final path, by an atomic rename.

        The folder is there already. An error leaves the part file where it is: the
        next start tries again.

        :raises StoreError: it cannot be renamed.
        """
        part, target = self._part(name), self._file(path)
        try:
            try:
                os.replace(part, target)  # noqa: PTH105 - so often
            except FileNotFoundError:  # its folder was removed: after all, it is ours
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                Path(part).replace(target)
        except OSError as error:
            raise StoreError(
                f"the file {target} cannot be put in its place: {error.strerror}."
            ) from error
        self._births.pop(name, None)

    def flush_parts(self, names: Iterable[str]) -> dict[str, OSError]:
        """Let what was written to these part files survive a loss of power.

        Return those that the disk refuses to flush, and why.
        """
        return _refused(names, lambda name: _flush_file(self.parts / name))

    def is_unnamed(self, name: str) -> bool:
        """Say whether a loss of power could take the name of a part file."""
        born = self._births.get(name)
        return born is None or born > self._named

    def flush_names(self) -> None:
        """Let the names of the part files survive a loss of power, when durable.

        :raises OSError: the disk refuses.
        """
        born = self._born
        if self.durable:
            _flush_folder(self.parts)
            self._named = max(self._named, born)

    def flush_renames(self, paths: Iterable[str]) -> dict[str, OSError]:
        """Let files that were published stay at these paths after a loss of power.

        Whoever published them, this process or an earlier one. Return those that the
        disk refuses it for, and why.
        """
        above = {path: PurePosixPath(path).parents for path in paths}
        folders = {str(folder) for parents in above.values() for folder in parents}
        # A folder before the names in it: ``.`` is the first.
        refused = _refused(
            sorted(folders), lambda folder: _flush_folder(self.files / folder)
        )
        return {
            path: refused[str(folder)]
            for path, parents in above.items()
            for folder in parents
            if str(folder) in refused
        }

    def adopt(self, name: str, new: str) -> bool:
        """Let a part file have a second name; return whether it is there.

        Whichever of the two the state then knows of stays.
        """
        try:
            (self.parts / new).hardlink_to(self.parts / name)
        except OSError:  # gone, or a file system without hard links
            return False
        return True

    def _make(self, folder: Path) -> None:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if self.durable:
            for path in (folder, *missing):
                _flush_folder(path.parent)

    def make_folder(self, path: str) -> None:
        """Create the folder of a final path.

        :raises OSError: it cannot be created.
        """
        folder = path.rpartition("/")[0]
        if folder != self._made:
            try:
                os.mkdir(self._file(folder))  # noqa: PTH102 - so often
            except OSError:  # it is there, or its own folder is not
                (self.files / folder).mkdir(parents=True, exist_ok=True)
            self._made = folder

    def _part(self, name: str) -> str:
        return f"{self.parts}{os.sep}{name}"

    def _file(self, path: str) -> str:
        return f"{self.files}{os.sep}{path}"

    def discard(self, name: str) -> None:
        """Remove a part file, if there is one."""
        (self.parts / name).unlink(missing_ok=True)
        self._births.pop(name, None)

    def discard_orphans(self, known: AbstractSet[str]) -> int:
        """Remove part files that no record knows; return how many there were."""
        orphans = [n for n in names_in(self.parts, ".part") if n not in known]
        for orphan in orphans:
            self.discard(orphan)
        return len(orphans)

    def free_bytes(self) -> tuple[int, int]:
        """Return how many bytes the file system has left, and has in all.

        None are left when it has no inode for another file.
        """
        found = os.statvfs(self.parts)
        free = found.f_bavail if found.f_favail or not found.f_files else 0
        return free * found.f_frsize, found.f_blocks * found.f_frsize

    def used_bytes(self) -> int:
        """Return how many bytes all part files and settled files have, measured."""
        return sum(map(_size_of_tree, {self.parts, self.files}))


def _size_of_tree(folder: Path) -> int:
    size, folders, linked = 0, [folder], set[int]()
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                        continue
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink == 1 or found.st_ino not in linked:
                        size += _size_of(entry.name, found)
                    if found.st_nlink > 1:
                        linked.add(found.st_ino)
    return size


def _size_of(name: str, found: os.stat_result) -> int:
    """Return the bytes of a file; those of a part file without its holes."""
    if not name.endswith(".part"):
        return found.st_size
    return min(found.st_size, getattr(found, "st_blocks", found.st_size) * _BLOCK)


_BLOCK = 512  # bytes that st_blocks counts in


def _refused(names: Iterable[str], flush: Callable[[str], None]) -> dict[str, OSError]:
    errors = {}
    for name in names:
        try:
            flush(name)
        except FileNotFoundError:  # what is gone needs it no more
            continue
        except OSError as error:
            errors[name] = error
    return errors


def _flush_file(path: Path) -> None:
    _flush(path, _fdatasync)


def _flush_folder(path: Path) -> None:
    _flush(path, os.fsync)


def _flush(path: Path, flush: Callable[[int], None]) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        flush(fd)
    finally:
        os.close(fd)


_fdatasync = getattr(os, "fdatasync", os.fsync)
