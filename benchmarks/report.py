"""The results, as plain text and as JSON values."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import humanize
from attrs import asdict

from benchmarks.cases import MiB
from benchmarks.compare import MEASURES, NOISY, Result, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.bars import Bar

_TIMES = ("wall", "done")
_PACKAGES = ("scrapy-bgfetch", "scrapy", "twisted", "aiohttp")


def machine() -> dict[str, Any]:
    """Return what the numbers depend on, without naming the machine."""
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def as_json(result: Result) -> dict[str, Any]:
    """Return all numbers of a case."""
    return {
        "files": result.case.count,
        "file_size": result.case.size,
        "server": result.case.server,
        "runs": {peer: [asdict(u) for u in us] for peer, us in result.runs.items()},
        "medians": {
            peer: {measure: result.median(peer, measure) for measure in MEASURES}
            for peer in result.runs
        },
        "ratios": {
            name: {
                measure: _spread_json(result.ratio(*pair, measure))
                for measure in MEASURES
            }
            for name, pair in result.pairs().items()
        },
        "noisy": is_noisy(result),
    }


def bar_json(bar: Bar) -> dict[str, Any]:
    """Return a bar and whether it is met."""
    return {
        "name": bar.name,
        "limit": bar.limit,
        "unit": bar.unit,
        "spread": _spread_json(bar.spread),
        "verdict": bar.verdict,
    }


def is_noisy(result: Result) -> bool:
    """Say whether the times of its rounds differ too much."""
    return any(
        result.ratio(*pair, measure).noisy
        for pair in result.pairs().values()
        for measure in _TIMES
    )


def table(result: Result) -> str:
    """Return the table of one case."""
    lines = [_title(result), _MEDIANS_HEAD]
    lines += [_medians(result, peer) for peer in result.runs]
    pairs = result.pairs()
    lines += [_RATIOS_HEAD] if pairs else []
    lines += [_ratios(result, name, *pair) for name, pair in pairs.items()]
    if is_noisy(result):
        lines.append(
            f"  TOO NOISY: a ratio of times differs more than {NOISY:g} times "
            "between rounds; run it again on a quiet machine."
        )
    return "\n".join(lines)


def bars_text(bars: Sequence[Bar], scale: float) -> str:
    """Return the bars, one a line."""
    lines = ["Bars" if scale == 1 else f"Bars (scale {scale:g}: they mean nothing)"]
    for bar in bars:
        low, high = bar.spread.sure
        lines.append(
            f"  {bar.verdict:<17} {bar.name}: {bar.spread.median:.3g} {bar.unit} "
            f"({low:.3g} to {high:.3g}), at most {bar.limit:.3g} {bar.unit}"
        )
    return "\n".join(lines)


def header(facts: Mapping[str, Any], *, rounds: int, concurrency: int) -> str:
    """Return the lines that say how it was measured."""
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", *_PACKAGES))
    return (
        f"{rounds} rounds, peers taking turns; {concurrency} connections each.\n"
        f"{facts['cpus']} CPUs, load {facts['load']:.1f} at the start. {versions}.\n"
        f"Memory is never less than {facts['memory_floor'] / MiB:.1f} MiB, "
        "the launcher's own.\n"
        "wall: the whole command. done: until it knows that all files are there."
    )


_MEDIANS_HEAD = "".join(
    [f"  {'medians':<27}"]
    + [f"{name:>22}" for name in ("wall s", "done s", "CPU s", "peak MiB")]
)
_RATIOS_HEAD = "".join(
    [f"  {'bgfetch / ...':<27}"]
    + [f"{name:>22}" for name in ("wall", "done", "CPU", "peak")]
    + ["   (min median max)"]
)


def _title(result: Result) -> str:
    case = result.case
    if not case.count:
        return f"{case.name}: no file"
    size = humanize.naturalsize(case.size, binary=True, format="%.4g")
    return f"{case.name}: {case.count:,} x {size}"


def _medians(result: Result, peer: str) -> str:
    *seconds, peak = (result.median(peer, measure) for measure in MEASURES)
    cells = [*(f"{value:.2f}" for value in seconds), f"{peak / MiB:.1f}"]
    return f"  {peer:<27}" + "".join(f"{cell:>22}" for cell in cells)


def _ratios(result: Result, name: str, ours: str, other: str) -> str:
    spreads = [result.ratio(ours, other, measure) for measure in MEASURES]
    cells = [f"{s.min:.3g} {s.median:.3g} {s.max:.3g}" for s in spreads]
    return f"  {name:<27}" + "".join(f"{cell:>22}" for cell in cells)


def _spread_json(spread: Spread) -> dict[str, Any]:
    return {
        "min": spread.min,
        "median": spread.median,
        "max": spread.max,
        "values": list(spread.values),
    }
