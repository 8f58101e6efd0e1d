"""The comparison: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.bars import bars
from benchmarks.cases import CASES, EMPTY, make_source, scaled
from benchmarks.plan import PLAN, taking_part
from benchmarks.report import as_json, bar_json, bars_text, table
from benchmarks.running import Output, add_options, command, positive, prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.cases import Case, Source
    from benchmarks.compare import Result
    from benchmarks.peers import Peer
    from benchmarks.running import Prepared


def main() -> int:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare scrapy-bgfetch with FilesPipeline, curl and aria2c.",
    )
    parser.add_argument(
        "--case",
        action="append",
        choices=[case.name for case in CASES],
        help="may be given several times; all cases without it",
    )
    parser.add_argument(
        "--peer",
        action="append",
        choices=sorted({name for names in PLAN.values() for name in names}),
        help="compare bgfetch with it only; may be given several times",
    )
    parser.add_argument(
        "--scale",
        type=positive,
        default=1.0,
        help="of the size of one large file and of the number of others",
    )
    add_options(parser, runs=5)
    return command(parser, _run)


def _run(given: argparse.Namespace, output: Output) -> None:
    results: dict[str, Result] = {}
    with prepared(given, output) as setting:
        for case in (EMPTY, *_cases(given)):
            peers = taking_part(case, setting.peers, given.peer or ())
            source = make_source(case, setting.data)
            if given.runs > 1:
                _warm_up(setting, source, peers if case is EMPTY else peers[:1])
            results[case.name] = setting.bench.compare(source, peers, given.runs)
            output.tell(table(results[case.name]))
            output.keep(_numbers(given, setting.facts, results))
    output.tell(bars_text(bars(results), given.scale))


def _warm_up(setting: Prepared, source: Source, peers: Sequence[Peer]) -> None:
    """Run them once, not measured.

    Crawls compile their modules and fill the caches; and a virtual machine pays for the
    memory that it has not used lately, which would always hit the first one.
    """
    for peer in peers:
        setting.bench.once(source, peer)


def _cases(given: argparse.Namespace) -> list[Case]:
    names = given.case or [case.name for case in CASES]
    return [scaled(case, given.scale) for case in CASES if case.name in names]


def _numbers(
    given: argparse.Namespace, facts: dict[str, Any], results: dict[str, Result]
) -> dict[str, Any]:
    asked = {name: getattr(given, name) for name in ("runs", "scale", "concurrency")}
    return {
        "machine": facts,
        "options": asked,
        "cases": {name: as_json(result) for name, result in results.items()},
        "bars": [bar_json(bar) for bar in bars(results)],
    }


if __name__ == "__main__":
    sys.exit(main())
