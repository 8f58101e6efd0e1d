"""BGFETCH_HISTORY: what the state remembers is bounded, files are not deleted."""

from __future__ import annotations

import asyncio

import pytest

from scrapy_bgfetch import extension
from tests.support.grouped import Grouped


@pytest.mark.parametrize(("history", "left"), [(2, 2), (0, 5)])
async def test_the_oldest_are_forgotten_when_the_spider_has_finished(
    process, site, tmp_path, history, left
):
    """Behaviours 205, 227."""
    it = process(BGFETCH_HISTORY=history)
    url = site.url("/file/x")
    await it.run(fetch=[{"id": str(n), "requests": url} for n in range(5)])
    ended = [id for _, id, _ in it.ends()]
    assert len(ended) == 5
    kept = it.rows("SELECT id FROM registrations")
    assert sorted(id for (id,) in kept) == sorted(ended[-left:])
    assert it.rows("SELECT count(*) FROM records") == [(left,)]
    assert len(list((tmp_path / "bgfetch" / "files").glob("*/*"))) == 5


async def test_responses_that_are_still_to_be_handled_are_not_forgotten(
    crawl, monkeypatch
):
    """Their records stay as long as a callback may come."""
    monkeypatch.setattr(extension, "_FORGET_INTERVAL", 0.05)

    class Slow(Grouped):
        async def keep(self, response):
            await asyncio.sleep(0.1)
            self.results.append(response)

    async def go(spider, response):
        return [
            spider.request(response, f"/file/{n}", {"id": str(n), "requests": 1})
            for n in range(20)
        ]

    settings = {"SCRAPER_SLOT_MAX_ACTIVE_SIZE": 1, "CONCURRENT_REQUESTS": 1}
    spider = await crawl(go, Slow, BGFETCH_HISTORY=1, **settings)
    assert spider.failures == []
    assert len(spider.results) == 20
