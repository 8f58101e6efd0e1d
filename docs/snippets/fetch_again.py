from datetime import timedelta

import scrapy


class DailySpider(scrapy.Spider):
    name = "daily"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}
    fresh_for = 6 * 3600

    async def parse(self, response):
        group = await self.background_fetch.fetch(
            "ep-5",
            response.css("a.file::attr(href)").getall(),
            base_url=response,
            if_exists="keep",
            skip_if_fresh=timedelta(seconds=float(self.fresh_for)),
            revalidate=True,
        )
        await group.settled()
        for record in group.records:
            yield {
                "url": record.url,
                "path": str(record.path),
                "not_modified": record.not_modified,
            }
