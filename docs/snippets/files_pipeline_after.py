import scrapy


class EpisodeSpider(scrapy.Spider):
    name = "background_fetch"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_FILES_STORE": "files",
        "BGFETCH_DIR": "bgfetch",
    }

    async def parse(self, response):
        group = await self.background_fetch.get("ep-5")
        if group is None:
            group = await self.background_fetch.fetch(
                "ep-5",
                response.css("a.file::attr(href)").getall(),
                base_url=response,
            )
        await group.settled()
        yield {
            "title": response.css("h1::text").get(),
            "files": [
                {"url": record.url, "path": str(record.path)}
                for record in group.records
                if not record.failure_reason
            ],
        }
