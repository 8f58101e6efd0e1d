"""A body that must start again from its first byte: what the state says meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import ClassVar

from scrapy_bgfetch import hookimpl
from tests.support.site import body


class Witness:
    """Notes what the state has stored whenever a body is about to be read."""

    stored: ClassVar[list[int]] = []

    def __init__(self, path) -> None:
        self._path = path

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings["BGFETCH_DIR"] + "/state.sqlite")

    @hookimpl
    def bgfetch_response_started(self, record):
        state = sqlite3.connect(self._path)
        (stored,) = state.execute("SELECT stored FROM records").fetchone()
        state.close()
        self.stored.append(stored)


async def test_the_state_forgets_the_old_bytes_before_the_new_ones_come(probe, site):
    """Behaviour 49: a kill right now would mix the old body with the new one."""
    Witness.stored.clear()

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=1000000&rate=1000000", base_url=response
        )
        record = handle.records[0]
        while record.downloaded < 300_000:
            await asyncio.sleep(0.01)
        await handle.pause()
        while record.state != "pending":
            await asyncio.sleep(0.01)
        site.etags["x"] = '"changed"'
        await handle.resume()
        await handle.settled()
        assert record.path.read_bytes() == body("x", 1_000_000)
        assert [request.headers.get("Range") for request in site.of("/slow/x")][1]

    await probe(go, BGFETCH_PLUGINS=[Witness])
    assert Witness.stored == [0, 0]
