"""What the commands have in common: options, the server, and how they end."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import field, frozen

from benchmarks.compare import Bench
from benchmarks.measure import RunError, floor
from benchmarks.plan import MissingProgramError, known_peers, programs
from benchmarks.report import header, machine
from benchmarks.server import ServerError, nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from benchmarks.peers import Peer


@frozen
class Prepared:
    """All that is needed to measure.

    :ivar data: the folder of the sources.
    :ivar peers: those that can be run here, by name.
    :ivar facts: what the numbers depend on.
    """

    bench: Bench
    data: Path
    peers: dict[str, Peer]
    facts: dict[str, Any]


@frozen
class Output:
    """Where the results go: the screen, and the files that were asked for."""

    json_file: Path | None
    text_file: Path | None
    _lines: list[str] = field(factory=list)

    def tell(self, text: str) -> None:
        """Print a piece of the report."""
        print(f"{text}\n", flush=True)
        self._lines.append(text)
        if self.text_file is not None:
            self.text_file.write_text("\n\n".join(self._lines) + "\n")

    def keep(self, values: dict[str, Any]) -> None:
        """Write the numbers, over those that were written before."""
        if self.json_file is not None:
            self.json_file.write_text(json.dumps(values, indent=1) + "\n")


def add_options(parser: argparse.ArgumentParser, *, runs: int) -> None:
    """Add the options that all commands have.

    :param runs: how many rounds there are by default.
    """
    parser.add_argument("--runs", type=at_least_one, default=runs, metavar="N")
    parser.add_argument(
        "--concurrency", type=at_least_one, default=16, help="connections of each peer"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir(), "scrapy-bgfetch-benchmarks"),
        help="folder for sources, which are kept, and outputs, which are not",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    parser.add_argument("--text", type=Path, metavar="FILE", help="write the report")
    parser.add_argument(
        "--timeout", type=positive, default=1800.0, help="seconds, of one run"
    )


def command(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace, Output], None]
) -> int:
    """Do what the command line asks for and return the exit status."""
    given = parser.parse_args()
    for option in ("json", "text"):
        file = getattr(given, option)
        if file is not None and not file.parent.is_dir():
            parser.error(f"--{option}: there is no folder {file.parent}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        work(given, Output(given.json, given.text))
    except (MissingProgramError, RunError, ServerError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130
    return 0


@contextmanager
def prepared(given: argparse.Namespace, output: Output) -> Iterator[Prepared]:
    """Start the server, say how it is measured, and clean up in the end."""
    paths = programs()
    facts = {**machine(), "memory_floor": floor()}
    output.tell(header(facts, rounds=given.runs, concurrency=given.concurrency))
    given.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data = given.data.resolve()
    (data / "sources").mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="work-", dir=data)
        work = Path(stack.enter_context(folder))
        served = stack.enter_context(nginx(paths["nginx"], data / "sources", work))
        say(f"nginx at {' and '.join(served.urls.values())}; sources in {data}")
        bench = Bench(work, served, given.concurrency, given.timeout, say)
        yield Prepared(bench, data, known_peers(paths), facts)


def at_least_one(text: str) -> int:
    """Read a whole number of the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def positive(text: str) -> float:
    """Read a number of the command line."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("it must be greater than 0")
    return number


def say(text: str) -> None:
    """Tell what goes on, beside the report."""
    print(text, file=sys.stderr, flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
