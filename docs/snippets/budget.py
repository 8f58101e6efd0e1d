import scrapy
from scrapy_bgfetch import FailureReason

MiB = 1024 * 1024


class BudgetSpider(scrapy.Spider):
    name = "budget"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    async def parse(self, response):
        group = await self.background_fetch.fetch(
            "ep-5",
            response.css("a.file::attr(href)").getall(),
            base_url=response,
            download_total=1 * MiB,
        )
        await group.settled()
        if group.failure_reason == FailureReason.DOWNLOAD_TOTAL_EXCEEDED:
            self.logger.warning(
                "%s needs more than %d bytes", group.id, group.download_total
            )
        for record in group.records:
            yield {
                "url": record.url,
                "reason": str(record.failure_reason),
                "why": record.error,
            }
