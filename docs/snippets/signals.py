import scrapy
from scrapy_bgfetch import signals


class SignalsSpider(scrapy.Spider):
    name = "signals"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.downloaded, signals.bgfetch_success)
        crawler.signals.connect(spider.failed, signals.bgfetch_fail)
        return spider

    async def parse(self, response):
        await self.background_fetch.fetch(
            "ep-5",
            response.css("a.file::attr(href)").getall(),
            base_url=response,
            title="Episode 5",
        )

    async def downloaded(self, registration, event):
        await event.update_ui(title=f"{registration.title}: ready to listen")
        for record in registration.records:
            self.logger.info("Saved %s", record.path)

    def failed(self, registration):
        self.logger.error("%s failed: %s", registration.id, registration.failure_reason)
