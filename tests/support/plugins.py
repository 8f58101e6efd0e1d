"""Plug-ins that note what they were called with."""

from __future__ import annotations

import asyncio

from scrapy_bgfetch import (
    hookimpl,
)


class Recorder:
    """Notes each call of each hook."""

    def __init__(self):
        self.calls = []

    def __deepcopy__(self, memo):
        return self  # a crawler copies its settings, and the objects in them

    def names(self):
        return [name for name, _ in self.calls]

    def of(self, name):
        return [arguments for called, arguments in self.calls if called == name]

    @hookimpl
    def bgfetch_register(self, registration):
        self.calls.append(("register", (registration,)))

    @hookimpl
    def bgfetch_file_name(self, registration, record, response):
        self.calls.append(("file_name", (registration, record, response)))

    @hookimpl
    def bgfetch_response_started(self, registration, record, response):
        self.calls.append(("response_started", (registration, record, response)))

    @hookimpl
    def bgfetch_record_settled(self, registration, record):
        self.calls.append(("record_settled", (registration, record)))

    @hookimpl
    def bgfetch_settled(self, registration):
        self.calls.append(("settled", (registration,)))


class AsyncRecorder(Recorder):
    """The same with coroutines, which note only at their end."""

    @hookimpl
    async def bgfetch_register(self, registration):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_register(self, registration)

    @hookimpl
    async def bgfetch_file_name(self, registration, record, response):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_file_name(self, registration, record, response)

    @hookimpl
    async def bgfetch_response_started(self, registration, record, response):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_response_started(self, registration, record, response)

    @hookimpl
    async def bgfetch_record_settled(self, registration, record):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_record_settled(self, registration, record)

    @hookimpl
    async def bgfetch_settled(self, registration):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_settled(self, registration)


def fetching(*paths, **options):
    """Return what fetches these paths and waits for the end."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", paths, base_url=response, **options
        )
        await spider.handle.settled()

    return go


def stats_of(spider):
    return spider.crawler.stats.get_stats()
