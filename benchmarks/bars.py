"""The bars that the project set itself, held against the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.cases import MiB
from benchmarks.peers import BGFETCH, FILES_PIPELINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.compare import Result

_MEMORY_LIMIT = 32 * MiB
_TIME_LIMITS = {"large": 0.5, "medium": 1.0, "small": 1.0}
_TIMES = {"wall": "whole command", "done": "until all files are there"}


@frozen
class Bar:
    """One bar.

    :ivar limit: what ``value`` may be at most, both in ``unit``.
    :ivar noisy: whether the runs differed too much to be sure.
    """

    name: str
    value: float
    limit: float
    unit: str
    noisy: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def bars(results: Mapping[str, Result]) -> list[Bar]:
    """Return the bars that the cases at hand can be held against."""
    found = []
    if "large" in results and "empty" in results:
        found.append(_memory(results["large"], results["empty"]))
    return found + [
        _time(results[name], measure, limit)
        for name, limit in _TIME_LIMITS.items()
        if name in results
        for measure in _TIMES
    ]


def _memory(large: Result, empty: Result) -> Bar:
    peaks = [result.median(BGFETCH.name, "peak") for result in (large, empty)]
    return Bar(
        "peak memory of the large file above that of the empty crawl",
        (peaks[0] - peaks[1]) / MiB,
        _MEMORY_LIMIT / MiB,
        "MiB",
    )


def _time(result: Result, measure: str, limit: float) -> Bar:
    spread = result.ratio(BGFETCH.name, FILES_PIPELINE.name, measure)
    peers = f"{BGFETCH.name} / {FILES_PIPELINE.name}"
    name = f"{result.case.name}, {peers}, {_TIMES[measure]}"
    return Bar(name, spread.median, limit, "x", spread.noisy)
