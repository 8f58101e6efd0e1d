"""What the benchmark says of its numbers: bars, noise, picture; and its slow server."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from benchmarks.bars import Bar, bars
from benchmarks.cases import CASES, EMPTY, Case, MiB, Source, make_source
from benchmarks.compare import MANY, Bench, Result, Spread
from benchmarks.growth import row_of
from benchmarks.measure import Usage
from benchmarks.peers import Job, Peer
from benchmarks.plan import PLAN
from benchmarks.ratios import PEERS, bars_of
from benchmarks.report import as_json, bars_text
from benchmarks.server import Served
from benchmarks.throttle import throttled

if TYPE_CHECKING:
    from pathlib import Path

# Issue 5: row by row, what bgfetch may take at most. Beyond it go `bgfetch-loop`, and
# `small-cleared`, which measures the rows of small files in another way.
WANTED = """
large, bgfetch / curl, wall: 1 x
large, bgfetch / curl, cpu: 1.1 x
large, bgfetch / files-pipeline, wall: 0.25 x
large, bgfetch / files-pipeline, cpu: 0.25 x
large, bgfetch / files-pipeline, peak: 0.05 x
large, bgfetch-power / bgfetch, wall: 1.3 x
large, bgfetch-progress / bgfetch-quiet, wall: 1.02 x
large, bgfetch-progress / bgfetch-quiet, cpu: 1.03 x
large, peak above that of an empty bgfetch: 16 MiB
large, peak above that of an empty plain-scrapy: 16 MiB
large-tls, bgfetch / curl, wall: 1.15 x
large-tls, bgfetch / curl, cpu: 1.2 x
large-tls, peak above that of an empty bgfetch: 16 MiB
large-tls, peak above that of an empty plain-scrapy: 16 MiB
medium, bgfetch / files-pipeline, wall: 0.5 x
medium, bgfetch / files-pipeline, cpu: 0.5 x
medium, bgfetch / files-pipeline, peak: 0.333 x
medium, bgfetch-power / bgfetch, wall: 1.3 x
small, bgfetch / files-pipeline, wall: 0.6 x
small, bgfetch / files-pipeline, cpu: 0.6 x
small, bgfetch / files-pipeline, peak: 0.333 x
small, bgfetch / aria2c, wall: 0.8 x
small, bgfetch / aria2c, cpu: 1 x
small, bgfetch / plain-scrapy, wall: 1.15 x
small, bgfetch / plain-scrapy, cpu: 1.15 x
small, bgfetch-each / plain-scrapy, wall: 1.15 x
small, bgfetch-each / plain-scrapy, cpu: 1.15 x
small, bgfetch-loop / plain-scrapy, wall: 1.15 x
small, bgfetch-loop / plain-scrapy, cpu: 1.15 x
small-cleared, bgfetch / files-pipeline, wall: 0.6 x
small-cleared, bgfetch / files-pipeline, cpu: 0.6 x
small-cleared, bgfetch / aria2c, wall: 0.8 x
small-cleared, bgfetch / aria2c, cpu: 1 x
large, what a checksum adds / sha256sum, cpu: 1 x
throttled, bgfetch-4 / bgfetch, wall less that of an empty crawl: 0.278 x
"""

_COPY = """
import shutil, sys
for source in sys.argv[2:]:
    shutil.copy(source, sys.argv[1])
"""


def usage(wall: float, peak: int = 100 * MiB) -> Usage:
    return Usage(began=0, wall=wall, done=wall, cpu=wall, peak=peak)


def results_of_all() -> dict[str, Result]:
    """Return results in which every peer took one second."""
    return {
        case.name: Result(case, {peer: [usage(1.0)] for peer in PLAN[case.name]})
        for case in (EMPTY, *CASES)
    }


def test_the_bars_are_those_of_the_issue():
    results = results_of_all()
    results["empty"].runs["bgfetch"][0] = usage(0.5)
    said = {f"{bar.name}: {bar.limit:.3g} {bar.unit}" for bar in bars(results)}
    assert said == set(WANTED.strip().splitlines())


def test_a_bar_compares_runs_of_the_same_round():
    runs = {"bgfetch": [usage(1), usage(4)], "curl": [usage(2), usage(8)]}
    wall = bars({"large": Result(CASES[0], runs)})[0]
    assert wall.spread.values == (0.5, 0.5)


def test_memory_is_held_against_the_empty_crawl_of_the_same_run():
    results = {
        "empty": Result(EMPTY, {"bgfetch": [usage(1, 80 * MiB)]}),
        "large": Result(CASES[0], {"bgfetch": [usage(9, 90 * MiB)]}),
    }
    (bar,) = bars(results)
    assert (bar.spread.values, bar.limit, bar.unit) == ((10.0,), 16.0, "MiB")


def test_a_checksum_may_add_what_the_digest_alone_takes():
    runs = {
        "bgfetch": [usage(3)],
        "bgfetch-checksum": [usage(5)],
        "sha256sum": [usage(4)],
    }
    (bar,) = bars({"large": Result(CASES[0], runs)})
    assert (bar.spread.values, bar.met) == ((0.5,), True)


def test_nobody_always_comes_after_the_same_one(tmp_path):
    @frozen
    class NoBench(Bench):
        def once(self, source: Source, peer: Peer) -> Usage:
            order.append(peer.name)
            return usage(1.0)

    order: list[str] = []
    bench = NoBench(tmp_path, Served({}, tmp_path), 16, 60.0, lambda _: None)
    peers = [Peer(name, lambda _: [], None) for name in "ABC"]
    result = bench.compare(Source(EMPTY, tmp_path, {}), peers, 12)
    rounds = ["".join(order[at : at + 3]) for at in range(0, 36, 3)]
    assert all(sorted(names) == ["A", "B", "C"] for names in rounds)
    assert [names[::-1] for names in rounds[::2]] == rounds[1::2]
    assert len(set(rounds)) > 3
    assert {peer: len(usages) for peer, usages in result.runs.items()} == dict.fromkeys(
        "ABC", 12
    )


@pytest.mark.parametrize("cleared", [True, False])
def test_many_files_are_deleted_after_each_run_where_a_case_says_so(tmp_path, cleared):
    def copy(job: Job) -> list[str]:
        return [sys.executable, "-c", _COPY, str(job.out), *job.sources]

    def found(job: Job) -> dict[str, Path]:
        return {path.name: path for path in job.out.iterdir()}

    case = Case("many", MANY, 1, cleared=cleared)
    source = make_source(case, tmp_path / "data")
    work = tmp_path / "work"
    work.mkdir()
    served = Served({"http": "http://127.0.0.1:9"}, tmp_path)
    bench = Bench(work, served, 16, 60.0, lambda _: None)
    assert bench.once(source, Peer("copy", copy, found)).wall > 0
    assert len(list(work.rglob("many-*"))) == (0 if cleared else MANY)


def test_the_time_of_an_empty_crawl_is_taken_off_both_of_one_and_four_connections():
    throttled = {"bgfetch": [usage(17)], "bgfetch-4": [usage(5)]}
    results = {
        "empty": Result(EMPTY, {"bgfetch": [usage(1)]}),
        "throttled": Result(CASES[5], throttled),
    }
    (bar,) = bars(results)
    assert bar.spread.values == (0.25,)
    assert bar.met


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0], "met"),
        ([1.01], "NOT MET"),
        ([0.9, 0.95, 1.1], "too noisy to tell"),
        ([0.9, 0.9, 0.95, 0.99, 1.5], "too noisy to tell"),
        ([0.5, 1.1, 1.1, 1.2, 1.2], "too noisy to tell"),
        ([1.1, 1.1, 1.1, 1.2, 1.2], "NOT MET"),
        ([1.0, 1.0, 1.0, 1.0, 1.0], "met"),
        ([0.9] * 8 + [1.5], "met"),
        ([0.9] * 7 + [1.5] * 2, "too noisy to tell"),
        ([0.9] * 26 + [1.5] * 14, "met"),
        ([0.9] * 25 + [1.5] * 15, "too noisy to tell"),
        ([0.9] * 14 + [1.5] * 26, "NOT MET"),
    ],
)
def test_a_bar_says_when_its_rounds_leave_open_whether_it_is_met(values, verdict):
    bar = Bar("case, measure", Spread(tuple(values)), 1.0, "x")
    assert bar.verdict == verdict
    assert re.search(f"  {verdict} +case, measure: ", bars_text([bar], 1.0))


def test_the_picture_has_a_bar_for_each_case_and_peer_that_is_not_ourselves():
    results = {"cases": {n: as_json(r) for n, r in results_of_all().items()}}
    shown = {(bar.case, bar.peer) for bar in bars_of(results, "wall")}
    assert ("small", "plain-scrapy") in shown
    assert ("throttled", "bgfetch-4 / aria2c-4") in shown
    assert {case for case, _ in shown} == {case.name for case in CASES}
    assert {peer for _, peer in shown} == set(PEERS)


def test_the_picture_is_a_png(tmp_path):
    chart = pytest.importorskip("benchmarks.chart", exc_type=ModuleNotFoundError)
    cases = {n: as_json(r) for n, r in results_of_all().items()}
    results = {"cases": cases, "options": {"runs": 1, "scale": 1.0}}
    chart.draw(results, tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("wall", "each"), [(12.0, 1000.0), (2.1, None), (1.9, None)])
def test_what_each_record_adds_is_said_only_where_it_is_more_than_noise(wall, each):
    empty = Result(EMPTY, {"bgfetch": [usage(2, 80 * MiB)]})
    result = Result(CASES[0], {"bgfetch": [usage(wall, 81 * MiB)]})
    row = row_of(10, "bgfetch", result, empty)
    assert (row.wall_each, row.cpu_each) == (each, each)
    assert (row.wall, row.above) == (wall, MiB)


def serve(listener: socket.socket, answer: bytes) -> None:
    """Send the answer to whoever has sent a line, and close."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(100)
            connection.sendall(answer)


@pytest.fixture
def server():
    answer = bytes(range(256)) * 1024
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, answer), daemon=True).start()
        yield listener.getsockname()[1], answer
        listener.shutdown(socket.SHUT_RDWR)


def fetched(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(b"go\n")
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_the_throttle_passes_every_byte_no_faster_than_it_may(server):
    port, answer = server
    began = time.monotonic()
    with throttled(port, rate=2 * MiB) as slow:
        assert fetched(slow) == answer
    # A connection may be ahead by the last block, which nobody waits for.
    assert time.monotonic() - began > (len(answer) - 2 * 65536) / (2 * MiB) - 0.05


def test_the_throttle_ends_with_its_block_also_while_somebody_downloads(server):
    port, _ = server
    with throttled(port, rate=1.0) as slow:
        client = socket.create_connection(("127.0.0.1", slow), timeout=60)
        client.sendall(b"go\n")
        assert client.recv(1)
    with client:
        while client.recv(65536):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", slow), timeout=60)
