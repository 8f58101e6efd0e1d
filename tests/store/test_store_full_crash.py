"""Processes killed on a full disk: what was acknowledged is there, and whole."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.full_disk import fill, small_disk

SCRIPT = Path(__file__).with_name("append_forever.py")


def integrity(path):
    with closing(sqlite3.connect(path)) as con:
        return con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def read_until(process, wanted, seen):
    """Collect what is acknowledged until ``wanted`` lines have come."""
    for _ in range(wanted):
        line = process.stdout.readline()
        assert line, process.stderr.read()
        seen.append(line)


async def check(path, seen):
    """Check that all that was acknowledged is there, in a whole database."""
    numbers = [int(line) for line in seen if line[0].isdigit() and line[-1] == "\n"]
    store = SQLiteStore(path)
    await store.open()
    kept = [record.index for record in await store.records("u")]
    await store.close()
    assert integrity(path)
    assert kept == list(range(len(kept)))
    assert max(numbers) < len(kept)


async def test_kills_on_a_full_disk_lose_nothing_that_was_acknowledged(tmp_path):
    dice, seen = random.Random(6), []
    with small_disk(tmp_path / "disk", "16m") as folder:
        path, filler = folder / "state.sqlite", None
        for number in range(6):
            command = [sys.executable, str(SCRIPT), str(path)]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                read_until(process, dice.randrange(1, 60), seen)
                filler = fill(folder)
                read_until(process, dice.randrange(1, 400), seen)
                process.kill()
                seen += process.stdout.read().splitlines(keepends=True)
            if number % 3 < 2:  # the third time it opens on a full disk
                filler.unlink()
                await check(path, seen)
        filler.unlink(missing_ok=True)
        await check(path, seen)
    assert "full\n" in seen
