"""What SQLite and the file system say, mapped once to :class:`StoreError`."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import StoreError, StoreFull
from scrapy_bgfetch.store.reserve import has_room, is_full

if TYPE_CHECKING:
    from pathlib import Path

_ADVICE = (
    ("disk I/O error", "check the disk; what was kept before is safe"),
    ("locked", "another process holds it: let one process at a time use BGFETCH_DIR"),
    ("not a database", "move the file away, or point BGFETCH_DIR elsewhere"),
    ("malformed", "move the file away, or point BGFETCH_DIR elsewhere"),
    ("readonly", "make it writable, or point BGFETCH_DIR elsewhere"),
    ("unable to open", "make its folder writable, or point BGFETCH_DIR elsewhere"),
    ("constraint failed", "the statement contradicts what is kept: nothing changed"),
)
_SQLITE_FULL = "disk is full"
_PERHAPS_FULL = ("disk I/O error", "unable to open")
_FULL = "free some space; what was kept before is safe"
_OTHERWISE = "make it usable, or point BGFETCH_DIR elsewhere"


def store_error(path: Path, error: Exception) -> StoreError:
    """Return the StoreError that says what went wrong at ``path``, and what to do.

    It is a StoreFull when the disk is full. Its ``__cause__`` is ``error``, or the
    cause of ``error`` when that is a StoreError already.
    """
    text, full = str(error), disk_is_full(path, error)
    if full:
        text = f"{text}: {_FULL}"
    elif not isinstance(error, StoreError):
        advice = (advice for sign, advice in _ADVICE if sign in text)
        text = f"{text}: {next(advice, _OTHERWISE)}"
    said = f"the state in {path} cannot be used: {text}"
    mapped = StoreFull(said) if full else StoreError(said)
    mapped.__cause__ = error.__cause__ if isinstance(error, StoreError) else error
    return mapped


def disk_is_full(path: Path, error: Exception) -> bool:
    """Return whether that is why the state at ``path`` could not be written.

    SQLite says so itself of its database and its log. Of the log's index, and
    where a user's share is used up, it only says that something went wrong: then a
    small file is tried.
    """
    if isinstance(error, OSError):
        return is_full(error)
    if not isinstance(error, sqlite3.Error):
        return False
    text = str(error)
    return _SQLITE_FULL in text or (
        any(sign in text for sign in _PERHAPS_FULL) and not has_room(path.parent)
    )
