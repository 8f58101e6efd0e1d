"""How cost grows: ``python -m benchmarks.growth``.

More and more records in one background fetch, as many background fetches of one record,
and one larger and larger file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from benchmarks.cases import EMPTY, Case, KiB, MiB, folder_of, make_source
from benchmarks.compare import MANY
from benchmarks.peers import BGFETCH, BGFETCH_EACH
from benchmarks.running import Output, add_options, at_least_one, command, prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.compare import Result
    from benchmarks.running import Prepared

RECORDS = (1, 10, 100, 1_000, 10_000)
SIZES = (1, 10, 100, 1024, 10 * 1024)  # MiB
_ROOM = 2.5  # times the bytes of a case: its source, its copy, and some air

_TELLING = 0.1
_TABLES = {  # of each case
    "records": (
        ("records of 20 KiB, in one background fetch", BGFETCH),
        ("records of 20 KiB, a background fetch for each", BGFETCH_EACH),
    ),
    "file": (("MiB in one file", BGFETCH),),
}


@frozen
class Row:
    """What one amount of work took, as medians.

    :ivar units: how many records, or MiB.
    :ivar wall: seconds of the whole crawl.
    :ivar cpu: seconds.
    :ivar peak: bytes of resident memory.
    :ivar wall_each: milliseconds for each unit, those of an empty crawl taken off.
        None when they are less than a tenth of those: they cannot be told from noise.
    :ivar cpu_each: the same of the CPU.
    :ivar above: bytes of peak memory above that of an empty crawl.
    """

    units: int
    wall: float
    cpu: float
    peak: float
    wall_each: float | None
    cpu_each: float | None
    above: float


def main() -> int:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="Measure how cost grows."
    )
    parser.add_argument(
        "--records",
        type=at_least_one,
        nargs="+",
        default=RECORDS,
        metavar="N",
        help="numbers of records",
    )
    parser.add_argument(
        "--sizes",
        type=at_least_one,
        nargs="+",
        default=SIZES,
        metavar="MIB",
        help="sizes of one file; what the disk has no room for is left out",
    )
    add_options(parser, runs=3)
    return command(parser, _run)


def _run(given: argparse.Namespace, output: Output) -> None:
    tables: dict[str, list[Row]] = {
        title: [] for of_case in _TABLES.values() for title, _ in of_case
    }
    with prepared(given, output) as setting:
        source = make_source(EMPTY, setting.data)
        if given.runs > 1:
            setting.bench.once(source, BGFETCH)  # warms up, not measured
        empty = setting.bench.compare(source, [BGFETCH], given.runs)
        for units, case in _cases(given):
            if not _fits(case, setting):
                output.tell(f"The disk has no room for {case.total // MiB} MiB.")
                continue
            result = _measured(case, setting, given.runs)
            for title, peer in _TABLES[case.name]:
                tables[title].append(row_of(units, peer.name, result, empty))
            output.keep(_numbers(given, setting, tables))
    for title, rows in tables.items():
        output.tell(_table(title, rows))


def _cases(given: argparse.Namespace) -> Iterator[tuple[int, Case]]:
    for count in given.records:
        yield count, Case("records", count, 20 * KiB)
    for size in given.sizes:
        yield size, Case("file", 1, size * MiB)


def _fits(case: Case, setting: Prepared) -> bool:
    return case.total * _ROOM < shutil.disk_usage(setting.data).free


def _measured(case: Case, setting: Prepared, rounds: int) -> Result:
    """Measure a case and delete its files, unless they are many: see Bench.once."""
    peers = [peer for _, peer in _TABLES[case.name]]
    try:
        source = make_source(case, setting.data)
        return setting.bench.compare(source, peers, rounds)
    finally:
        if case.count < MANY:
            shutil.rmtree(folder_of(case, setting.data), ignore_errors=True)


def row_of(units: int, peer: str, result: Result, empty: Result) -> Row:
    """Return the row of a peer, given the runs of its work and of an empty crawl."""
    wall, cpu, peak = (result.median(peer, name) for name in ("wall", "cpu", "peak"))
    base = {name: empty.median(BGFETCH.name, name) for name in ("wall", "cpu", "peak")}
    return Row(
        units=units,
        wall=wall,
        cpu=cpu,
        peak=peak,
        wall_each=_each(units, wall, base["wall"]),
        cpu_each=_each(units, cpu, base["cpu"]),
        above=peak - base["peak"],
    )


def _each(units: int, seconds: float, base: float) -> float | None:
    added = seconds - base
    return added / units * 1000 if added > _TELLING * base else None


def _numbers(
    given: argparse.Namespace, setting: Prepared, tables: dict[str, list[Row]]
) -> dict[str, Any]:
    return {
        "machine": setting.facts,
        "options": {"runs": given.runs, "concurrency": given.concurrency},
        "growth": {
            name: [asdict(row) for row in rows] for name, rows in tables.items()
        },
    }


def _table(title: str, rows: list[Row]) -> str:
    names = ("wall s", "CPU s", "peak MiB", "wall ms each", "CPU ms each", "MiB above")
    lines = [title, f"  {'':>8}" + "".join(f"{name:>14}" for name in names)]
    lines += [
        f"  {row.units:>8,}" + "".join(f"{c:>14}" for c in _cells(row)) for row in rows
    ]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    return [
        f"{row.wall:.2f}",
        f"{row.cpu:.2f}",
        f"{row.peak / MiB:.1f}",
        *(
            "-" if each is None else f"{each:.2f}"
            for each in (row.wall_each, row.cpu_each)
        ),
        f"{row.above / MiB:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
