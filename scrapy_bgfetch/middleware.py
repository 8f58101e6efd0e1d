"""The downloader middleware: grouped requests become records and come back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy.exceptions import IgnoreRequest, NotConfigured
from scrapy.utils.asyncio import is_asyncio_available

from scrapy_bgfetch.exceptions import BackgroundFetchError, RecordError
from scrapy_bgfetch.extension import BackgroundFetchExtension, require_spider
from scrapy_bgfetch.perform.requests import META_KEY
from scrapy_bgfetch.rules.validation import shown_url

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self

logger = logging.getLogger(__name__)


class BackgroundFetchMiddleware:
    """Handles the request meta key ``bgfetch``; all other requests pass."""

    def __init__(self, extension: BackgroundFetchExtension) -> None:
        self._extension = extension

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Find the extension that does the work.

        :raises NotConfigured: it is not enabled, or cannot work here.
        """
        require_spider(crawler)
        if not is_asyncio_available():
            raise NotConfigured  # the extension has said why
        extension = crawler.get_extension(BackgroundFetchExtension)
        if extension is None:
            raise NotConfigured(
                "BackgroundFetchMiddleware needs the extension "
                "scrapy_bgfetch.BackgroundFetchExtension: add it to EXTENSIONS, or use "
                'ADDONS = {"scrapy_bgfetch.Addon": 500}.'
            )
        return cls(extension)

    async def process_request(self, request: Request) -> Request | Response | None:
        """Park a grouped request, or answer one whose record has settled."""
        value = request.meta.get(META_KEY)
        if value is None:
            return None
        if isinstance(value, dict) and "attempt" in value:
            self._check(value["attempt"], request)
            return None
        try:
            if isinstance(value, dict) and "record" in value:
                return await self._extension.grouping.outcome(request)
            return await self._extension.grouping.park(request)
        except RecordError:
            raise
        except BackgroundFetchError as error:
            url = shown_url(request.url)
            logger.error("%s was not grouped: %s", url, error)  # noqa: TRY400
            raise _ignored(error) from error

    def _check(self, token: str, request: Request) -> None:
        """Refuse a hop here already: robots.txt would be asked for before it."""
        attempt = self._extension.attempts.get(token)
        if attempt is not None:
            attempt.check(request)


def _ignored(error: BackgroundFetchError) -> BackgroundFetchError:
    """Return the error as one that Scrapy does not log again, with a traceback."""
    kind = type(error)
    where = {"__module__": kind.__module__}
    ignored = type(kind.__name__, (kind, IgnoreRequest), where)
    return ignored(*error.args)  # type: ignore[no-any-return]
