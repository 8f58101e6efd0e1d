"""A small disk, and a full one: a file system in memory, mounted for a test."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_disk(path: Path, size: str = "4m", inodes: int = 0) -> Iterator[Path]:
    """Mount an empty disk of that size at ``path``, a folder that is made.

    It has room for so many files, 0 for any number.

    The test is skipped where mounting is not permitted. It goes away when the last
    file on it is closed.
    """
    path.mkdir()
    options = f"size={size},nr_inodes={inodes}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here (root may)")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> Path:
    """Fill the disk at ``path`` to its last byte; return the file to delete."""
    filler = path / "filler"
    file = os.open(filler, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for size in (2**16, 2**12, 1):
            _append(file, b"x" * size)
    finally:
        os.close(file)
    return filler


def _append(file: int, data: bytes) -> None:
    try:
        while os.write(file, data):
            pass
    except OSError:
        return
