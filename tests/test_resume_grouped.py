"""Grouped requests after a kill: their records and callbacks are found again."""

from __future__ import annotations

import pytest

from tests.support.crawl_process import until
from tests.support.resuming import SIZE, SLOW, half_way, read
from tests.support.site import body


@pytest.mark.parametrize("jobdir", [False, True])
@pytest.mark.parametrize("count", [{"requests": 3}, {}])
async def test_grouped_requests_rejoin_their_records_after_a_kill(
    process, site, jobdir, count
):
    """A spider yields the same requests again: no duplicates, callbacks called."""
    it = process(jobdir=jobdir)
    group = {"id": "a", **count}
    urls = [
        site.url("/file/x"),
        site.url(f"/slow/y?{SLOW}"),
        site.url(f"/slow/z?{SLOW}"),
    ]
    grouped = [(url, group) for url in urls]
    it.start(grouped=grouped)
    await until(lambda: it.events("callback"))
    await half_way(it, records=2)
    await it.kill()
    await it.run(grouped=grouped)
    assert it.ends() == [("success", "a", "")]
    assert it.events("registered") == []
    assert sorted(read(it.events("success"))) == sorted(
        [body("x", 1000), body("y", SIZE), body("z", SIZE)]
    )
    called = [one["url"] for one in it.events("callback")]
    assert sorted(called) == sorted(set(called))
    assert set(called) >= set(urls[1:])
    assert it.events("errback") == []
    assert len(site.of("/file/x")) == 1
    assert all(len(site.of(f"/slow/{name}")) == 2 for name in "yz")
    assert it.parts() == {}


@pytest.mark.parametrize("count", [{"requests": 2}, {}])
async def test_callbacks_are_called_though_the_spider_yields_nothing_again(
    process, site, count
):
    it = process()
    group = {"id": "a", **count}
    urls = [site.url(f"/slow/{name}?{SLOW}") for name in "xy"]
    it.start(grouped=[(url, group) for url in urls])
    await half_way(it, records=2)
    await it.kill()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert sorted(one["url"] for one in it.events("callback")) == urls


async def test_errbacks_are_called_after_a_kill_too(process, site):
    it = process()
    group = {"id": "a", "requests": 2, "download_total": SIZE + 1000}
    urls = [site.url(f"/slow/{name}?{SLOW}&chunked") for name in "xy"]
    grouped = [(url, group) for url in urls]
    it.start(grouped=grouped)
    await half_way(it, records=2)
    await it.kill()
    await it.run(grouped=grouped)
    assert it.ends() == [("fail", "a", "download-total-exceeded")]
    errors = sorted(one["error"] for one in it.events("errback"))
    assert errors == ["AbortError", "DownloadTotalExceeded"]
