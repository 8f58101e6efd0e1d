"""The table at the end of a crawl: what became of each episode."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import astuple, frozen
from humanize import naturalsize
from scrapy import signals

from podcast.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrapy.crawler import Crawler
    from typing_extensions import Self

HEADINGS = ("id", "result", "reason", "files", "bytes", "time")
RIGHT = {"files", "bytes", "time"}


@frozen
class Row:
    """A line of the table, as it is printed."""

    id: str
    result: str
    reason: str
    files: str
    bytes: str
    time: str


def live_row(registration: Any) -> Row:
    """Return the row of a registration of this run."""
    ended = registration.settled_at
    records = registration.records
    good = [r for r in records if r.state == "settled" and not r.failure_reason]
    return Row(
        id=registration.id,
        result=str(registration.result) or "unfinished",
        reason=str(registration.failure_reason),
        files=f"{len(good)} of {len(records)}",
        bytes=naturalsize(registration.downloaded),
        time=clock(ended - registration.created_at if ended else None),
    )


def manifest_row(manifest: Mapping[str, Any]) -> Row:
    """Return the row of an episode that an earlier run has finished."""
    files = manifest["files"]
    good = [file for file in files if not file["reason"]]
    return Row(
        id=manifest["id"],
        result=manifest["result"],
        reason=manifest["reason"],
        files=f"{len(good)} of {len(files)}",
        bytes=naturalsize(manifest["bytes"]),
        time=f"{clock(manifest['seconds'])} (earlier)",
    )


def clock(seconds: float | None) -> str:
    """Return a duration as people write it; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"


def collect(registrations: Iterable[Any], manifests: Iterable[Any]) -> list[Row]:
    """Return one row for each id, in their order; this run comes first."""
    rows = {manifest["id"]: manifest_row(manifest) for manifest in manifests}
    rows.update((r.id, live_row(r)) for r in registrations)
    return sorted(rows.values(), key=lambda row: row.id)


def plain_table(rows: Sequence[Row]) -> str:
    """Return the table in aligned columns of plain text."""
    lines = [HEADINGS, *(astuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if heading in RIGHT else cell.ljust(width)
        for cell, width, heading in zip(cells, widths, HEADINGS, strict=True)
    )
    return "  ".join(padded).rstrip()


def print_table(rows: Sequence[Row]) -> None:
    """Print the table, with rich on a terminal when it is installed."""
    try:
        show = _print_rich if sys.stdout.isatty() else _print_plain
        show(rows)
    except ImportError:
        _print_plain(rows)


def _print_plain(rows: Sequence[Row]) -> None:
    print(plain_table(rows))


def _print_rich(rows: Sequence[Row]) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich is optional
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in RIGHT else "left")
    colours = {"success": "green", "failure": "red"}
    for row in rows:
        table.add_row(*astuple(row), style=colours.get(row.result))
    Console().print(table)


class SummaryTable:
    """The extension: prints the table when all has ended."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._tracker = Tracker(crawler)
        crawler.signals.connect(self.show, signal=signals.engine_stopped)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the crawl."""
        return cls(crawler)

    def show(self) -> None:
        """Print the table, and what to know besides."""
        spider: Any = self._crawler.spider
        rows = collect(self._tracker.all, getattr(spider, "earlier", []))
        if rows:
            print_table(rows)
        for line in self._remarks(spider, rows):
            print(line)

    def _remarks(self, spider: Any, rows: Sequence[Row]) -> Iterable[str]:
        if problem := getattr(spider, "problem", ""):
            yield problem
        if not rows:
            return
        counts = Counter(row.result for row in rows)
        told = ", ".join(f"{number} {result}" for result, number in counts.items())
        folder = os.path.relpath(Path(self._crawler.settings["BGFETCH_DIR"]))
        yield f"{len(rows)} episodes: {told}. Files and manifests are in {folder}"
        if going_on := getattr(spider, "going_on", []):
            ids = ", ".join(registration.id for registration in going_on)
            yield f"Went on from an earlier run: {ids}"
        if "unfinished" in counts:
            yield "Start the crawl again: it goes on with what is unfinished."
        elif not self._tracker.all:
            yield f"Everything was done already. To start over: rm -r {folder}"
