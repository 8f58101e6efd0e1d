"""What is kept of each background fetch: Python looks for garbage there, all the time.

It took a fifth of the time of 5,000 background fetches when each kept 20 objects.
"""

from __future__ import annotations

import gc

from tests.support.crawl_process import until

_MANY = 50


def known():
    """Return the ids of all objects that are looked at."""
    gc.collect()
    return {id(found) for found in gc.get_objects()}


def new(objects, known):
    """Return how many objects are looked at because of these, each of them too."""
    gc.collect()  # a tuple of what is never looked at is no more looked at either
    left, seen = list(objects), set(known)
    while left:
        found = left.pop()
        if gc.is_tracked(found) and id(found) not in seen:
            seen.add(id(found))
            left += gc.get_referents(found)
    return len(seen) - len(known)


async def ended(spider, response, ids):
    """Return background fetches that have settled."""
    fetch = spider.background_fetch.fetch
    handles = [await fetch(f"id {n}", "/file/x", base_url=response) for n in ids]
    for handle in handles:
        await handle.settled()
    await until(lambda: not any(h.records_available for h in handles), 10)
    return handles


async def test_of_a_background_fetch_that_has_ended_few_objects_are_kept(probe):
    async def go(spider, response):
        await ended(spider, response, range(3))
        before = known()
        handles = await ended(spider, response, range(3, 3 + _MANY))
        assert new(handles, before) < 14 * _MANY

    await probe(go)


async def test_of_a_record_that_waits_few_objects_are_kept(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = await fetch("first", "/silent", base_url=response)
        before = known()
        urls = [f"/silent?{n}" for n in range(_MANY)]
        handle = await fetch("more", urls, base_url=response)
        assert new([handle], before) < 6 * _MANY
        await handle.abort()
        await first.abort()

    await probe(go, BGFETCH_CONCURRENT_RECORDS=1)
