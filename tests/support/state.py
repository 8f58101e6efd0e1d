"""What is on disk after a crawl: the state and the files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def ids(folder: Path) -> list[str]:
    """Return the ids of all background fetches in the state, the oldest first."""
    with closing(sqlite3.connect(folder / "bgfetch" / "state.sqlite")) as con:
        rows = con.execute("SELECT id FROM registrations ORDER BY created_at")
        return [id for (id,) in rows]


def records(folder: Path) -> int:
    """Return how many records the state has."""
    with closing(sqlite3.connect(folder / "bgfetch" / "state.sqlite")) as con:
        return int(con.execute("SELECT count(*) FROM records").fetchone()[0])


def dump(folder: Path) -> str:
    """Return everything that the state says, as text."""
    with closing(sqlite3.connect(folder / "bgfetch" / "state.sqlite")) as con:
        return "\n".join(con.iterdump())


def files(folder: Path) -> list[str]:
    """Return the relative paths of all bodies, complete or not."""
    bodies = folder / "bgfetch"
    return sorted(
        str(path.relative_to(bodies))
        for path in (*bodies.glob("parts/*"), *bodies.glob("files/*/*"))
    )
