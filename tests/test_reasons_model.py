"""Random races: however steps interleave, a background fetch ends once and right.

Behaviours 31-36, 39, 50, 51, 57, 69, 71-73, 203, 204, B1, B2, B3, B8. Set BGFETCH_RACES
to a number of batches for a longer run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import (
    InvalidStateError,
    QuotaExceededError,
    SuspendedError,
)
from scrapy_bgfetch.rules.file_names import part_name
from tests.support.crawl import NAMES, Probe, run, settings_of
from tests.support.race_plans import (
    BATCHES,
    ENDS,
    MAXSIZE,
    Batch,
    Seen,
    Story,
    Values,
    check,
    values_of,
)
from tests.support.stepped import Stepped

BATCH_NUMBER = int(os.environ.get("BGFETCH_RACES", "12"))
PATIENCE = 15.0  # seconds


class Errors(logging.Handler):
    """Collects what the package logs as an error."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.said = []

    def emit(self, record):
        self.said.append(self.format(record))


class Race(Probe):
    """Writes down all that it sees of the background fetches of a batch."""

    def __init__(self, race, **kwargs):
        super().__init__(**kwargs)
        self.race = race

    async def note(self, signal, registration, **kwargs):
        await self.race.note(self, NAMES[signal], registration, kwargs)


class Inside:
    """Aborts when a response has started."""

    def __init__(self, race):
        self.race = race

    def __deepcopy__(self, memo):
        return self  # a crawler copies its settings, and the objects in them

    @hookimpl
    async def bgfetch_response_started(self, registration):
        await self.race.inside("response_started", registration)


class Running:
    """One batch, on its way through one or two runs of a spider."""

    def __init__(self, batch: Batch, folder: Path, server: Stepped) -> None:
        self.batch, self.folder, self.server = batch, folder, server
        self.stories: dict[str, Story] = {}
        self.handles = {}
        self.run = 0
        self.again = []

    # -- what is seen --------------------------------------------------------------

    def story(self, handle) -> Story | None:
        _, number = handle.id.split("-")
        plan = self.batch.plans[int(number)]
        if handle.base_url.endswith("/again"):
            return None
        self.handles[handle.uid] = handle
        return self.stories.setdefault(handle.uid, Story(plan))

    async def note(self, spider, name, handle, said):
        story = self.story(handle)
        if story is None:
            return
        record = said.get("record")
        story.seen.append(
            Seen(
                name,
                values_of(handle),
                record and record.index,
                str(record.failure_reason) if record else "",
                self.run,
            )
        )
        if name in ENDS:
            assert await spider.background_fetch.get(handle.id) is not handle
        for _ in range(story.plan.slow):
            await asyncio.sleep(0.001)
        await self.inside(name, handle)

    async def inside(self, where, handle):
        story = self.story(handle)
        if story is not None and story.plan.inside == where:
            await self.abort(handle)

    async def abort(self, handle):
        """Abort; whatever it says, the id is free then (71, 72)."""
        story = self.story(handle)
        try:
            said = await handle.abort()
        except (SuspendedError, asyncio.CancelledError):
            story.given_up += 1
            return
        story.aborts.append(said)
        assert await self.spider.background_fetch.get(handle.id) is not handle

    # -- what is done --------------------------------------------------------------

    def path(self, number, index):
        return f"/{number}/{index}"

    async def go(self, spider, response):
        self.spider = spider
        await asyncio.gather(
            *(self.follow(number, plan) for number, plan in enumerate(self.batch.plans))
        )
        if self.batch.suspend and self.run == 1:
            engine = spider.crawler.engine
            spider.closing = asyncio.ensure_future(engine.close_spider_async())
            return
        await self.ended(spider)

    async def go_on(self, spider, response):
        self.spider = spider
        for id in await spider.background_fetch.get_ids():
            handle = await spider.background_fetch.get(id)
            if handle is not None:  # it may have ended meanwhile
                with contextlib.suppress(InvalidStateError):
                    await handle.resume()
        await self.ended(spider)

    async def ended(self, spider):
        """Wait until all is delivered."""
        end = time.monotonic() + PATIENCE
        while await spider.background_fetch.get_ids() or any(
            handle.records_available for handle in self.handles.values()
        ):
            assert time.monotonic() < end, "they do not end"
            await asyncio.sleep(0.002)

    def open_all(self):
        for number, plan in enumerate(self.batch.plans):
            for index in range(len(plan.files)):
                self.server.open(self.path(number, index))

    async def follow(self, number, plan):
        urls = [
            self.server.at(self.path(number, index), file.size, length=file.length)
            for index, file in enumerate(plan.files)
        ]
        try:
            handle = await self.spider.background_fetch.fetch(
                f"plan-{number}",
                urls,
                download_total=plan.budget,
                fail_fast=plan.fail_fast,
            )
        except QuotaExceededError:
            assert self.batch.quota
            return
        work = []
        for step in plan.steps:
            with contextlib.suppress(InvalidStateError):
                await self.do(step, number, handle, work)
        if not (self.batch.suspend and self.run == 1):
            with contextlib.suppress(InvalidStateError):
                await handle.resume()
            for index in range(len(plan.files)):
                self.server.open(self.path(number, index))
            await asyncio.wait_for(handle.settled(), PATIENCE)
            if plan.again:
                await self.fetch_again(number, handle)
        await asyncio.gather(*work)

    async def fetch_again(self, number, old):
        """An old handle never touches a new background fetch of its id (73)."""
        url = self.server.at(f"/{number}/again", 700)
        base = url.replace(f"/{number}/again", "/again")
        try:
            new = await self.spider.background_fetch.fetch(old.id, url, base_url=base)
        except QuotaExceededError:
            assert self.batch.quota
            return
        assert not await old.abort()
        assert await self.spider.background_fetch.get(old.id) is new
        self.server.open(f"/{number}/again")
        await asyncio.wait_for(new.settled(), PATIENCE)
        if not self.batch.quota:
            assert new.result == "success"

    async def do(self, step, number, handle, work):
        kind, *said = step
        if kind == "serve":
            index, served = said
            if index < len(handle.records):
                self.server.step(self.path(number, index), served)
        elif kind == "served":
            await self.served(number, said[0] % len(handle.records))
        elif kind == "turns":
            for _ in range(said[0]):
                await asyncio.sleep(0)
        elif kind == "abort":
            many = [self.abort(handle) for _ in range(said[0])]
            work.append(asyncio.gather(*many))
        elif kind == "abort_at":
            record = handle.records[said[0] % len(handle.records)]
            work.append(asyncio.ensure_future(self.abort_at(record, *said[1:])))
        else:
            await getattr(handle, kind)()

    async def served(self, number, index):
        """Let the server do its steps, if anybody asks."""
        end = time.monotonic() + 0.05
        path = self.path(number, index)
        while not self.server.waits(path) and time.monotonic() < end:
            await asyncio.sleep(0.001)

    async def abort_at(self, record, least, turns):
        """Abort when so many bytes are there, some turns of the loop later."""
        handle, end = record.registration, time.monotonic() + 0.3
        while record.downloaded < least and record.state != "settled":
            if time.monotonic() > end:
                return
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        await self.abort(handle)

    # -- what is left --------------------------------------------------------------

    def look(self):
        """Read the state and the disk."""
        bodies = self.folder / "bgfetch"
        with closing(sqlite3.connect(bodies / "state.sqlite")) as con:
            rows = con.execute(
                "SELECT uid, result, failure_reason, downloaded, uploaded, active, "
                "delivered FROM registrations"
            ).fetchall()
            kept = con.execute(
                "SELECT uid, failure_reason, stored FROM records ORDER BY uid, idx"
            ).fetchall()
        for uid, result, reason, downloaded, uploaded, active, delivered in rows:
            assert (active, delivered) == (0, 1)
            story = self.stories.get(uid)
            if story is not None:
                story.state = Values(result, reason, downloaded, uploaded)
                story.kept = [(why, stored) for of, why, stored in kept if of == uid]
        assert set(self.stories) <= {row[0] for row in rows}
        left = {path.name for path in (bodies / "parts").iterdir()}
        for uid, story in self.stories.items():
            self.look_at(uid, story, left)
        assert left <= {part_name(uid, 0) for uid, _, stored in kept if stored}, (
            "part files that nobody speaks of"
        )

    def look_at(self, uid, story, left):
        handle = self.handles[uid]
        story.last = values_of(handle)
        for record in handle.records:
            story.records.append((str(record.failure_reason), record.downloaded))
            part = self.folder / "bgfetch" / "parts" / part_name(uid, record.index)
            if not record.failure_reason:
                path = record.url.partition("//")[2].partition("/")[2]
                assert record.path.read_bytes() == self.server.content(f"/{path}")
                story.stored += record.path.stat().st_size
            elif record.downloaded:
                story.stored += part.stat().st_size
                left.discard(part.name)


async def race(batch: Batch, folder: Path, server: Stepped) -> None:
    running = Running(batch, folder, server)
    options = settings_of(
        folder,
        BGFETCH_PLUGINS=[Inside(running)],
        BGFETCH_PROGRESS_INTERVAL=0.005,
        BGFETCH_CHECKPOINT_INTERVAL=0.01,
        BGFETCH_CONCURRENT_RECORDS=batch.slots,
        BGFETCH_RECORD_MAXSIZE=MAXSIZE,
        BGFETCH_QUOTA=batch.quota,
        BGFETCH_RESUMPTIONS=2,
        BGFETCH_RETRY_DELAY=0.001,
        BGFETCH_RETRY_MAX_DELAY=0.02,
        CONCURRENT_REQUESTS_PER_DOMAIN=16,
    )
    page = server.at("/page", 0)
    server.open("/page")
    running.run = 1
    await run(Race, options, page=page, go=running.go, race=running)
    if batch.suspend:
        running.run = 2
        running.open_all()
        await run(Race, options, page=page, go=running.go_on, race=running)
    running.look()
    for story in running.stories.values():
        check(story, batch)


async def test_however_races_go_it_ends_once_and_everybody_says_the_same():
    """Hypothesis has a thread of its own, the crawls this loop: so in both modes."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=BATCH_NUMBER,
        suppress_health_check=list(HealthCheck),
    )
    @given(BATCHES)
    def races(batch):
        work = asyncio.wait_for(one_race(batch), 4 * PATIENCE)
        asyncio.run_coroutine_threadsafe(work, loop).result()

    await asyncio.to_thread(races)


async def one_race(batch: Batch) -> None:
    server, errors = Stepped().start(), Errors()
    logging.getLogger("scrapy_bgfetch").addHandler(errors)
    try:
        with tempfile.TemporaryDirectory() as folder:
            await race(batch, Path(folder), server)
    finally:
        logging.getLogger("scrapy_bgfetch").removeHandler(errors)
        server.stop()
    assert errors.said == []
