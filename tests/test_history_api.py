"""``manager.history``: what has settled, in this run and in earlier ones (24, 99)."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import pytest

from scrapy_bgfetch import verify
from scrapy_bgfetch.exceptions import BadRequestError, InvalidStateError
from tests.support.crawl import Probe, run
from tests.support.crawl_process import until
from tests.support.manifests import valid


async def fetched(spider, response, id, path="/file/x"):
    handle = await spider.background_fetch.fetch(id, path, base_url=response)
    await handle.settled()
    await until(lambda: not handle.records_available, 10)
    return handle


async def test_the_last_settled_is_the_first_and_active_ones_are_not_there(probe):
    async def go(spider, response):
        history = spider.background_fetch.history
        assert await history() == []
        handles = [await fetched(spider, response, id) for id in "aba"]
        active = await spider.background_fetch.fetch("c", "/silent", base_url=response)
        assert await history() == handles[::-1]
        assert await history(limit=2) == handles[:0:-1]
        await active.abort()
        await active.settled()
        assert (await history())[0] is active

    await probe(go)


async def test_it_has_failures_and_aborts_too(probe):
    async def go(spider, response):
        await fetched(spider, response, "a", "/status/404")
        (handle,) = await spider.background_fetch.history()
        assert (handle.result, handle.failure_reason) == ("failure", "bad-status")

    await probe(go)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2", True, None, 2**63])
async def test_a_limit_that_is_no_number_of_them_is_refused(probe, limit):
    async def go(spider, response):
        with pytest.raises(BadRequestError, match="limit"):
            await spider.background_fetch.history(limit=limit)

    await probe(go)


async def test_those_of_earlier_runs_have_records_and_manifests(probe, site, tmp_path):
    async def first(spider, response):
        await fetched(spider, response, "a")
        await fetched(spider, response, "b", ["/file/y", "/status/404"])

    await probe(first)
    asked = len(site.seen)

    async def second(spider, response):
        b, a = await spider.background_fetch.history()
        assert (a.id, a.result, b.id, b.failure_reason) == (
            *("a", "success", "b"),
            "bad-status",
        )
        assert not a.records_available
        with pytest.raises(InvalidStateError):
            await a.match("/file/x")
        assert await a.settled() is a
        assert await a.abort() is False
        with pytest.raises(InvalidStateError):
            await a.pause()
        await a.click()
        for handle in (a, b):
            manifest = valid(json.loads(json.dumps(await handle.manifest())))
            assert verify(manifest, tmp_path / "bgfetch" / "files").ok
        assert a.records[0].path.stat().st_size == 1000
        response = await a.records[0].response_ready
        assert (response.status, response.size) == (200, 1000)
        assert await spider.background_fetch.get_ids() == []

    spider = await probe(second)
    assert [one.path for one in site.seen[asked:]] == ["/page"]
    assert spider.names() == ["click"]


async def test_one_that_somebody_has_is_the_same_object_however_many_there_are(probe):
    """Behaviour 24; those that nobody has do not stay in memory."""

    async def first(spider, response):
        for number in range(12):
            await fetched(spider, response, str(number))

    await probe(first)

    async def second(spider, response):
        history = spider.background_fetch.history
        at_once = await asyncio.gather(history(), history())
        assert at_once[0] == at_once[1]
        assert len(at_once[0]) == 12
        oldest = at_once[0][-1]
        del at_once
        gc.collect()
        assert (await history())[-1] is oldest

    await probe(second)


async def test_another_spider_has_a_history_of_its_own(probe, settings, site):
    async def first(spider, response):
        await fetched(spider, response, "a")

    await probe(first)

    class Other(Probe):
        name = "other"

    async def second(spider, response):
        assert await spider.background_fetch.history() == []

    await run(Other, settings(), page=site.url("/page"), go=second)


async def test_what_was_forgotten_is_not_there(probe):
    """BGFETCH_HISTORY; the files stay."""
    paths = []

    async def first(spider, response):
        for number in range(3):
            handle = await fetched(spider, response, str(number))
            paths.extend(record.path for record in handle.records)

    await probe(first, BGFETCH_HISTORY=1)

    async def second(spider, response):
        (left,) = await spider.background_fetch.history()
        assert left.id == "2"

    await probe(second, BGFETCH_HISTORY=1)
    assert all(Path(path).exists() for path in paths)
