"""Kills a crawl with -9 again and again, and checks that nothing was lost.

``python -m tests.crash --kills 500``. A spider of its own process downloads files
of all kinds, some with fetch(), some as grouped requests, from a server that is
slow enough. After each kill the state, the part files and the log of events are
compared; when all rounds have settled, so is every file.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from tests.support.crash_checks import Checks
from tests.support.crash_plan import Round, make_round
from tests.support.crawl_process import Crawl
from tests.support.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120.0  # seconds for what is not killed


@frozen
class Report:
    """What came of it; ``faults`` is empty when nothing was lost.

    Sizes are in bytes. ``again`` is what the server sent beyond the files' own
    size, ``again_whole`` the part of it that was for files that cannot be resumed.
    """

    seed: int
    kills: int
    runs: int
    rounds: int
    seconds: float
    files: int
    size: int
    again: int
    again_whole: int
    unrecorded: int
    phases: dict[str, int]
    events: int
    duplicates: dict[str, int]
    no_callback: tuple[str, ...]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        resumable = self.again - self.again_whole
        share, each = self.again / self.size, self.again // self.kills
        lines = (
            f"seed {self.seed}: {self.kills} kills in {self.runs} runs",
            f"time: {self.seconds:.0f} s, rounds: {self.rounds}",
            f"kills that hit: {_counts(self.phases)}",
            f"files: {self.files}, {self.size} bytes",
            f"sent beyond the files' own size: {self.again} bytes",
            f"  that is {share:.3f} of it, and {each} bytes a kill",
            f"  of files that cannot be resumed: {self.again_whole}",
            f"  of resumable files: {resumable}, {resumable // self.kills} a kill",
            f"  of these on disk and not yet in the state: {self.unrecorded}",
            f"events: {self.events}",
            f"told again after a kill: {_counts(self.duplicates)}",
            f"callbacks that never came: {len(self.no_callback)}",
            f"faults: {len(self.faults)}",
            *(f"  {fault}" for fault in (*self.no_callback, *self.faults)),
        )
        return "\n".join(lines)


@define
class Crash:
    """One such test, in a folder of its own."""

    folder: Path
    site: Site
    seed: int
    jobdir: bool = True
    reactor: bool = False
    rounds: list[Round] = field(factory=list)
    killed: int = 0
    _random: random.Random = field(init=False)
    _crawl: Crawl = field(init=False)
    _checks: Checks = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._crawl = Crawl(
            self.folder,
            jobdir=self.jobdir,
            BGFETCH_PLUGINS=["tests.support.crawl_process.HookLog"],
            TWISTED_REACTOR_ENABLED=self.reactor,
        )
        self._checks = Checks(self.folder, self.site)

    async def run(self, kills: int) -> Report:
        """Kill it so many times, let it finish, and check everything."""
        began = time.monotonic()
        while True:
            if all(map(self._checks.is_done, self._registrations())):
                if self.killed == kills:
                    break
                self._next_round()
            await self._once(kills)
        self._checks.at_the_end(self.rounds)
        return self._report(time.monotonic() - began)

    def _registrations(self) -> list[str]:
        return [one for round in self.rounds for one in round.ids]

    def _next_round(self) -> None:
        number = len(self.rounds)
        self.rounds.append(make_round(self.site, number, self._random))

    async def _once(self, kills: int) -> None:
        """Start the spider once, kill it or let it end, then look at what it left."""
        round, checks = self.rounds[-1], self._checks
        self._forget_queue()
        self._crawl.start(
            fetch=[one for one in round.fetch if not checks.is_known(one["id"])],
            grouped=[one for one in round.grouped if not checks.is_done(one[1]["id"])],
            dont_filter=True,
        )
        if self.killed < kills and await self._kill():
            self.killed += 1
        else:
            code = await self._crawl.ended(PATIENCE)
            assert code == 0, self._crawl.output.read_text()
        checks.after_run(self._crawl)
        left = [id for id in round.ids if not checks.is_done(id)]
        assert self._crawl.process.returncode or not left, (
            f"run {self._crawl.runs} in {self.folder} ended, but not {left}"
        )

    def _forget_queue(self) -> None:
        """Remove Scrapy's queue in the JOBDIR, which does not survive a kill.

        What is left of it gives old requests again, or cannot be opened.
        """
        shutil.rmtree(self.folder / "job/requests.queue", ignore_errors=True)

    async def _kill(self) -> bool:
        """Kill it at a random moment; False when it has ended before.

        Some moments are soon after the start, some are while files come, and some
        right after something was logged, so that many hit what settles.
        """
        process, seen, chance = self._crawl.process, len(self.site.seen), self._random
        kind = chance.choices(("start", "files", "settling"), (1, 2, 2))[0]
        lines = chance.randrange(1, 24)
        more = chance.choice((0.0, chance.uniform(0.0, 0.02)))
        if kind == "start":
            await self._wait(lambda: False, chance.uniform(0.2, 1.5))
        else:
            await self._wait(lambda: len(self.site.seen) > seen, PATIENCE)
        if kind == "files":
            await self._wait(lambda: False, chance.uniform(0.0, 1.2))
        elif kind == "settling":
            await self._wait(lambda: self._crawl.lines() >= lines, 1.2)
            await asyncio.sleep(more)
        process.kill()  # does nothing when it has ended
        return await self._crawl.ended() != 0

    async def _wait(self, condition: Callable[[], bool], patience: float) -> None:
        """Wait for a condition, for the end of the process or of the patience."""
        end = time.monotonic() + patience
        while time.monotonic() < end and self._crawl.process.poll() is None:
            if condition():
                break
            await asyncio.sleep(0.001)

    def _report(self, seconds: float) -> Report:
        checks = self._checks
        files = [one for round in self.rounds for one in round.files]
        again = {f.path: self.site.sent[f.path] - len(f.sent()) for f in files}
        whole = [again[f.path] for f in files if not f.resumable]
        return Report(
            seed=self.seed,
            kills=self.killed,
            runs=self._crawl.runs,
            rounds=len(self.rounds),
            seconds=seconds,
            files=len(files),
            size=sum(len(one.sent()) for one in files),
            again=sum(again.values()),
            again_whole=sum(whole),
            unrecorded=checks.unrecorded,
            phases=dict(checks.phases),
            events=checks.events(),
            duplicates=checks.duplicates(),
            no_callback=tuple(checks.no_callback),
            faults=tuple(checks.faults),
        )


async def crash(
    folder: Path, *, kills: int, seed: int, jobdir: bool = True, reactor: bool = False
) -> Report:
    """Kill a crawl so many times, let it finish, and return what came of it."""
    site = Site().start()
    try:
        test = Crash(folder, site, seed, jobdir=jobdir, reactor=reactor)
        return await test.run(kills)
    finally:
        site.stop()


def _counts(counts: dict[str, int]) -> str:
    said = [f"{count} {what}" for what, count in counts.items()]
    return ", ".join(said) or "none"


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--no-jobdir", action="store_true")
    parser.add_argument("--reactor", action="store_true", help="Scrapy's other mode")
    said = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="bgfetch-crash-"))
    say(f"seed {said.seed}, in {folder}")
    report = asyncio.run(
        crash(
            folder,
            kills=said.kills,
            seed=said.seed,
            jobdir=not said.no_jobdir,
            reactor=said.reactor,
        )
    )
    say(report)
    if not (report.faults or report.no_callback):
        shutil.rmtree(folder)
    return len(report.faults) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
