"""However a background fetch ends, it ends once, and its bytes are counted right."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
from scrapy import signals as scrapy_signals

from scrapy_bgfetch import BackgroundFetchRegistration, hookimpl, signals
from scrapy_bgfetch.exceptions import InvalidStateError, QuotaExceededError
from tests.support.crawl_process import until
from tests.support.raw import answer
from tests.support.site import body

ENDS = ("success", "fail", "abort")


def ends(spider):
    return [name for name in spider.names() if name in ENDS]


def in_state(folder, column, uid):
    with closing(sqlite3.connect(folder / "bgfetch" / "state.sqlite")) as con:
        query = f"SELECT {column} FROM registrations WHERE uid = ?"
        return con.execute(query, [uid]).fetchone()[0]


def on_disk(folder):
    bodies = folder / "bgfetch"
    files = [*bodies.glob("parts/*"), *bodies.glob("files/*/*")]
    return sum(path.stat().st_size for path in files)


def counted(handle, folder):
    """Return the bytes by the handle, by the state and by the file system."""
    kept = in_state(folder, "downloaded", handle.uid)
    return handle.downloaded, kept, on_disk(folder)


# -- abort -------------------------------------------------------------------------


class Aborter:
    """Aborts inside of one hook."""

    def __init__(self, hook):
        self.hook = hook
        self.said = []

    def __deepcopy__(self, memo):
        return self  # a crawler copies its settings, and the objects in them

    async def _abort(self, hook, registration):
        if hook == self.hook:
            self.said.append(await registration.abort())

    @hookimpl
    async def bgfetch_response_started(self, registration):
        await self._abort("response_started", registration)

    @hookimpl
    async def bgfetch_file_name(self, registration):
        await self._abort("file_name", registration)

    @hookimpl
    async def bgfetch_record_settled(self, registration):
        await self._abort("record_settled", registration)

    @hookimpl
    async def bgfetch_settled(self, registration):
        await self._abort("settled", registration)


@pytest.mark.parametrize("hook", ["response_started", "file_name", "record_settled"])
@pytest.mark.parametrize("more", [[], ["/slow/y?size=5000000&rate=100000"]])
async def test_abort_inside_of_a_hook_ends_it_once(probe, tmp_path, hook, more):
    """Behaviours 36, 71."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", ["/file/x", *more], base_url=response
        )
        await asyncio.wait_for(spider.handle.settled(), 10)

    spider = await probe(go, BGFETCH_PLUGINS=[Aborter(hook)])
    assert spider.handle.failure_reason == "aborted"
    assert ends(spider) == ["abort"]
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []
    assert len(set(counted(spider.handle, tmp_path))) == 1


async def test_abort_inside_of_the_settled_hook_comes_too_late(probe):
    aborter = Aborter("settled")

    async def go(spider, response):
        await spider.background_fetch.fetch("a", "/file/x", base_url=response)

    spider = await probe(go, BGFETCH_PLUGINS=[aborter])
    assert aborter.said == [False]
    assert ends(spider) == ["success"]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
async def test_an_abort_that_is_cancelled_goes_on(probe, tmp_path, steps):
    """Whoever gives up waiting for it stops nothing."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000&rate=200000", base_url=response
        )
        await spider.handle.records[0].response_ready
        aborting = asyncio.ensure_future(spider.handle.abort())
        for _ in range(steps):
            await asyncio.sleep(0)
        aborting.cancel()
        await asyncio.wait({aborting})
        await asyncio.wait_for(spider.handle.settled(), 10)

    spider = await probe(go)
    assert ends(spider) == ["abort"]
    assert spider.handle.failure_reason == "aborted"
    assert counted(spider.handle, tmp_path) == (0, 0, 0)


async def test_an_abort_that_is_waited_for_too_shortly_goes_on(probe):
    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000&rate=200000", base_url=response
        )
        await spider.handle.records[0].response_ready
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(spider.handle.abort(), 1e-6)
        await asyncio.wait_for(spider.handle.settled(), 10)
        assert not await spider.handle.abort()

    assert ends(await probe(go)) == ["abort"]


async def test_the_spider_stays_open_until_a_paused_fetch_that_was_aborted_is_delivered(
    probe,
):
    """Behaviour 38: its abort handlers are awaited."""
    order = []

    async def go(spider, response):
        async def on_abort(registration, event):
            await asyncio.sleep(0.5)
            order.append("delivered")

        def on_closed(reason):
            order.append(reason)

        spider.keep_alive = on_abort, on_closed
        spider.crawler.signals.connect(on_abort, signals.bgfetch_abort)
        spider.crawler.signals.connect(on_closed, scrapy_signals.spider_closed)
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000&rate=200000", base_url=response
        )
        await handle.records[0].response_ready
        await handle.pause()
        await handle.abort()

    spider = await probe(go)
    assert order == ["delivered", "finished"]
    assert ends(spider) == ["abort"]


# -- bytes -------------------------------------------------------------------------


async def test_after_an_abort_its_bytes_are_gone_and_the_quota_has_room_again(
    probe, tmp_path
):
    """Behaviours 3, 57, 110."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        spider.handle = await fetch(
            "a",
            ["/file/x?size=50000", "/slow/y?size=1000000&rate=1000000&chunked"],
            base_url=response,
        )
        quick, slow = spider.handle.records
        await until(lambda: quick.state == "settled" and slow.downloaded > 300_000)
        with pytest.raises(QuotaExceededError):
            await fetch("b", "/file/z", base_url=response, download_total=950_001)
        await spider.handle.abort()
        await spider.handle.settled()
        spider.counted = counted(spider.handle, tmp_path)
        other = await fetch("b", "/file/z", base_url=response, download_total=950_000)
        await other.settled()

    spider = await probe(go, BGFETCH_QUOTA=1_000_000, BGFETCH_CHECKPOINT_INTERVAL=0.05)
    assert spider.counted == (50_000, 50_000, 50_000)


async def test_after_a_fetch_error_with_a_budget_its_bytes_are_gone(
    probe, raw, tmp_path
):
    """Behaviours 3, 44; without a budget they are kept for the next fetch."""
    cut = answer(body("x", 60_000), 'ETag: "x"', length=90_000)
    url = raw.says("/cut", cut)
    raw.may_close.clear()

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", url, download_total=90_000
        )
        await until(lambda: counted(spider.handle, tmp_path)[1:] == (60_000, 60_000))
        raw.may_close.set()
        await spider.handle.settled()

    spider = await probe(go, BGFETCH_RESUMPTIONS=0, BGFETCH_CHECKPOINT_INTERVAL=0.05)
    assert spider.handle.failure_reason == "fetch-error"
    assert spider.handle.records[0].downloaded == 0
    assert counted(spider.handle, tmp_path) == (0, 0, 0)


async def test_a_fetch_error_leaves_its_room_in_the_budget_to_the_others(
    probe, raw, tmp_path
):
    """Behaviours 3, 50: 60,000 bytes came of it, then it failed."""
    cut = answer(body("x", 60_000), 'ETag: "x"', length=90_000)
    urls = [
        raw.says("/cut", cut),
        raw.says("/whole", answer(body("y", 80_000), 'ETag: "y"')),
    ]
    raw.may_close.clear()

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", urls, download_total=100_000
        )
        uid = spider.handle.uid
        await until(lambda: in_state(tmp_path, "downloaded", uid) == 60_000)
        raw.may_close.set()
        await spider.handle.settled()

    spider = await probe(
        go,
        BGFETCH_CONCURRENT_RECORDS=1,
        BGFETCH_RESUMPTIONS=0,
        BGFETCH_CHECKPOINT_INTERVAL=0.05,
    )
    reasons = [record.failure_reason for record in spider.handle.records]
    assert reasons == ["fetch-error", ""]
    assert spider.handle.downloaded == 80_000
    assert len(raw.of("/whole")) == 1


async def test_a_new_start_from_zero_takes_its_bytes_back(probe, site, tmp_path):
    """Behaviours 49, 218: without a validator nothing can be kept."""

    async def go(spider, response):
        spider.handle = handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=400000&rate=400000&bare", base_url=response
        )
        record = handle.records[0]
        await until(lambda: record.downloaded > 150_000)
        await handle.pause()
        await until(lambda: record.state == "pending")
        await handle.resume()
        await until(lambda: 0 < record.downloaded < 100_000)
        await handle.pause()
        await until(lambda: record.state == "pending")
        _, spider.kept, spider.there = counted(handle, tmp_path)
        spider.here = record.downloaded
        await handle.resume()
        await handle.settled()

    spider = await probe(go, BGFETCH_CHECKPOINT_INTERVAL=0.05)
    assert 0 < spider.here == spider.kept == spider.there < 150_000
    assert counted(spider.handle, tmp_path) == (400_000, 400_000, 400_000)
    assert spider.handle.records[0].path.read_bytes() == body("x", 400_000)
    assert len(site.of("/slow/x")) == 3


# -- click and update_ui -----------------------------------------------------------


async def test_a_click_is_told_while_it_is_active_and_after_its_end(probe):
    """Behaviours 88, 90, 207, 313."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        await handle.click()
        await handle.settled()
        while handle.records_available:
            await asyncio.sleep(0.01)
        await handle.click()

    spider = await probe(go)
    clicks = [(one, extra) for name, one, extra in spider.events if name == "click"]
    names = spider.names("progress", "record_settled")
    assert names == ["registered", "click", "success", "click"]
    for handle, extra in clicks:
        assert isinstance(handle, BackgroundFetchRegistration)
        assert extra["spider"] is spider
        assert extra["event"].type == "backgroundfetchclick"
        assert not extra["event"].active
    assert spider.crawler.stats.get_value("bgfetch/click") == 2


@pytest.mark.parametrize(
    ("path", "signal"),
    [("/file/x", signals.bgfetch_success), ("/status/404", signals.bgfetch_fail)],
)
async def test_a_title_of_update_ui_is_kept_in_the_state(probe, tmp_path, path, signal):
    """Behaviours 37, 85, 134, 135."""
    refused = []

    async def go(spider, response):
        async def on_end(registration, event):
            await event.update_ui(title="ready", icons=[{"src": "/done.png"}])
            try:
                await event.update_ui(title="again")
            except InvalidStateError as error:
                refused.append(str(error))

        spider.on_end = on_end
        spider.crawler.signals.connect(on_end, signal)
        spider.handle = await spider.background_fetch.fetch(
            "a", path, base_url=response, title="old"
        )

    spider = await probe(go)
    assert spider.handle.title == "ready"
    assert spider.handle.icons[0]["src"] == "/done.png"
    assert in_state(tmp_path, "title", spider.handle.uid) == "ready"
    assert "/done.png" in in_state(tmp_path, "icons", spider.handle.uid)
    assert len(refused) == 1
