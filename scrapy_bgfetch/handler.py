"""The download handler: attempts go to our transport, the rest where it went before."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from scrapy.exceptions import NotConfigured, NotSupported
from scrapy.utils.defer import maybe_deferred_to_future
from scrapy.utils.misc import build_from_crawler, load_object

from scrapy_bgfetch.extension import BackgroundFetchExtension
from scrapy_bgfetch.network import Network
from scrapy_bgfetch.perform.attempt import AttemptClosed
from scrapy_bgfetch.perform.requests import META_KEY
from scrapy_bgfetch.settings import read_setting
from scrapy_bgfetch.transport.aiohttp_client import AiohttpTransport

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self


class BackgroundFetchDownloadHandler:
    """Sends background downloads through our transport.

    All other requests go, untouched, to the handler of BGFETCH_FALLBACK_HANDLERS
    for their scheme: the one that was there before.
    """

    lazy = False
    for_background_fetch = True

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._built: dict[str, Any] = {}
        self._transport: AiohttpTransport | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make the handler; the one it falls back to is made when it is needed."""
        return cls(crawler)

    async def download_request(self, request: Request) -> Response:
        """Download the request, whoever it belongs to."""
        value = request.meta.get(META_KEY)
        if isinstance(value, dict) and "attempt" in value:
            return await self._attempt(request, value["attempt"])
        return await self._fall_back(request)

    async def close(self) -> None:
        """Close our connections and the handlers that were made."""
        if self._transport is not None:
            await self._transport.close()
        for handler in self._built.values():
            closed = handler.close() if hasattr(handler, "close") else None
            if closed is not None:
                await _awaited(closed)

    async def _attempt(self, request: Request, token: str) -> Response:
        extension = self._crawler.get_extension(BackgroundFetchExtension)
        attempt = extension.attempts.get(token) if extension is not None else None
        if extension is None or attempt is None:
            raise AttemptClosed("the attempt was interrupted")
        if self._transport is None:
            self._transport = AiohttpTransport(
                Network.from_crawler(self._crawler),
                stall_timeout=extension.settings.stall_timeout,
                addresses=extension.settings.addresses,
            )
        return await attempt.answer(request, self._transport)

    async def _fall_back(self, request: Request) -> Response:
        handler = self._fallback(request.url.partition(":")[0].lower())
        if inspect.iscoroutinefunction(handler.download_request):
            answer = handler.download_request(request)
        else:
            answer = handler.download_request(request, self._crawler.spider)
        response: Response = await _awaited(answer)
        return response

    def _fallback(self, scheme: str) -> Any:
        if scheme not in self._built:
            self._built[scheme] = self._build(scheme)
        return self._built[scheme]

    def _build(self, scheme: str) -> Any:
        fallbacks = read_setting(self._crawler.settings, "fallback_handlers")
        path = fallbacks.get(scheme)
        if path is None:
            raise NotSupported(
                f"Unsupported URL scheme '{scheme}': no handler available for that "
                "scheme"
            )
        try:
            return build_from_crawler(load_object(path), self._crawler)
        except NotConfigured as error:
            raise NotSupported(f"Unsupported URL scheme '{scheme}': {error}") from error


async def _awaited(value: Any) -> Any:
    """Await what an old-style or a new-style handler returned."""
    if inspect.isawaitable(value) and not hasattr(value, "addCallback"):
        return await value
    return await maybe_deferred_to_future(value)
