"""Fair shares of BGFETCH_CONCURRENT_RECORDS in real crawls (191, issue 4)."""

from __future__ import annotations

import pytest

from tests.support.crawl_process import until

ONE = {"BGFETCH_CONCURRENT_RECORDS": 1}
HOSTS = ["127.0.0.1", "localhost"]


async def started(spider, site, response, **groups):
    """Fetch so many files of a host for each name, and wait for their ends."""
    fetch, handles = spider.background_fetch.fetch, []
    for name, (host, count) in groups.items():
        urls = [site.url(f"/slow/{name}{n + 1}", host=host) for n in range(count)]
        handles.append(await fetch(name, urls))
    for handle in handles:
        await handle.settled()


async def test_owners_take_turns(probe, site):
    """191"""

    async def go(spider, response):
        await started(spider, site, response, A=(HOSTS[0], 4), B=(HOSTS[1], 3))

    await probe(go, **ONE)
    order = [path.removeprefix("/slow/") for path in site.paths()[1:]]
    assert order == ["A1", "B1", "A2", "B2", "A3", "B3", "A4"]


async def test_one_of_the_same_owner_comes_after_the_other(probe, site):
    """191"""

    async def go(spider, response):
        await started(spider, site, response, A=(HOSTS[0], 4), B=(HOSTS[0], 3))

    await probe(go, **ONE)
    order = [path.removeprefix("/slow/") for path in site.paths()[1:]]
    assert order == ["A1", "A2", "A3", "A4", "B1", "B2", "B3"]


@pytest.mark.parametrize("host", HOSTS)
async def test_a_small_group_does_not_starve_behind_10_000_files(probe, site, host):
    """Not even of the same owner, of which it has its turn."""
    count = 10_000

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        big = await fetch("a", [site.url(f"/file/{n}?size=10") for n in range(count)])
        small = await fetch("b", [site.url(f"/file/b{n}", host=host) for n in range(2)])
        await small.settled()
        states = [record.state for record in big.records]
        spider.before = states.count("settled")
        await big.abort()

    assert (await probe(go)).before < count / 100


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_are_active_than_may_be(probe, site, limit):
    async def go(spider, response):
        fetch, most = spider.background_fetch.fetch, 0
        handles = [
            await fetch(
                f"{host}", [site.url(f"/slow/{n}", host=host) for n in range(6)]
            )
            for host in HOSTS
        ]

        def look():
            nonlocal most
            records = [record for handle in handles for record in handle.records]
            states = [record.state for record in records]
            most = max(most, states.count("active"))
            return states.count("settled") == len(states)

        await until(look)
        assert most == limit

    await probe(go, BGFETCH_CONCURRENT_RECORDS=limit)
