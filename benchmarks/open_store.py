"""How long a crawl takes to start on a big state: ``python -m benchmarks.open_store``.

Makes state folders of settled and of unfinished background fetches in a temporary
folder, then starts crawls on them, each in a fresh process, in turns with an empty one.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from attrs import define, field

from benchmarks.starting import StartingSpider
from benchmarks.states import Case, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COLUMNS = {
    "opened": "s from the start of the process to spider_opened",
    "started": "ms from spider_opened to engine_started",
    "first": "ms from spider_opened to the first request at the server",
    "listed": "ms from spider_opened until get_ids() has all of them",
    "cpu": "ms of CPU from spider_opened until then",
    "blocked": "ms that the event loop did nothing else at most",
    "peak": "MiB of resident memory at most",
}


def main() -> None:
    """Measure what the command line asks for, and print it."""
    given = _arguments()
    if given.data is not None:
        given.data.mkdir(parents=True, exist_ok=True)
    cases = [one for one in _cases(given) if one.name in (given.case or [one.name])]
    with tempfile.TemporaryDirectory(dir=given.data) as data, silent_server() as server:
        folders = {case: Path(data, case.name) for case in cases}
        for case, folder in folders.items():
            build(case, folder, scope=StartingSpider.name, base=server.url)
        runs: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
        for _ in range(given.rounds):
            for case, folder in folders.items():
                runs[case.name].append(_run(case, folder, server))
    _show(runs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_store")
    parser.add_argument("--settled", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--unfinished", type=int, default=10_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", help="all of them without it")
    parser.add_argument("--data", type=Path, help="the folder for the states")
    return parser.parse_args()


def _cases(given: argparse.Namespace) -> Sequence[Case]:
    old, new = given.settled, given.unfinished
    return (
        Case("empty"),
        Case("settled-many", max(old // 10, 1), old, settled=True),
        Case("settled-few", 10, old, settled=True),
        Case("unfinished-one", 1, new),
        Case("unfinished-many", new, new),
        Case("half-done-one", 1, new, part_files=True),
        Case("half-done-many", new, new, part_files=True),
    )


@define
class Server:
    """Takes requests and never answers.

    :ivar first: when the first one since :meth:`reset` came; 0 while none has.
    """

    url: str
    first: float = 0.0
    _open: list[socket.socket] = field(factory=list)

    def reset(self) -> None:
        """Wait for the first request again."""
        self.first = 0.0
        while self._open:
            self._open.pop().close()

    def take(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.first = self.first or time.time()
            self._open.append(connection)


@contextmanager
def silent_server() -> Iterator[Server]:
    """Run such a server in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=server.take, args=(listener,), daemon=True).start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _run(case: Case, folder: Path, server: Server) -> dict[str, float]:
    server.reset()
    command = [sys.executable, "-m", "benchmarks.starting", str(folder)]
    began = time.time()
    done = subprocess.run(
        [*command, str(case.unfinished)], check=True, stdout=subprocess.PIPE
    )
    said = json.loads(done.stdout)
    opened = said["opened"]
    return {
        "opened": opened - began,
        "started": 1000 * (said["started"] - opened),
        "first": 1000 * (server.first - opened) if server.first else float("nan"),
        "listed": 1000 * (said["listed"] - opened),
        "cpu": 1000 * said["cpu"],
        "blocked": 1000 * said["blocked"],
        "peak": said["peak"] / 1024,
    }


def _show(runs: dict[str, list[dict[str, float]]]) -> None:
    for name, what in _COLUMNS.items():
        print(f"{name}: {what}")
    print(f"{'medians':16}" + "".join(f"{name:>9}" for name in _COLUMNS))
    for name, theirs in runs.items():
        first, *others = (median(run[column] for run in theirs) for column in _COLUMNS)
        print(f"{name:16}{first:9.2f}" + "".join(f"{other:9.0f}" for other in others))


if __name__ == "__main__":
    main()
