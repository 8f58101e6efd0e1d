"""Shows how the background fetches get on: live with rich, else in plain lines."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Protocol

from humanize import naturalsize
from scrapy import signals

from podcast.tracking import Tracker, expected_bytes

if TYPE_CHECKING:
    from rich.table import Table
    from scrapy.crawler import Crawler
    from typing_extensions import Self

LINES = 12  # of a live display; more would not fit small terminals
IN_A_LINE = 3


class Display(Protocol):
    """Something that can show the state of a tracker, again and again."""

    interval: float

    def show(self, tracker: Tracker) -> None:
        """Show how things are now."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainDisplay:
    """One line every two seconds, for logs and pipes."""

    interval = 2.0

    def __init__(self) -> None:
        self._shown = ""

    def show(self, tracker: Tracker) -> None:
        """Print a line, when there is news."""
        line = progress_line(tracker)
        if tracker.all and line != self._shown:
            print(line, file=sys.stderr, flush=True)
        self._shown = line

    def close(self) -> None:
        """Do nothing: lines stay."""


class LiveDisplay:
    """A bar for each background fetch that is arriving, redrawn in place."""

    interval = 0.25

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - rich is optional
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(
            console=Console(stderr=True), auto_refresh=False, transient=True
        )
        self._live.start()

    def show(self, tracker: Tracker) -> None:
        """Draw the bars."""
        self._live.update(_bars(tracker), refresh=True)

    def close(self) -> None:
        """Take the bars away."""
        self._live.stop()


def _bars(tracker: Tracker) -> Table:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    grid = Table.grid(padding=(0, 2))
    moving = tracker.moving
    for registration in moving[:LINES]:
        expected = expected_bytes(registration)
        bar = ProgressBar(expected, registration.downloaded, width=30)
        grid.add_row(registration.id, bar, _amount(registration))
    more = f" and {len(moving) - LINES} more" if len(moving) > LINES else ""
    grid.add_row(f"{_done(tracker)}{more}", "", _bytes_of(tracker))
    return grid


def progress_line(tracker: Tracker) -> str:
    """Return the state of all in one line."""
    moving = tracker.moving
    parts = [f"{r.id} {_amount(r)}" for r in moving[:IN_A_LINE]]
    if len(moving) > IN_A_LINE:
        parts.append(f"and {len(moving) - IN_A_LINE} more")
    return " | ".join([f"{_done(tracker)}, {_bytes_of(tracker)}", *parts])


def _done(tracker: Tracker) -> str:
    return f"{tracker.ended} of {len(tracker.all)} done"


def _bytes_of(tracker: Tracker) -> str:
    return naturalsize(sum(r.downloaded for r in tracker.all))


def _amount(registration: Any) -> str:
    expected = expected_bytes(registration)
    if not expected:
        return naturalsize(registration.downloaded)
    percent = min(100, 100 * registration.downloaded // expected)
    done, whole = naturalsize(registration.downloaded), naturalsize(expected)
    return f"{percent}% {done} of {whole}"


def choose_display() -> Display:
    """Return the live display on a terminal when rich is installed."""
    if sys.stderr.isatty():
        try:
            return LiveDisplay()
        except ImportError:
            pass
    return PlainDisplay()


class ProgressDisplay:
    """The extension: shows the progress while the spider is open."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Listen to the crawl."""
        display = cls(Tracker(crawler))
        crawler.signals.connect(display.open, signal=signals.spider_opened)
        crawler.signals.connect(display.close, signal=signals.spider_closed)
        return display

    def open(self) -> None:
        """Begin to show."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        display = choose_display()
        try:
            while True:
                await asyncio.sleep(display.interval)
                display.show(self._tracker)
        finally:
            display.close()

    async def close(self) -> None:
        """Stop showing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
