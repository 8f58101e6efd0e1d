"""What SQLite and the file system say, mapped once to :class:`StoreError`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import StoreError

if TYPE_CHECKING:
    from pathlib import Path

_ADVICE = (
    ("disk is full", "free some space; what was kept before is safe"),
    ("No space left", "free some space; what was kept before is safe"),
    ("disk I/O error", "check the disk; what was kept before is safe"),
    ("locked", "another process holds it: let one process at a time use BGFETCH_DIR"),
    ("not a database", "move the file away, or point BGFETCH_DIR elsewhere"),
    ("malformed", "move the file away, or point BGFETCH_DIR elsewhere"),
    ("readonly", "make it writable, or point BGFETCH_DIR elsewhere"),
    ("unable to open", "make its folder writable, or point BGFETCH_DIR elsewhere"),
    ("constraint failed", "the statement contradicts what is kept: nothing changed"),
)
_OTHERWISE = "make it usable, or point BGFETCH_DIR elsewhere"


def store_error(path: Path, error: Exception) -> StoreError:
    """Return the StoreError that says what went wrong at ``path``, and what to do.

    Its ``__cause__`` is ``error``, or the cause of ``error`` when that is a
    StoreError already.
    """
    text = str(error)
    if not isinstance(error, StoreError):
        advice = (advice for sign, advice in _ADVICE if sign in text)
        text = f"{text}: {next(advice, _OTHERWISE)}"
    mapped = StoreError(f"the state in {path} cannot be used: {text}")
    mapped.__cause__ = error.__cause__ if isinstance(error, StoreError) else error
    return mapped
