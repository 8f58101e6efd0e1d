"""Spiders that download with Scrapy's files pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scrapy
from scrapy import signals

from benchmarks.downloader import Downloader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self

AIOHTTP_HANDLER = "scrapy.core.downloader.handlers._aiohttp.AiohttpDownloadHandler"
_NO_LIMIT = 0
_GENEROUS = 24 * 60 * 60  # seconds


class FilesPipelineSpider(Downloader):
    """Downloads all URLs as the files of one item."""

    name = "files-pipeline"

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Ask to be told when the item has left the pipeline."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.finished, signals.item_scraped)
        return spider

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:  # noqa: ARG004
        """Return what turns Scrapy's files pipeline on."""
        return {
            "ITEM_PIPELINES": {"scrapy.pipelines.files.FilesPipeline": 1},
            "FILES_STORE": str(out),
            "DOWNLOAD_MAXSIZE": _NO_LIMIT,
            "DOWNLOAD_WARNSIZE": _NO_LIMIT,
            "DOWNLOAD_TIMEOUT": _GENEROUS,
        }

    async def start(self) -> AsyncIterator[Any]:
        """Yield a request without network: old Scrapys lose items of ``start``."""
        yield scrapy.Request("data:,")

    def parse(self, response: Response) -> Iterator[Any]:  # noqa: ARG002
        """Yield the item."""
        yield {"file_urls": list(self.urls)}


class FilesPipelineAiohttpSpider(FilesPipelineSpider):
    """The same, through Scrapy's experimental handler on aiohttp."""

    name = "files-aiohttp"

    @staticmethod
    def settings_for(out: Path, concurrency: int) -> dict[str, Any]:
        """Return what turns Scrapy's files pipeline and that handler on."""
        common = FilesPipelineSpider.settings_for(out, concurrency)
        handlers = dict.fromkeys(("http", "https"), AIOHTTP_HANDLER)
        alone = {"TWISTED_REACTOR_ENABLED": False}  # it needs a running loop
        return {**common, **alone, "DOWNLOAD_HANDLERS": handlers}
