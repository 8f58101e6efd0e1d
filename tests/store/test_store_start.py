"""What the start of a crawl reads: never what has settled, however much that is."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.states import STATE_FILE, Case, build
from scrapy_bgfetch.store import statements
from scrapy_bgfetch.store.sqlite import connect

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

# Each of these indexes has a WHERE: the rows that have settled well are not in it.
PARTIAL = {"records_kept", "registrations_undelivered"}
START: dict[str, Callable[[sqlite3.Connection], Any]] = {
    "undelivered": lambda con: statements.undelivered(con, "s"),
    "records_of": lambda con: statements.records_of(con, [f"{0:032x}"], 0, 10),
    "parts": statements.parts,
    "kept_ids": lambda con: statements.kept_ids(con, "s"),
    "stored_bytes": statements.stored_bytes,
}


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a state of that many settled records."""

    def make(records: int) -> sqlite3.Connection:
        case = Case(f"{records}", records // 10, records, settled=True)
        build(case, tmp_path / case.name, scope="s", base="http://localhost")
        return closing(connect(tmp_path / case.name / STATE_FILE))

    return make


@pytest.mark.parametrize("statement", START)
def test_the_start_searches_tables_by_their_indexes(make, statement):
    asked = []
    with make(10) as con:
        con.set_trace_callback(asked.append)
        START[statement](con)
        con.set_trace_callback(None)
        assert asked
        plan = [
            row[3] for sql in asked for row in con.execute(f"EXPLAIN QUERY PLAN {sql}")
        ]
    scans = [re.sub(r"SCAN (TABLE )?", "", step) for step in plan if "SCAN" in step]
    for scan in scans:
        table, _, index = re.sub(r"(USING )(COVERING )?(INDEX)", ":", scan).partition(
            ":"
        )
        assert table.split()[0] in ("totals", "json_each") or index.strip() in PARTIAL


@pytest.mark.parametrize("statement", sorted(START.keys() - {"records_of"}))
def test_the_start_takes_as_many_steps_whatever_has_settled(make, statement):
    """One record in 1,000 has kept bytes, which are read."""

    def steps_with(records: int) -> int:
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        with make(records) as con:
            con.set_progress_handler(count, 1)  # at each instruction of SQLite's
            START[statement](con)
            con.set_progress_handler(None, 1)
        return steps

    assert steps_with(1000) <= steps_with(10) + 10
