"""Transports without a crawl around them."""

from __future__ import annotations

from types import SimpleNamespace

from scrapy.settings import Settings

from scrapy_bgfetch.network import Network
from scrapy_bgfetch.transport.aiohttp_client import AiohttpTransport


def new_transport(*, stall_timeout: float, timeout: float) -> AiohttpTransport:
    """Return a transport that waits so many seconds; whoever takes it closes it."""
    crawler = SimpleNamespace(settings=Settings({"DOWNLOAD_TIMEOUT": timeout}))
    network = Network.from_crawler(crawler)
    return AiohttpTransport(network, stall_timeout=stall_timeout)
