"""Runs a case with all peers, taking turns, and puts the numbers together."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.cases import problem_of
from benchmarks.measure import RunError, Usage, run
from benchmarks.peers import ROOT, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.cases import Case, Source
    from benchmarks.peers import Peer

MEASURES = ("wall", "done", "cpu", "peak")
NOISY = 1.5  # a ratio whose largest value is this many times its smallest


@frozen
class Spread:
    """The values of a ratio, one for each round."""

    values: tuple[float, ...]

    @property
    def min(self) -> float:
        return min(self.values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def max(self) -> float:
        return max(self.values)

    @property
    def noisy(self) -> bool:
        """Whether the machine did too much else meanwhile."""
        return self.max > NOISY * self.min


@frozen
class Result:
    """All runs of one case: peer to what each of its rounds took."""

    case: Case
    runs: Mapping[str, Sequence[Usage]]

    def median(self, peer: str, measure: str) -> float:
        """Return the median of a measure over the rounds of a peer."""
        return float(statistics.median(getattr(u, measure) for u in self.runs[peer]))

    def ratio(self, peer: str, other: str, measure: str) -> Spread:
        """Return peer / other of a measure, round by round."""
        pairs = zip(self.runs[peer], self.runs[other], strict=True)
        return Spread(
            tuple(getattr(a, measure) / getattr(b, measure) for a, b in pairs)
        )


@frozen
class Bench:
    """How runs are made.

    :ivar work: a folder on the disk that the files are written to.
    :ivar timeout: seconds that one run may take.
    :ivar say: told what goes on.
    """

    work: Path
    base_url: str
    concurrency: int
    timeout: float
    say: Callable[[str], None]

    def compare(self, source: Source, peers: Sequence[Peer], rounds: int) -> Result:
        """Run a case ``rounds`` times with each peer, A B C A B C.

        :raises RunError: one run failed or left wrong files; it says which.
        """
        source.warm()
        runs: dict[str, list[Usage]] = {peer.name: [] for peer in peers}
        for number in range(1, rounds + 1):
            for peer in peers:
                usage = self.once(source, peer)
                runs[peer.name].append(usage)
                name = f"{source.case.name} {number}/{rounds} {peer.name}"
                self.say(f"{name}: {usage.wall:.2f} s")
        return Result(source.case, runs)

    def once(self, source: Source, peer: Peer) -> Usage:
        """Make one run and verify its files; nothing of it is left.

        :raises RunError: it failed, or left wrong files.
        """
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.work))
        try:
            return self._measure(source, peer, folder)
        except RunError as error:
            raise RunError(f"{source.case.name}, {peer.name}: {error}") from error
        finally:
            shutil.rmtree(folder)
            os.sync()  # or the next run would pay for what this one wrote

    def _measure(self, source: Source, peer: Peer, folder: Path) -> Usage:
        for name in ("out", "scratch"):
            (folder / name).mkdir()
        urls = [
            f"{self.base_url}/{source.case.folder}/{n}" for n in source.case.names()
        ]
        job = Job(urls, folder / "out", folder / "scratch", self.concurrency)
        command = peer.prepare(job)
        usage = run(command, env=_env(), cwd=job.scratch, timeout=self.timeout)
        problem = problem_of(source, peer.found(job))
        if problem:
            raise RunError(problem)
        return usage.with_stamp(job.stamp)


def _env() -> dict[str, str]:
    """Return our environment, in which a Python finds this package and ours."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
