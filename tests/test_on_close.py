"""BGFETCH_ON_CLOSE: what an idle spider does about unfinished background fetches."""

from __future__ import annotations

import pytest

from tests.support.resuming import SIZE, SLOW, offset, read
from tests.support.site import body


async def test_wait_is_the_default(process, site):
    it = process()
    url = site.url(f"/slow/x?{SLOW}")
    await it.run(fetch=[{"id": "a", "requests": url}])
    assert it.ends() == [("success", "a", "")]
    assert it.events("closed")[0]["reason"] == "finished"


async def test_suspend_ends_the_crawl_and_the_next_one_goes_on(process, site):
    it = process(BGFETCH_ON_CLOSE="suspend", CLOSESPIDER_TIMEOUT=0)
    url = site.url(f"/slow/x?{SLOW}")
    runs = 1
    await it.run(fetch=[{"id": "a", "requests": url}])
    assert it.ends() == []
    assert it.events("closed")[0]["reason"] == "finished"
    it.settings["BGFETCH_ON_CLOSE"] = "wait"
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]
    asked = [offset(request) for request in site.of("/slow/x")]
    assert asked == sorted(asked)
    assert len(asked) <= 1 + runs


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("count", [{"requests": 2}, {}])
async def test_suspend_leaves_the_callbacks_of_grouped_requests_to_the_next_run(
    process, site, again, count
):
    """Whether the spider yields them again or not."""
    it = process(BGFETCH_ON_CLOSE="suspend")
    urls = [site.url(f"/slow/{name}?{SLOW}") for name in "xy"]
    grouped = [(url, {"id": "a", **count}) for url in urls]
    await it.run(grouped=grouped)
    assert it.ends() == []
    assert it.events("callback", "errback") == []
    it.settings["BGFETCH_ON_CLOSE"] = "wait"
    await it.run(grouped=grouped if again else [])
    assert it.ends() == [("success", "a", "")]
    assert sorted(read(it.events("success"))) == sorted(body(n, SIZE) for n in "xy")
    assert sorted(one["url"] for one in it.events("callback")) == urls
    assert it.events("errback", "registered") == []
