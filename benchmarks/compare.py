"""Runs a case with all peers, taking turns, and puts the numbers together."""

from __future__ import annotations

import math
import os
import random
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from benchmarks.cases import problem_of
from benchmarks.measure import RunError, Usage, environment, run
from benchmarks.peers import BGFETCH, LEAST, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.cases import Case, Source
    from benchmarks.peers import Peer
    from benchmarks.server import Served

MEASURES = ("wall", "done", "cpu", "peak")
_LIKE = {
    "aria2c-4": "bgfetch-4",
    "copy-sync": "bgfetch-power",
    "curl-sync": "bgfetch-power",
    "sha256sum": "bgfetch-checksum",
}
MANY = 1000  # files
SURE = 0.9  # of what is said about a median
NOISY = 1.5  # a ratio whose largest value is this many times its smallest


@frozen
class Spread:
    """The values of a ratio or a difference, one for each round."""

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
    def sure(self) -> tuple[float, float]:
        """What the median of endless rounds lies between, with at least 90 %.

        These are the k-th smallest and the k-th largest value: that less than k of n
        rounds are below such a median is as likely as less than k heads of n coins.
        Of less than five rounds it is all values.
        """
        ordered, k = sorted(self.values), 1
        while _heads_at_most(k, len(ordered)) <= (1 - SURE) / 2:
            k += 1
        return ordered[k - 1], ordered[-k]

    @property
    def noisy(self) -> bool:
        """Whether the machine did too much else meanwhile."""
        return self.max > NOISY * self.min

    def unsure_of(self, limit: float) -> bool:
        """Say whether the median might as well be on the other side of a limit."""
        low, high = self.sure
        return low <= limit < high


@frozen
class Result:
    """All runs of one case: peer to what each of its rounds took."""

    case: Case
    runs: Mapping[str, Sequence[Usage]]

    def median(self, peer: str, measure: str) -> float:
        """Return the median of a measure over the rounds of a peer."""
        return float(statistics.median(self.values(peer, measure)))

    def pairs(self) -> dict[str, tuple[str, str]]:
        """Return who is compared with whom, ours first, by what to call it.

        It is bgfetch with each other one, and like with like; and with aria2c the peers
        that do the least that any plugin has to: what is left to a bar is for the rest.
        """
        found = {}
        for other in self.runs:
            ours = _LIKE.get(other, BGFETCH.name)
            if ours != BGFETCH.name and ours in self.runs:
                found[f"{ours} / {other}"] = ours, other
            elif other != BGFETCH.name:
                found[other] = BGFETCH.name, other
        found |= {
            f"{least} / aria2c": (least, "aria2c")
            for least in LEAST
            if {least, "aria2c"} <= self.runs.keys()
        }
        return found

    def values(self, peer: str, measure: str) -> tuple[float, ...]:
        """Return a measure of each round of a peer."""
        return tuple(getattr(usage, measure) for usage in self.runs[peer])

    def ratio(self, peer: str, other: str, measure: str, less: float = 0.0) -> Spread:
        """Return peer / other of a measure, round by round.

        :param less: what is taken off both before.
        """
        ours, theirs = self.values(peer, measure), self.values(other, measure)
        pairs = zip(ours, theirs, strict=True)
        return Spread(tuple((a - less) / (b - less) for a, b in pairs))


@frozen
class Bench:
    """How runs are made.

    :ivar work: a folder on the disk that the files are written to.
    :ivar served: where the files come from.
    :ivar timeout: seconds that one run may take.
    :ivar say: told what goes on.
    """

    work: Path
    served: Served
    concurrency: int
    timeout: float
    say: Callable[[str], None]

    def compare(self, source: Source, peers: Sequence[Peer], rounds: int) -> Result:
        """Run a case ``rounds`` times with each peer.

        Nobody always comes after the same one: what that leaves to do for the disk, or
        for the host of a virtual machine, would be his.

        :raises RunError: one run failed or left wrong files; it says which.
        """
        source.warm()
        runs: dict[str, list[Usage]] = {peer.name: [] for peer in peers}
        for number, order in enumerate(orders(peers, rounds), start=1):
            for peer in order:
                usage = self.once(source, peer)
                runs[peer.name].append(usage)
                name = f"{source.case.name} {number}/{rounds} {peer.name}"
                self.say(f"{name}: {usage.wall:.2f} s")
        return Result(source.case, runs)

    def once(self, source: Source, peer: Peer) -> Usage:
        """Make one run and verify its files, which are left where they are many.

        ext4 gives the number of a deleted file to no other one for a minute or more,
        and looks through all of them for each new file: whoever comes next would pay a
        millisecond for each file, as he does in a case that is ``cleared``.

        :raises RunError: it failed, or left wrong files.
        """
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.work))
        try:
            return self._measure(source, peer, folder)
        except RunError as error:
            raise RunError(f"{source.case.name}, {peer.name}: {error}") from error
        finally:
            # What was killed may still be ending; the work folder goes last.
            if source.case.count < MANY or source.case.cleared:
                shutil.rmtree(folder, ignore_errors=True)
            os.sync()  # or the next run would pay for what this one wrote

    def _measure(self, source: Source, peer: Peer, folder: Path) -> Usage:
        for name in ("out", "scratch"):
            (folder / name).mkdir()
        case, served = source.case, self.served
        base_url = f"{served.urls[case.server]}/{case.folder}"
        urls = [f"{base_url}/{name}" for name in case.names()]
        out, scratch = folder / "out", folder / "scratch"
        where = served.authority, source.folder
        job = Job(urls, out, scratch, self.concurrency, *where)
        command = peer.prepare(job)
        usage = run(command, env=environment(), cwd=scratch, timeout=self.timeout)
        problem = problem_of(source, peer.found(job)) if peer.found else _unsaid(job)
        if problem:
            raise RunError(problem)
        return usage.with_stamp(job.stamp)


def orders(peers: Sequence[Peer], rounds: int) -> Iterator[Sequence[Peer]]:
    """Return the order of each round: one that is drawn, then that one backwards.

    The same are drawn in every run.
    """
    draw, order = random.Random(0), list(peers)
    for number in range(rounds):
        order = order[::-1] if number % 2 else draw.sample(order, len(order))
        yield order


def _heads_at_most(number: int, coins: int) -> float:
    """Return how likely it is that no more of some coins show heads."""
    return sum(math.comb(coins, heads) for heads in range(number + 1)) / 2**coins


def _unsaid(job: Job) -> str:
    """Return what is wrong with a run that keeps no files; "" for nothing."""
    return "" if job.stamp.exists() else "not everything came"
