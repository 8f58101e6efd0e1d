import scrapy
from scrapy_bgfetch import hookimpl


class NoWebPages:
    """Refuses a web page that came in place of a file, whatever its type says."""

    @hookimpl
    def bgfetch_body_complete(self, record, response):
        with response.path.open("rb") as file:
            start = file.read(100).lstrip().lower()
        if start.startswith((b"<html", b"<!doctype html")):
            raise ValueError(f"{record.url} is a web page")


class VerifiedSpider(scrapy.Spider):
    name = "verified"
    start_urls = ["http://podcast.example/SHA256SUMS"]
    custom_settings = {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_PLUGINS": [NoWebPages],
    }

    async def parse(self, response):
        lines = [line.split() for line in response.text.splitlines()]
        group = await self.background_fetch.fetch(
            "ep-5",
            [name for digest, name in lines],
            base_url=response,
            integrity=[{"sha256": digest} for digest, name in lines],
        )
        await group.settled()
        for record in group.records:
            yield {
                "url": record.url,
                "reason": str(record.failure_reason),
                "why": record.error,
                "sha256": record.checksums.get("sha256"),
            }
