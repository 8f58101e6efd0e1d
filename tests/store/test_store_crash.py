"""Processes that die without a word: what was acknowledged is there, and whole."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

from scrapy_bgfetch.store.sqlite import SQLiteStore

SCRIPT = Path(__file__).with_name("checkpoint_forever.py")
ROOT = Path(__file__).parents[2]


def start(path, how):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(path), how],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        text=True,
    )


async def reopened(path):
    """Return the offsets in a database that passes SQLite's own check."""
    store = SQLiteStore(path)
    await store.open()
    offsets = [record.stored for record in await store.records("u")]
    row = await store.get("u")
    await store.close()
    assert row.downloaded == sum(offsets)
    con = sqlite3.connect(path)
    assert con.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert con.execute("PRAGMA foreign_key_check").fetchall() == []
    con.close()
    return offsets


async def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path):
    path = tmp_path / "state.sqlite"
    dice = random.Random(20)
    for _ in range(6):
        with start(path, "go on") as process:
            for _ in range(dice.randrange(1, 300)):
                acknowledged = int(process.stdout.readline())
            process.kill()
            lines = process.stdout.read().splitlines(keepends=True)
        whole = [int(line) for line in lines if line.endswith("\n")]
        acknowledged = max([acknowledged, *whole])
        first, second = await reopened(path)
        assert first == second  # the marks of one call are kept together
        assert acknowledged <= first <= acknowledged + 1


async def test_an_interpreter_that_exits_without_close_neither_hangs_nor_corrupts(
    tmp_path,
):
    path = tmp_path / "state.sqlite"
    with start(path, "leave") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.splitlines()[-1] == "100"
    first, second = await reopened(path)
    assert first == second
    assert first in {100, 101}
