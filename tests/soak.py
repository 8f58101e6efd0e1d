"""Downloads very many small files from a server that fails one answer in three.

``python -m tests.soak --records 20000``. Checks that every record succeeded, was
told of exactly once and has the right content, and that memory stays flat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from attrs import frozen

from tests.support.crawl_process import Crawl, Crawled
from tests.support.failing_server import content, failing_server

EACH = 100  # records in a background fetch
AT_ONCE = 4  # background fetches
CONCURRENCY = 16


class Soaked(Crawled):
    """Registers background fetches, a few at a time, until all have been.

    Its configuration has ``url``, ``records`` and, for what it logs, ``log``. At
    10 %, 20 % and so on of the records it logs how much memory it has.
    """

    name = "soaked"

    async def start(self):
        total = self.config["records"]
        self.settled, self.step = 0, max(total // 10, 1)
        self.left = iter(range(0, total, EACH))
        for _ in range(AT_ONCE):
            await self.register()
        return
        yield

    async def register(self):
        first = next(self.left, None)
        if first is None:
            return
        last = min(first + EACH, self.config["records"])
        urls = [f"{self.config['url']}/file/{n}" for n in range(first, last)]
        await self.background_fetch.fetch(f"f{first}", urls)

    async def note(self, signal, registration, **kwargs):
        super().note(signal, registration, **kwargs)
        if "record" in kwargs:
            self.settled += 1
            if self.settled % self.step == 0:
                memory = {"records": self.settled, "rss": resident()}
                self.log_line({"event": "memory", **memory})
        elif "event" in kwargs and registration.result:
            await self.register()


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@frozen
class Report:
    """What came of it; ``faults`` is empty when nothing was lost or told twice."""

    records: int
    seconds: float
    size: int
    memory: dict[int, int]
    server: dict[str, Any]
    stats: dict[str, int]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        answers = self.server["answers"]
        failed = sum(answers.values()) - answers["good"]
        memory = [
            f"{100 * at // self.records} %: {rss / 2**20:.1f}"
            for at, rss in self.memory.items()
        ]
        lines = (
            f"{self.records} records, {self.size} bytes in {self.seconds:.1f} s",
            f"answers: {sum(answers.values())}, of which {failed} failed",
            f"  {answers}",
            f"sent: {self.server['sent'] / self.size:.3f} of the files' own size",
            f"resident memory in MiB: {', '.join(memory)}",
            f"stats: {self.stats}",
            f"faults: {len(self.faults)}",
            *(f"  {fault}" for fault in self.faults[:20]),
        )
        return "\n".join(lines)


async def soak(folder: Path, *, records: int, reactor: bool = False) -> Report:
    """Download so many files, and check all of them."""
    with failing_server() as url:
        crawl = Crawl(
            folder,
            TEST_SPIDER="tests.soak.Soaked",
            TWISTED_REACTOR_ENABLED=reactor,
            BGFETCH_PLUGINS=["tests.support.crawl_process.HookLog"],
            BGFETCH_CONCURRENT_RECORDS=CONCURRENCY,
            CONCURRENT_REQUESTS_PER_DOMAIN=CONCURRENCY,
            LOG_LEVEL="WARNING",
        )
        began = time.monotonic()
        crawl.start(url=url, records=records)
        code = await crawl.ended(3600)
        seconds = time.monotonic() - began
        assert code == 0, crawl.output.read_text()
        with urlopen(f"{url}/report") as answer:
            server = json.load(answer)
    return _report(crawl, url, records, seconds, server)


def _report(
    crawl: Crawl, url: str, records: int, seconds: float, server: dict[str, Any]
) -> Report:
    said = crawl.events()
    urls = {f"{url}/file/{n}": content(f"/file/{n}") for n in range(records)}
    (closed,) = [one for one in said if one["event"] == "closed"]
    return Report(
        records=records,
        seconds=seconds,
        size=sum(map(len, urls.values())),
        memory={o["records"]: o["rss"] for o in said if o["event"] == "memory"},
        server=server,
        stats=closed["stats"],
        faults=(*_events(said, urls, records), *_files(crawl, said, urls)),
    )


def _events(said: list[dict[str, Any]], urls: dict[str, bytes], records: int) -> Any:
    """Each record and each group is told of exactly once, as a success."""
    told = Counter(
        (o["event"], o.get("url", o.get("id")), o.get("reason")) for o in said
    )
    groups = [f"f{first}" for first in range(0, records, EACH)]
    wanted = Counter(
        [
            *((event, one, "") for event in _OF_RECORDS for one in urls),
            *(
                (event, one, "")
                for event in ("success", "settled hook")
                for one in groups
            ),
        ]
    )
    for other in ("registered", "memory", "closed"):
        told = Counter({key: n for key, n in told.items() if key[0] != other})
    for key in told.keys() | wanted.keys():
        if told[key] != wanted[key]:
            yield f"{key} came {told[key]} times, not {wanted[key]}"


_OF_RECORDS = ("record_settled", "record_settled hook")


def _files(crawl: Crawl, said: list[dict[str, Any]], urls: dict[str, bytes]) -> Any:
    """Every file has its content, and there is no other."""
    folder, paths = crawl.folder / "bgfetch", set()
    for one in said:
        if one["event"] != "record_settled hook" or not one["path"]:
            continue
        paths.add(one["path"])
        if Path(one["path"]).read_bytes() != urls[one["url"]]:
            yield f"{one['path']} is not what the server has"
    on_disk = {str(p) for p in (*folder.glob("files/*/*"), *folder.glob("parts/*"))}
    if on_disk != paths or len(paths) != len(urls):
        yield f"{len(paths)} files of {len(urls)}, {len(on_disk)} on disk"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--reactor", action="store_true", help="Scrapy's other mode")
    said = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="bgfetch-soak-"))
    report = asyncio.run(soak(folder, records=said.records, reactor=said.reactor))
    sys.stdout.write(f"{report}\n")
    if report.faults:
        sys.stdout.write(f"kept: {folder}\n")
    else:
        shutil.rmtree(folder)
    return len(report.faults) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
