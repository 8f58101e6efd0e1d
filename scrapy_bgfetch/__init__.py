"""The browser's Background Fetch for Scrapy."""

from scrapy_bgfetch.addon import Addon
from scrapy_bgfetch.events import BackgroundFetchEvent, BackgroundFetchUpdateUIEvent
from scrapy_bgfetch.extension import BackgroundFetchExtension
from scrapy_bgfetch.handler import BackgroundFetchDownloadHandler
from scrapy_bgfetch.hookspecs import hookimpl
from scrapy_bgfetch.manager import BackgroundFetchManager
from scrapy_bgfetch.manifest import verify
from scrapy_bgfetch.middleware import BackgroundFetchMiddleware
from scrapy_bgfetch.model import FailureReason, RecordState, Result
from scrapy_bgfetch.record import BackgroundFetchRecord
from scrapy_bgfetch.registration import BackgroundFetchRegistration
from scrapy_bgfetch.response import BackgroundFetchResponse

__all__ = [
    "Addon",
    "BackgroundFetchDownloadHandler",
    "BackgroundFetchEvent",
    "BackgroundFetchExtension",
    "BackgroundFetchManager",
    "BackgroundFetchMiddleware",
    "BackgroundFetchRecord",
    "BackgroundFetchRegistration",
    "BackgroundFetchResponse",
    "BackgroundFetchUpdateUIEvent",
    "FailureReason",
    "RecordState",
    "Result",
    "hookimpl",
    "verify",
]
