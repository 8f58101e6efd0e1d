import scrapy


class ResumeSpider(scrapy.Spider):
    name = "resume"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    async def parse(self, response):
        group = await self.background_fetch.fetch(
            "ep-5",
            response.css("a.file::attr(href)").getall(),
            base_url=response,
            if_exists="keep",
        )
        await group.settled()
        yield {"id": group.id, "result": str(group.result), "bytes": group.downloaded}
