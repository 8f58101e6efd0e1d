"""Records over several connections, from a server that knows what it sent."""

from __future__ import annotations

import pytest

from tests.support.crawl import Probe, run
from tests.support.limited import Limited
from tests.support.segmented import FOUR, LEAST, SIZE


@pytest.fixture(autouse=True)
def least(monkeypatch):
    monkeypatch.setattr("scrapy_bgfetch.perform.segments.LEAST", LEAST)


@pytest.fixture
def server():
    server = Limited().start()
    yield server
    server.stop()


@pytest.fixture
def crawled(server, settings):
    """Fetch from the server; ``meanwhile`` gets spider and registration."""

    async def start(meanwhile=None, *, size=SIZE, name="f", options=FOUR, **more):
        async def go(spider, response):
            fetch = spider.background_fetch.fetch
            handle = await fetch("a", server.url(name, size), **options)
            spider.handle = handle
            if meanwhile is not None:
                await meanwhile(spider, handle)
            await handle.settled()
            spider.manifest = await handle.manifest()

        page = server.url("page", 0)
        return await run(Probe, settings(**more), page=page, go=go)

    return start
