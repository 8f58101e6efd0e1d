import scrapy


class CoversSpider(scrapy.Spider):
    name = "covers"
    start_urls = ["http://books.toscrape.com/"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    async def parse(self, response):
        covers = response.css(".product_pod img::attr(src)").getall()
        await self.background_fetch.fetch("covers", covers, base_url=response)
