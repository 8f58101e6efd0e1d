"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.bars import bars
from benchmarks.cases import CASES, EMPTY, Source, make_source, scaled
from benchmarks.compare import Bench, Result
from benchmarks.measure import RunError, floor
from benchmarks.peers import BGFETCH, FILES_PIPELINE, curl
from benchmarks.report import as_json, bar_json, bars_text, header, machine, table
from benchmarks.server import ServerError, nginx

if TYPE_CHECKING:
    from types import FrameType

_PACKAGES = {"nginx": "nginx-light", "curl": "curl"}
_SBIN = "/usr/sbin:/usr/local/sbin"  # Debian's nginx is there, users' PATH not


class MissingProgramError(Exception):
    """A program that is needed is not installed."""


def main() -> int:
    """Measure what the command line asks for, and print it."""
    parser = _parser()
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"--json: there is no folder {given.json.parent}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(given)
    except (MissingProgramError, RunError, ServerError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare scrapy-bgfetch, Scrapy's FilesPipeline and curl.",
    )
    parser.add_argument(
        "--case",
        action="append",
        choices=[case.name for case in CASES],
        help="may be given several times; all cases without it",
    )
    parser.add_argument("--runs", type=_at_least_one, default=3, metavar="N")
    parser.add_argument(
        "--scale",
        type=_positive,
        default=1.0,
        help="of the large file's size and of the others' number",
    )
    parser.add_argument(
        "--concurrency", type=_at_least_one, default=16, help="connections of each peer"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir(), "scrapy-bgfetch-benchmarks"),
        help="folder for sources, which are kept, and outputs, which are not",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument(
        "--timeout", type=_positive, default=1800.0, help="seconds, of one run"
    )
    return parser


def _run(given: argparse.Namespace) -> None:
    programs = {name: _program(name) for name in _PACKAGES}
    facts = {**machine(), "memory_floor": floor()}
    print(header(facts, rounds=given.runs, concurrency=given.concurrency), flush=True)
    with ExitStack() as stack:
        given.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix="work-", dir=given.data.resolve())
        folder = Path(stack.enter_context(work))
        sources = _sources(given)
        root = given.data.resolve() / "sources"
        url = stack.enter_context(nginx(programs["nginx"], root, folder))
        _say(f"nginx at {url}")
        bench = Bench(folder, url, given.concurrency, given.timeout, _say)
        results = _results(bench, sources, programs["curl"], given.runs)
    judged = bars(results)
    print(f"\n{bars_text(judged, given.scale)}")
    if given.json is not None:
        asked = {
            name: getattr(given, name) for name in ("runs", "scale", "concurrency")
        }
        said = {
            "machine": facts,
            "options": asked,
            "cases": {name: as_json(result) for name, result in results.items()},
            "bars": [bar_json(bar) for bar in judged],
        }
        given.json.write_text(json.dumps(said, indent=2) + "\n")


def _sources(given: argparse.Namespace) -> list[Source]:
    names = given.case or [case.name for case in CASES]
    wanted = [scaled(case, given.scale) for case in CASES if case.name in names]
    _say(f"sources in {given.data}")
    return [make_source(case, given.data.resolve()) for case in (EMPTY, *wanted)]


def _results(
    bench: Bench, sources: list[Source], curl_program: str, rounds: int
) -> dict[str, Result]:
    crawls = (BGFETCH, FILES_PIPELINE)
    for peer in crawls:
        bench.once(sources[0], peer)  # compiles and warms up, not measured
    results = {}
    for source in sources:
        peers = crawls if source.case is EMPTY else (*crawls, curl(curl_program))
        results[source.case.name] = result = bench.compare(source, peers, rounds)
        print(f"\n{table(result)}", flush=True)
    return results


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=_SBIN)
    if path is None:
        raise MissingProgramError(
            f"{name} is not installed. On Debian and Ubuntu: "
            f"sudo apt install {' '.join(_PACKAGES.values())}"
        )
    return path


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("it must be greater than 0")
    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
