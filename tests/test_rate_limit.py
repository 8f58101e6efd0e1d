"""Bytes per second: BGFETCH_RATE_LIMIT and ``rate_limit``, issue 4, item 7.

The server is much faster than any limit here.
"""

from __future__ import annotations

import asyncio
import gzip
import time

import pytest
from scrapy.settings import BaseSettings

from scrapy_bgfetch.exceptions import BadRequestError, SettingsError
from scrapy_bgfetch.settings import Settings
from tests.support.crawl_process import until
from tests.support.misbehaving import FAST, head, honest, misbehaving, stalls
from tests.support.resuming import half_way
from tests.support.site import body

KiB = 1024
MiB = 1024 * KiB
OVERALL = "BGFETCH_RATE_LIMIT"

measured = pytest.mark.slow  # by the clock


async def timed(*handles):
    """Wait for the first head and then for the end; return the seconds between."""
    await handles[0].records[0].response_ready
    started = time.monotonic()
    for handle in handles:
        assert (await handle.settled()).result == "success"
    return time.monotonic() - started


async def sample(handle, samples):
    """Note every 50 ms how many bytes are stored."""
    while True:
        stored = sum(record.downloaded for record in handle.records)
        samples.append((time.monotonic(), stored))
        await asyncio.sleep(0.05)


def windows(samples):
    """Return the bytes per second of each interval of a second or little more."""
    rates = []
    for at, stored in samples:
        later = [one for one in samples if one[0] >= at + 1]
        if later:
            rates.append((later[0][1] - stored) / (later[0][0] - at))
    return rates


# -- how fast ----------------------------------------------------------------------


@measured
@pytest.mark.parametrize(
    ("options", "settings"),
    [({"rate_limit": 2 * MiB}, {}), ({}, {OVERALL: 2 * MiB})],
    ids=["own", "overall"],
)
async def test_a_limit_is_kept_within_5_percent_and_smoothly(probe, options, settings):
    samples = []

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/file/x?size={6 * MiB}"
        handle = await fetch("a", url, base_url=response, **options)
        sampling = asyncio.ensure_future(sample(handle, samples))
        spider.seconds = await timed(handle)
        sampling.cancel()
        assert handle.records[0].path.read_bytes() == body("x", 6 * MiB)

    spider = await probe(go, **settings)
    assert spider.seconds == pytest.approx(3, rel=0.05)
    assert len(windows(samples)) > 20
    assert max(windows(samples)) <= 1.25 * 2 * MiB


@measured
@pytest.mark.parametrize("rate", [32 * KiB, 256 * KiB])
async def test_a_low_limit_is_kept_smoothly_too(probe, rate):
    """One read of the network has more bytes than a second may bring."""
    samples = []

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/file/x?size={2 * rate}"
        handle = await fetch("a", url, base_url=response, rate_limit=rate)
        sampling = asyncio.ensure_future(sample(handle, samples))
        spider.seconds = await timed(handle)
        sampling.cancel()

    assert (await probe(go)).seconds == pytest.approx(2, rel=0.05)
    assert max(windows(samples)) <= 1.25 * rate


@measured
@pytest.mark.parametrize(("own", "overall"), [(1, 8), (8, 1), (1, 1)])
async def test_the_slower_one_of_two_limits_wins(probe, own, overall):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/file/x?size={2 * MiB}"
        handle = await fetch("a", url, base_url=response, rate_limit=own * MiB)
        spider.seconds = await timed(handle)

    spider = await probe(go, **{OVERALL: overall * MiB})
    assert spider.seconds == pytest.approx(2, rel=0.05)


@measured
@pytest.mark.parametrize(
    ("options", "settings"),
    [({"rate_limit": 2 * MiB}, {}), ({}, {OVERALL: 2 * MiB})],
    ids=["own", "overall"],
)
async def test_transfers_under_one_limit_get_the_same_share(probe, options, settings):
    async def go(spider, response):
        urls = [f"/file/{name}?size={2 * MiB}" for name in "xy"]
        fetch = spider.background_fetch.fetch
        if options:
            handles = [await fetch("a", urls, base_url=response, **options)]
        else:
            handles = [await fetch(url, url, base_url=response) for url in urls]
        timing = asyncio.ensure_future(timed(*handles))
        first, second = (record for handle in handles for record in handle.records)
        await until(lambda: first.downloaded + second.downloaded >= 2 * MiB)
        spider.share = first.downloaded / (first.downloaded + second.downloaded)
        spider.seconds = await timing

    spider = await probe(go, **settings)
    assert spider.share == pytest.approx(0.5, abs=0.05)
    assert spider.seconds == pytest.approx(2, rel=0.05)


@measured
async def test_one_that_has_a_lower_limit_leaves_the_rest_to_the_others(probe):
    async def go(spider, response):
        fetch, url = spider.background_fetch.fetch, f"/file/x?size={8 * MiB}"
        low = await fetch("a", url, base_url=response, rate_limit=256 * KiB)
        high = await fetch("b", url, base_url=response)
        await until(lambda: high.records[0].downloaded >= 3 * MiB)
        spider.stored = low.records[0].downloaded
        await low.abort()
        await high.abort()

    spider = await probe(go, **{OVERALL: 2 * MiB})
    rest = 2 * MiB - 256 * KiB
    assert spider.stored == pytest.approx(3 * MiB / rest * 256 * KiB, rel=0.1)


@measured
async def test_bytes_are_counted_as_they_come_over_the_wire(probe):
    """Those of a coded body, not what it decodes to."""
    wire = len(gzip.compress(body("x", 20_000) * 200))
    assert wire < 100_000

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = "/gzip/x?size=20000&repeat=200"
        handle = await fetch("a", url, base_url=response, rate_limit=wire // 2)
        spider.seconds = await timed(handle)
        assert handle.downloaded == 4_000_000

    assert (await probe(go)).seconds == pytest.approx(2, rel=0.05)


# -- stalls ------------------------------------------------------------------------


async def test_our_own_waiting_is_no_stall_of_the_server(probe, site):
    """The network is read only every second here, for 256 KiB; it must not break."""

    async def go(spider, response):
        fetch, url = spider.background_fetch.fetch, f"/file/x?size={1280 * KiB}"
        handle = await fetch("a", url, base_url=response, rate_limit=256 * KiB)
        spider.seconds = await timed(handle)

    assert (await probe(go, BGFETCH_STALL_TIMEOUT=0.4)).seconds > 4.5
    assert len(site.of("/file/x")) == 1


async def test_a_pause_of_many_seconds_between_two_reads_is_none_either(probe, site):
    async def go(spider, response):
        fetch, url = spider.background_fetch.fetch, f"/file/x?size={8 * MiB}"
        handle = await fetch("a", url, base_url=response, rate_limit=64 * KiB)
        await until(lambda: handle.records[0].downloaded >= 256 * KiB)
        await handle.abort()

    await probe(go, BGFETCH_STALL_TIMEOUT=1)
    assert len(site.of("/file/x")) == 1


async def test_a_stall_of_the_server_is_seen_under_a_limit(fetched, caplog):
    data = body("file", 50_000)
    first = head("Content-Length: 50000", 'ETag: "e"') + data[:20_000]
    with misbehaving(caplog) as wrong:
        url = wrong.at("/x", stalls(first), honest(data))
        limit = {"rate_limit": 100_000}
        handle = await fetched(url, options=limit, BGFETCH_STALL_TIMEOUT=0.5, **FAST)
        assert wrong.offsets("/x") == [0, 20_000]
    assert handle.records[0].path.read_bytes() == data


# -- waits that end at once ----------------------------------------------------------


@measured
@pytest.mark.parametrize("settings", [{}, {OVERALL: 1}])
@pytest.mark.parametrize("how", ["abort", "pause"])
async def test_a_wait_ends_at_once(probe, how, settings):
    """Each of them waits for seconds: there is one byte a second for all."""

    async def go(spider, response):
        urls = [f"/file/{n}?size={MiB}" for n in range(4)]
        options = {} if settings else {"rate_limit": 1}
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", urls, base_url=response, **options)
        for record in handle.records:
            await record.response_ready
        started = time.monotonic()
        await getattr(handle, how)()
        await until(lambda: "active" not in [one.state for one in handle.records])
        assert time.monotonic() - started < 0.3
        await handle.abort()

    await probe(go, **settings)


async def test_a_spider_that_closes_does_not_wait(probe):
    async def go(spider, response):
        fetch, url = spider.background_fetch.fetch, f"/file/x?size={MiB}"
        handle = await fetch("a", url, base_url=response, rate_limit=1)
        await handle.records[0].response_ready
        closing = spider.crawler.engine.close_spider_async(reason="enough")
        spider.closing = asyncio.ensure_future(closing)

    await asyncio.wait_for(probe(go), 10)


@measured
async def test_one_that_is_cut_leaves_its_share_to_the_others(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/file/x?size={2 * MiB}"
        handle = await fetch("a", url, base_url=response)
        others = [
            await fetch(f"b{n}", url.replace("x", str(n)), base_url=response)
            for n in range(6)
        ]
        for other in others:
            await other.records[0].response_ready
        await asyncio.gather(*(other.abort() for other in others))
        left = 2 * MiB - handle.records[0].downloaded
        assert await timed(handle) == pytest.approx(left / MiB, rel=0.1)

    await probe(go, **{OVERALL: MiB})


# -- where a limit is said -----------------------------------------------------------


SIZE, RATE = 1_200_000, 300_000


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_limit_survives_a_kill(process, site, grouped):
    it = process()
    url = site.url(f"/file/x?size={SIZE}")
    one = {"id": "a", "requests": 1 if grouped else url, "rate_limit": RATE}
    it.start(**({"grouped": [(url, one)]} if grouped else {"fetch": [one]}))
    await half_way(it, RATE // 2)
    await it.kill()
    [kept] = it.unfinished()
    it.start()
    await until(lambda: it.events("success"))
    seconds = time.monotonic() - site.at(site.of("/file/x")[1])
    assert seconds > 0.95 * (SIZE - kept) / RATE > 1
    assert await it.ended() == 0


async def test_the_registration_tells_its_limit(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        limited = await fetch("a", "/file/x", base_url=response, rate_limit=5000)
        free = await fetch("b", "/file/x", base_url=response)
        assert (limited.rate_limit, free.rate_limit) == (5000, 0)

    await probe(go)


async def test_grouped_requests_say_a_limit_too(crawl):
    async def go(spider, response):
        spider.started = time.monotonic()
        group = {"id": "a", "requests": 1, "rate_limit": 200_000}
        return [spider.request(response, "/file/x?size=200000", group)]

    spider = await crawl(go)
    assert time.monotonic() - spider.started > 0.9
    assert spider.handle().rate_limit == 200_000


async def test_a_limit_that_a_later_request_says_holds_at_once(crawl, site):
    async def go(spider, response):
        spider.started = time.monotonic()
        url = f"/slow/x?size={MiB}&rate={MiB}"
        spider.crawler.engine.crawl(spider.request(response, url, "a"))
        await until(lambda: site.sent["/slow/x"])
        group = {"id": "a", "rate_limit": 256 * KiB}
        return [spider.request(response, "/file/y", group)]

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    assert time.monotonic() - spider.started > 2
    assert len(site.of("/slow/x")) == 1


BAD = [-1, True, "5", 1.5, None, 2**63]


@pytest.mark.parametrize("value", BAD)
async def test_an_unusable_rate_limit_is_refused(probe, value):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        message = r"^rate_limit is a number of bytes per second \(0 for none\): give "
        with pytest.raises(BadRequestError, match=message):
            await fetch("a", "/file/x", base_url=response, rate_limit=value)
        assert await spider.background_fetch.get_ids() == []

    assert (await probe(go)).names() == []


@pytest.mark.parametrize("value", [-1, True, "fast", 1.5])
def test_an_unusable_setting_is_refused(value):
    message = f"the setting {OVERALL} = {value!r} cannot be used: it must be a whole"
    with pytest.raises(SettingsError, match=message):
        Settings.read(BaseSettings({OVERALL: value}))
