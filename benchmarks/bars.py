"""The bars that the project set itself, held against the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.cases import MiB
from benchmarks.compare import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.compare import Result

_RATIOS = (  # case, ours, other, measure, what ours / other may be at most
    ("large", "bgfetch", "curl", "wall", 1.0),
    ("large", "bgfetch", "curl", "cpu", 1.1),
    ("large", "bgfetch", "files-pipeline", "wall", 1 / 4),
    ("large", "bgfetch", "files-pipeline", "cpu", 1 / 4),
    ("large", "bgfetch", "files-pipeline", "peak", 1 / 20),
    ("large-tls", "bgfetch", "curl", "wall", 1.15),
    ("large-tls", "bgfetch", "curl", "cpu", 1.2),
    ("medium", "bgfetch", "files-pipeline", "wall", 1 / 2),
    ("medium", "bgfetch", "files-pipeline", "cpu", 1 / 2),
    ("medium", "bgfetch", "files-pipeline", "peak", 1 / 3),
    ("small", "bgfetch", "files-pipeline", "wall", 0.6),
    ("small", "bgfetch", "files-pipeline", "cpu", 0.6),
    ("small", "bgfetch", "files-pipeline", "peak", 1 / 3),
    ("small", "bgfetch", "aria2c", "wall", 0.8),
    ("small", "bgfetch", "aria2c", "cpu", 1.0),
    ("small-cleared", "bgfetch", "files-pipeline", "wall", 0.6),
    ("small-cleared", "bgfetch", "files-pipeline", "cpu", 0.6),
    ("small-cleared", "bgfetch", "aria2c", "wall", 0.8),
    ("small-cleared", "bgfetch", "aria2c", "cpu", 1.0),
    ("small", "bgfetch", "plain-scrapy", "wall", 1.15),
    ("small", "bgfetch", "plain-scrapy", "cpu", 1.15),
    ("small", "bgfetch-each", "plain-scrapy", "wall", 1.15),
    ("small", "bgfetch-each", "plain-scrapy", "cpu", 1.15),
    ("large", "bgfetch-progress", "bgfetch-quiet", "wall", 1.02),
    ("large", "bgfetch-progress", "bgfetch-quiet", "cpu", 1.03),
    ("small", "bgfetch-loop", "plain-scrapy", "wall", 1.15),
    ("small", "bgfetch-loop", "plain-scrapy", "cpu", 1.15),
    ("large", "bgfetch-power", "bgfetch", "wall", 1.3),
    ("medium", "bgfetch-power", "bgfetch", "wall", 1.3),
)
_MEMORY = (  # case, whose empty crawl, MiB above its median
    ("large", "bgfetch", 16.0),
    ("large", "plain-scrapy", 16.0),
    ("large-tls", "bgfetch", 16.0),
    ("large-tls", "plain-scrapy", 16.0),
)
_FOUR = 1 / 3.6  # the time of four connections, as part of that of one


@frozen
class Bar:
    """One bar.

    :ivar spread: what the median of counts, a value for each round.
    :ivar limit: what it may be at most, both in ``unit``.
    """

    name: str
    spread: Spread
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the median is not above the limit."""
        return self.spread.median <= self.limit

    @property
    def noisy(self) -> bool:
        """Whether the rounds differ too much to tell."""
        return self.spread.unsure_of(self.limit)

    @property
    def verdict(self) -> str:
        """``met``, ``NOT MET`` or ``too noisy to tell``."""
        if self.noisy:
            return "too noisy to tell"
        return "met" if self.met else "NOT MET"


def bars(results: Mapping[str, Result]) -> list[Bar]:
    """Return the bars that the results at hand can be held against."""
    found = [_ratio(results, *row) for row in _RATIOS if _has(results, *row[:3])]
    found += [
        _memory(results, case, base, limit)
        for case, base, limit in _MEMORY
        if _has(results, case) and _has(results, "empty", base)
    ]
    if _has(results, "large", "bgfetch-checksum", "sha256sum"):
        found.append(_digest(results["large"]))
    if _has(results, "throttled", "bgfetch-4"):
        found.append(_four(results))
    return found


def _has(results: Mapping[str, Result], case: str, *peers: str) -> bool:
    return case in results and all(peer in results[case].runs for peer in peers)


def _ratio(
    results: Mapping[str, Result],
    case: str,
    ours: str,
    other: str,
    measure: str,
    limit: float,
) -> Bar:
    spread = results[case].ratio(ours, other, measure)
    return Bar(f"{case}, {ours} / {other}, {measure}", spread, limit, "x")


def _memory(results: Mapping[str, Result], case: str, base: str, limit: float) -> Bar:
    empty = results["empty"].median(base, "peak")
    peaks = results[case].values("bgfetch", "peak")
    above = Spread(tuple((peak - empty) / MiB for peak in peaks))
    return Bar(f"{case}, peak above that of an empty {base}", above, limit, "MiB")


def _digest(result: Result) -> Bar:
    """Return the bar of a checksum: what it adds, as a part of the digest alone."""
    ours, without, alone = (
        result.values(peer, "cpu")
        for peer in ("bgfetch-checksum", "bgfetch", "sha256sum")
    )
    rounds = zip(ours, without, alone, strict=True)
    spread = Spread(tuple((a - b) / c for a, b, c in rounds))
    return Bar("large, what a checksum adds / sha256sum, cpu", spread, 1.0, "x")


def _four(results: Mapping[str, Result]) -> Bar:
    """Return the bar of four connections: what the download itself takes.

    The time of an empty crawl, which is the same for both, is taken off.
    """
    empty = results["empty"].median("bgfetch", "wall")
    spread = results["throttled"].ratio("bgfetch-4", "bgfetch", "wall", less=empty)
    name = "throttled, bgfetch-4 / bgfetch, wall less that of an empty crawl"
    return Bar(name, spread, _FOUR, "x")
