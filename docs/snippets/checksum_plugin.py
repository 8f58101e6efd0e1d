import asyncio
import hashlib
from pathlib import Path

import scrapy
from scrapy_bgfetch import hookimpl


class Checksums:
    """Refuses web pages, sorts files by type and writes a checksum beside each."""

    @hookimpl
    def bgfetch_response_started(self, record, response):
        kind = response.headers.get("Content-Type", b"").decode("latin-1")
        if kind.startswith("text/html"):
            raise ValueError(f"{record.url} is a web page, not a file")

    @hookimpl
    def bgfetch_file_name(self, record, response):
        kind = response.headers.get("Content-Type", b"").decode("latin-1")
        folder = kind.partition("/")[0]
        name = record.url.rpartition("/")[2]
        return f"{folder}/{name}" if folder else None

    @hookimpl
    async def bgfetch_record_settled(self, record):
        if not record.failure_reason:
            await asyncio.to_thread(write_checksum, record.path)


def write_checksum(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while data := file.read(1024 * 1024):
            digest.update(data)
    path.with_name(f"{path.name}.sha256").write_text(digest.hexdigest())


class EpisodeSpider(scrapy.Spider):
    name = "checksums"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_PLUGINS": [Checksums],
    }

    async def parse(self, response):
        group = await self.background_fetch.fetch(
            "ep-5",
            response.css("a.file::attr(href), a.page::attr(href)").getall(),
            base_url=response,
        )
        await group.settled()
        for record in group.records:
            yield {
                "url": record.url,
                "reason": str(record.failure_reason),
                "path": str(record.path),
            }
