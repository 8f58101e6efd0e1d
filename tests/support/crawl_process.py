"""A crawl in a process of its own, to be killed: what it saw goes to a file.

``python -m tests.support.crawl_process CONFIG.json``, see :class:`Crawled` for
what the configuration says. Each line of the log is one JSON value.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.utils.misc import load_object
from scrapy.utils.reactor import is_reactor_installed

from scrapy_bgfetch import hookimpl
from tests.support.crawl import NAMES

ROOT = Path(__file__).parents[2]


class Killer:
    """A plug-in that kills its own process inside of a hook."""

    def __init__(self, at, reason):
        self.at = at
        self.reason = reason

    @classmethod
    def from_crawler(cls, crawler):
        config = json.loads(crawler.settings["TEST_CONFIG"])
        return cls(config.get("die_at"), config.get("die_reason"))

    def die(self, where, reason=""):
        if where == self.at and self.reason in (None, reason):
            os.kill(os.getpid(), signal.SIGKILL)

    @hookimpl
    def bgfetch_record_settled(self, record):
        self.die("record_settled hook", record.failure_reason)

    @hookimpl
    def bgfetch_settled(self, registration):
        self.die("settled hook", registration.failure_reason)


class HookLog:
    """A plug-in that logs each hook that says that something has settled."""

    def __init__(self, crawler):
        self.crawler = crawler

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    @hookimpl
    def bgfetch_record_settled(self, registration, record):
        said = {"event": "record_settled hook", "id": registration.id}
        said.update(url=record.url, reason=record.failure_reason)
        said["path"] = str(record.path) if record.path else None
        self.crawler.spider.log_line(said)

    @hookimpl
    def bgfetch_settled(self, registration):
        said = {"event": "settled hook", "id": registration.id}
        said["reason"] = registration.failure_reason
        self.crawler.spider.log_line(said)


class Crawled(Spider):
    """Fetches and yields what its configuration says, and logs each event.

    ``fetch``: arguments of ``fetch``; ``grouped``: pairs of URL and meta value;
    ``dont_filter``: that of the grouped requests; ``die_at``: where it kills itself.
    """

    name = "crawled"

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        spider.config = json.loads(crawler.settings["TEST_CONFIG"])
        for name in NAMES:
            crawler.signals.connect(spider.note, name)
        return spider

    async def start(self):
        for arguments in self.config.get("fetch", ()):
            await self.background_fetch.fetch(**_fetch_arguments(arguments))
        for url, value in self.config.get("grouped", ()):
            yield Request(
                url,
                self.got,
                errback=self.failed,
                meta={"bgfetch": value},
                dont_filter=self.config.get("dont_filter", False),
            )

    def note(self, signal, registration, **kwargs):
        name = NAMES[signal]
        if name == "progress":
            return
        record = kwargs.get("record")
        said = {"event": name, "id": registration.id}
        if record is not None:
            said.update(url=record.url, reason=record.failure_reason)
        elif name != "registered":
            said.update(
                reason=registration.failure_reason,
                downloaded=registration.downloaded,
                paths=[str(one.path) for one in registration.records if one.path],
            )
        self.log_line(said)
        Killer(self.config.get("die_at"), self.config.get("die_reason")).die(
            f"{name} signal", said.get("reason", "")
        )

    def got(self, response):
        self.log_line({"event": "callback", "url": response.url})

    def failed(self, failure):
        said = type(failure.value).__name__
        self.log_line({"event": "errback", "url": failure.request.url, "error": said})

    def closed(self, reason):
        stats = self.crawler.stats.get_stats()
        kept = {k: v for k, v in stats.items() if k.startswith("bgfetch/")}
        self.log_line({"event": "closed", "reason": reason, "stats": kept})

    def log_line(self, said):
        with Path(self.config["log"]).open("a") as file:
            file.write(json.dumps(said) + "\n")


def _fetch_arguments(said):
    """Return the arguments of ``fetch``; ``fresh`` is skip_if_fresh in seconds."""
    known = {key: value for key, value in said.items() if key != "fresh"}
    if "fresh" in said:
        known["skip_if_fresh"] = timedelta(seconds=said["fresh"])
    return known


class Crawl:
    """The test's side: starts such a process, and reads what it has logged."""

    module = "tests.support.crawl_process"

    def __init__(self, folder, *, jobdir=False, **settings):
        self.folder = folder
        self.settings = {
            "ADDONS": {"scrapy_bgfetch.Addon": 500},
            "BGFETCH_DIR": str(folder / "bgfetch"),
            "BGFETCH_RETRY_DELAY": 0.01,
            "BGFETCH_PLUGINS": ["tests.support.crawl_process.Killer"],
            "TWISTED_REACTOR_ENABLED": is_reactor_installed(),
            "TELNETCONSOLE_ENABLED": False,
            "REMOTE_CONTROL_ENABLED": False,
            **settings,
        }
        if jobdir:
            self.settings["JOBDIR"] = str(folder / "job")
        self.state = Path(self.settings["BGFETCH_DIR"])
        self.runs = 0

    def start(self, **config):
        self.runs += 1
        self.log = self.folder / f"run{self.runs}.jsonl"
        config["log"] = str(self.log)
        settings = {**self.settings, "TEST_CONFIG": json.dumps(config)}
        path = self.folder / f"run{self.runs}.json"
        path.write_text(json.dumps(settings))
        self.output = self.folder / f"run{self.runs}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(path)],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    async def run(self, **config):
        """Start it and wait for its end; return what it has logged."""
        self.start(**config)
        code = await self.ended()
        assert code == 0, self.output.read_text()
        return self.events()

    async def ended(self, timeout=30):
        await until(lambda: self.process.poll() is not None, timeout)
        return self.process.returncode

    async def kill(self, number=signal.SIGKILL, timeout=30):
        self.process.send_signal(number)
        return await self.ended(timeout)

    def events(self, *names):
        if not self.log.exists():
            return []
        said = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [one for one in said if not names or one["event"] in names]

    def lines(self):
        """Return how many events there are so far; cheaper than to read them."""
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0

    def ends(self):
        said = self.events("success", "fail", "abort")
        return [(one["event"], one["id"], one["reason"]) for one in said]

    def parts(self):
        """Return the sizes of the part files by name."""
        folder = self.state / "parts"
        return {path.name: path.stat().st_size for path in sorted(folder.glob("*"))}

    def unfinished(self):
        """Return how many bytes the state has of each unfinished record."""
        rows = self.rows("SELECT stored FROM records WHERE state != 'settled'")
        return [stored for (stored,) in rows]

    def rows(self, query):
        """Return what the state answers, nothing while it is being made."""
        state = self.state / "state.sqlite"
        try:
            with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as con:
                return con.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []


async def until(condition, timeout=30.0):
    """Wait until a condition holds; it is polled, so it must come true by itself."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)


def main(path):
    settings = json.loads(Path(path).read_text())
    process = AsyncCrawlerProcess(settings)
    process.crawl(load_object(settings.get("TEST_SPIDER", Crawled)))
    process.start()


if __name__ == "__main__":
    main(sys.argv[1])
