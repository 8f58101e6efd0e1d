"""The ratios as a picture: ``python -m benchmarks.chart results.json ratios.png``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure  # of the dependency group "bench"
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.ratios import PEERS, bars_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.ratios import Bar

_PANELS = {"wall": "Wall time", "cpu": "CPU time", "peak": "Peak memory"}
_PALETTE = (
    "#4477aa", "#66ccee", "#228833", "#ee6677", "#ccbb44", "#aa3377", "#bbbbbb",
)  # fmt: skip
_COLOURS = dict(zip(PEERS, _PALETTE, strict=True))
_BAR = 0.8
_INCH = 0.21  # of height, for each bar


def main() -> int:
    """Draw the picture that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chart")
    parser.add_argument("results", type=Path, help="JSON of python -m benchmarks")
    parser.add_argument("picture", type=Path, help="PNG to write")
    given = parser.parse_args()
    draw(json.loads(given.results.read_text()), given.picture)
    return 0


def draw(results: Mapping[str, Any], picture: Path) -> None:
    """Write the picture."""
    count = len(bars_of(results, "wall"))
    figure = Figure(figsize=(11, 2 + count * _INCH), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (measure, title) in zip(panels, _PANELS.items(), strict=True):
        _draw_panel(axes, bars_of(results, measure), title)
    figure.suptitle(_title(results))
    figure.savefig(picture, dpi=110, metadata={"Software": None})


def _draw_panel(axes: Any, bars: Sequence[Bar], title: str) -> None:
    places = _places(bars)
    axes.barh(
        places,
        [bar.median - 1 for bar in bars],
        left=1,
        height=_BAR,
        color=[_COLOURS[bar.peer] for bar in bars],
        xerr=[
            [bar.median - bar.low for bar in bars],
            [bar.high - bar.median for bar in bars],
        ],
        error_kw={"elinewidth": 1, "capsize": 2},
        zorder=2,
    )
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(places, [f"{bar.case}  {bar.peer}" for bar in bars])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{title}: bgfetch / ...")
    _name_ticks(axes)


def _places(bars: Sequence[Bar]) -> list[float]:
    """Return where each bar goes, with a gap between two cases."""
    places, place = [], 0.0
    for number, bar in enumerate(bars):
        place += 1 if number and bar.case == bars[number - 1].case else 1.8
        places.append(place)
    return places


def _name_ticks(axes: Any) -> None:
    """Write 1/4 and 4 rather than powers of ten."""
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(_fraction))
    axes.xaxis.set_minor_locator(NullLocator())


def _fraction(value: float, _: object = None) -> str:
    return f"{value:.3g}" if value >= 1 else f"1/{1 / value:.3g}"


def _title(results: Mapping[str, Any]) -> str:
    options = results["options"]
    rounds = f"Medians of {options['runs']} rounds; lines from the least to the most."
    if options["scale"] != 1:
        rounds += f" SCALE {options['scale']:g}: A QUICK LOOK, NO MEASUREMENT."
    return f"Bars to the left of 1: scrapy-bgfetch takes less.\n{rounds}"


if __name__ == "__main__":
    sys.exit(main())
