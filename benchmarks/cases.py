"""What is downloaded: the cases, and their files of random bytes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from pathlib import Path

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

_BLOCK = MiB
_SAMPLE = 20  # files of a case whose content is verified after each run


@frozen
class Case:
    """A number of files of one size, in bytes.

    :ivar server: who serves them, a key of ``Served.urls``.
    :ivar of: the case whose files they are, when they are another's.
    :ivar cleared: whether the files of each run are deleted before the next one begins,
        however many there are.
    """

    name: str
    count: int
    size: int
    server: str = "http"
    of: str = ""
    cleared: bool = False

    @property
    def total(self) -> int:
        """The bytes of all files."""
        return self.count * self.size

    @property
    def folder(self) -> str:
        """The name of its folder, another one for each shape."""
        return f"{self.of or self.name}-{self.count}x{self.size}"

    def names(self) -> list[str]:
        """Return the names of its files."""
        name = self.of or self.name
        return [f"{name}-{index:05}.bin" for index in range(self.count)]

    def sample(self) -> list[str]:
        """Return the names of the files whose content is verified."""
        return self.names()[:: max(1, self.count // _SAMPLE)]


EMPTY = Case("empty", 0, 0)
CASES = (
    Case("large", 1, 2 * GiB),
    Case("large-tls", 1, 2 * GiB, "https", of="large"),
    Case("medium", 200, 5 * MiB),
    Case("medium-tls", 200, 5 * MiB, "https", of="medium"),
    Case("small", 5000, 20 * KiB),
    Case("small-tls", 5000, 20 * KiB, "https", of="small"),
    Case("throttled", 1, 128 * MiB, "throttled"),
    # The last one: it slows down whatever makes files next.
    Case("small-cleared", 5000, 20 * KiB, of="small", cleared=True),
)


def scaled(case: Case, scale: float) -> Case:
    """Return a smaller or larger case: one file in size, many in number."""
    if case.count == 1:
        return evolve(case, size=max(1, round(case.size * scale)))
    return evolve(case, count=max(1, round(case.count * scale)))


@frozen
class Source:
    """The files of a case on disk.

    :ivar digests: name to SHA-256 of its sample.
    """

    case: Case
    folder: Path
    digests: dict[str, str]

    def warm(self) -> None:
        """Read all files, so that no run waits for the disk."""
        for name in self.case.names():
            _digest(self.folder / name)


def folder_of(case: Case, data: Path) -> Path:
    """Return where the files of a case are kept."""
    return data / "sources" / case.folder


def make_source(case: Case, data: Path) -> Source:
    """Write the files of a case, unless an earlier run has; return them.

    The bytes are random and always the same ones; no file is sparse.
    """
    folder = folder_of(case, data)
    manifest = folder / "manifest.json"
    if not _is_complete(case, folder, manifest):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in case.names():
            _write(folder / name, case.size)
        digests = {name: _digest(folder / name) for name in case.sample()}
        manifest.write_text(json.dumps(digests))
    return Source(case, folder, json.loads(manifest.read_text()))


def problem_of(source: Source, got: dict[str, Path]) -> str:
    """Return what is wrong with downloaded files, given by name; "" for nothing."""
    wanted = set(source.case.names())
    if got.keys() != wanted:
        missing, extra = wanted - got.keys(), got.keys() - wanted
        return f"{len(missing)} files are missing, {len(extra)} are too many"
    for name, path in got.items():
        size = path.stat().st_size
        if size != source.case.size:
            return f"{name} has {size} of {source.case.size} bytes"
    for name, digest in source.digests.items():
        if _digest(got[name]) != digest:
            return f"the content of {name} is wrong"
    return ""


def _is_complete(case: Case, folder: Path, manifest: Path) -> bool:
    """Say whether all files are there: the manifest is written last."""
    if not manifest.exists():
        return False
    sizes = {e.name: e.stat().st_size for e in os.scandir(folder)}
    return all(sizes.get(name) == case.size for name in case.names())


def _write(path: Path, size: int) -> None:
    source = random.Random(path.name)
    with path.open("wb") as file:
        for start in range(0, size, _BLOCK):
            file.write(source.randbytes(min(_BLOCK, size - start)))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
