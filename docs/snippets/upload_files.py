from pathlib import Path

import scrapy

FILES = sorted(Path("recordings").glob("*.mp3"))


class UploadSpider(scrapy.Spider):
    name = "upload"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    async def parse(self, response):
        group = await self.background_fetch.fetch(
            "recordings",
            [
                scrapy.Request(response.urljoin(f"/store/{file.name}"), method="PUT")
                for file in FILES
            ],
            body=FILES,
            retry_uploads=True,
        )
        group.onprogress = self.show
        await group.settled()
        for record in group.records:
            yield {"url": record.url, "status": record.status, "sent": record.uploaded}

    def show(self, event):
        group = event.registration
        self.logger.info("%d of %d bytes", group.uploaded, group.upload_total)
