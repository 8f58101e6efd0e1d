"""A disk that keeps after a power cut no more than what was flushed to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.support.crawl_process import Crawl
from tests.support.flushes import names_in


@define
class Durable:
    """What is on the disk for sure.

    ``sizes``: bytes by inode; ``names``: entries by inode of the folder; ``homes``:
    the last folder and name that an inode is known to have had.
    """

    sizes: dict[int, int] = field(factory=dict)
    names: dict[int, dict[str, int]] = field(factory=dict)
    homes: dict[int, tuple[int, str]] = field(factory=dict)

    @classmethod
    def read(cls, journal: Path) -> Durable:
        durable = cls()
        lines = journal.read_text().splitlines() if journal.exists() else ()
        said = map(json.loads, lines)
        for one in sorted(said, key=lambda one: one.get("at", 0)):
            durable.take(one)
        return durable

    def take(self, said: dict[str, Any]) -> None:
        inode = said["inode"]
        if "names" in said:
            self.names[inode] = said["names"]
            for name, entry in said["names"].items():
                self.homes[entry] = (inode, name)
        elif "cut" in said:  # a new file, too: its inode may have been another's
            self.sizes[inode] = min(self.sizes.get(inode, 0), said["cut"])
        else:
            self.sizes[inode] = said["size"]


class PowerCrawl(Crawl):
    """A crawl whose computer can lose its power when it has been killed.

    State, part files and settled files are in ``disk``; ``disk`` itself is not in
    the state's folder, and its own name is durable.
    """

    module = "tests.support.flushes"

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.journal = folder / "journal.jsonl"
        settings.setdefault("BGFETCH_DIR", str(self.disk / "state"))
        if "BGFETCH_FILES_STORE" in settings:
            settings["BGFETCH_FILES_STORE"] = str(
                self.disk / settings["BGFETCH_FILES_STORE"]
            )
        super().__init__(folder, **settings)
        files = self.settings.get("BGFETCH_FILES_STORE", self.state / "files")
        self.files = Path(files)

    def start(self, **config: Any) -> PowerCrawl:
        super().start(journal=str(self.journal), **config)
        return self

    def cut_power(self, *, names_survive: bool) -> None:
        """Make the disk what the worst file system may leave.

        All bytes that were not flushed are zeros. Names that were not flushed are
        gone: a file has the last name that was, or none. With ``names_survive`` the
        system happened to have written the names, but not the bytes.
        """
        durable = Durable.read(self.journal)
        if not names_survive:
            self._undo_names(durable)
        for path in _files(self.disk):
            _zero(path, durable.sizes.get(path.stat().st_ino, 0))
        self._all_is_durable()

    def _undo_names(self, durable: Durable) -> None:
        folders = _folders(self.disk)
        paths = {folder.stat().st_ino: folder for folder in folders}
        for folder in reversed(folders):  # the innermost first
            kept = durable.names.get(folder.stat().st_ino, {})
            for name, inode in names_in(folder).items():
                if kept.get(name) != inode and not _of_sqlite(folder / name):
                    _undo(folder / name, durable, paths)

    def _all_is_durable(self) -> None:
        said = [
            {"inode": folder.stat().st_ino, "names": names_in(folder)}
            for folder in _folders(self.disk)
        ]
        said += [
            {"inode": path.stat().st_ino, "size": path.stat().st_size}
            for path in _files(self.disk)
        ]
        self.journal.write_text("".join(json.dumps(one) + "\n" for one in said))


def _undo(path: Path, durable: Durable, folders: dict[int, Path]) -> None:
    """Take a name back that was never flushed."""
    if path.is_dir():
        remove_tree(path)
        return
    folder, name = durable.homes.get(path.stat().st_ino, (0, ""))
    if folder in folders and not (folders[folder] / name).exists():
        path.rename(folders[folder] / name)
    else:
        path.unlink()


def remove_tree(folder: Path) -> None:
    for path in folder.iterdir():
        remove_tree(path) if path.is_dir() else path.unlink()
    folder.rmdir()


def _zero(path: Path, kept: int) -> None:
    size = path.stat().st_size
    if size > kept:
        os.truncate(path, kept)
        os.truncate(path, size)


def _folders(root: Path) -> list[Path]:
    return [root, *sorted(path for path in root.rglob("*") if path.is_dir())]


def _files(root: Path) -> list[Path]:
    return [p for p in root.rglob("*") if p.is_file() and not _of_sqlite(p)]


def _of_sqlite(path: Path) -> bool:
    """Whether it is of the state, which SQLite itself flushes at each commit."""
    return path.name == "lock" or path.name.startswith("state.")
