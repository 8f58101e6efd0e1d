"""Handlers of signals, good ones and bad ones."""

from __future__ import annotations

import asyncio

from twisted.internet import defer

from scrapy_bgfetch import signals
from tests.support.crawl_process import until
from tests.support.plugins import fetching


def connect(spider, name, handler):
    """Connect a handler for as long as the spider lives: signals hold none."""
    vars(spider).setdefault("handlers", []).append(handler)
    spider.crawler.signals.connect(handler, getattr(signals, f"bgfetch_{name}"))


def handling(name, handler, *paths, **options):
    """Return what connects a handler, then fetches to the end of the handlers."""

    async def go(spider, response):
        connect(spider, name, handler)
        await fetching(*(paths or ["/file/x"]), **options)(spider, response)
        await until(lambda: not spider.handle.records_available, 10)

    return go


def raises(*_):
    raise RuntimeError("a bad handler")


async def raises_later(*_):
    await asyncio.sleep(0)
    raise RuntimeError("a bad handler")


def fails(*_):
    return defer.fail(RuntimeError("a bad handler"))


async def is_cancelled(*_):
    raise asyncio.CancelledError


BAD = [raises, raises_later, fails, is_cancelled]
