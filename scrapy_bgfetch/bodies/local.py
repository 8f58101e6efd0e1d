"""Bodies on the local file system: part files that grow, files that are settled."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import StoreError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

_PART_FLAGS = os.O_RDWR | os.O_CREAT
_PART_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class PartFile:
    """A body that arrives. Writes go straight to the operating system.

    What was written survives the end of the process, however it ends.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._fd = os.open(path, _PART_FLAGS, 0o600)
        try:
            have = os.fstat(self._fd).st_size
            self.length = min(length, have)
            os.ftruncate(self._fd, self.length)
            os.lseek(self._fd, self.length, os.SEEK_SET)
        except OSError:
            os.close(self._fd)
            raise

    def write(self, data: bytes) -> None:
        """Append all of the data.

        :raises OSError: it did not fit; ``length`` says how much is there.
        """
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self.length += written
            view = view[written:]

    def close(self) -> None:
        """Close the file; its bytes stay."""
        os.close(self._fd)


class LocalBodies:
    """The folders of part files and of settled files.

    :param parts: folder of part files, one flat folder.
    :param files: folder of settled files, one folder in it for each background
        fetch; on the same file system, so that a rename is atomic.
    """

    def __init__(self, parts: Path, files: Path) -> None:
        self.parts = parts
        self.files = files
        self._made: Path | None = None

    def prepare(self) -> None:
        """Create the folders.

        :raises StoreError: one cannot be created or written, or they are on
            different file systems.
        """
        for folder in (self.parts, self.files):
            try:
                folder.mkdir(parents=True, exist_ok=True)
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
        return PartFile(self.parts / name, length)

    def has_part(self, name: str) -> bool:
        """Say whether there is a part file of that name."""
        return (self.parts / name).exists()

    def part_length(self, name: str) -> int:
        """Return how many bytes a part file has, 0 when there is none."""
        try:
            return (self.parts / name).stat().st_size
        except FileNotFoundError:
            return 0

    def publish(self, name: str, path: str) -> Path:
        """Let a part file appear at its final path, by an atomic rename.

        The folder is there already. An error leaves the part file where it is: the
        next start tries again.

        :raises StoreError: it cannot be renamed.
        """
        target = self.files / path
        try:
            try:
                (self.parts / name).replace(target)
            except FileNotFoundError:  # its folder was removed: after all, it is ours
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.parts / name).replace(target)
        except OSError as error:
            raise StoreError(
                f"the file {target} cannot be put in its place: {error.strerror}."
            ) from error
        return target

    def make_folder(self, path: str) -> None:
        """Create the folder of a final path.

        :raises OSError: it cannot be created.
        """
        folder = (self.files / path).parent
        if folder != self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made = folder

    def discard(self, name: str) -> None:
        """Remove a part file, if there is one."""
        (self.parts / name).unlink(missing_ok=True)

    def discard_orphans(self, known: AbstractSet[str]) -> int:
        """Remove part files that no record knows; return how many there were."""
        orphans = [p for p in self.parts.glob("*.part") if p.name not in known]
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        return len(orphans)

    def free_bytes(self) -> int:
        """Return how many bytes the file system has left."""
        return shutil.disk_usage(self.parts).free
