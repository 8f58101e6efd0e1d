import scrapy


class EpisodeSpider(scrapy.Spider):
    name = "files_pipeline"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {
        "ITEM_PIPELINES": {"scrapy.pipelines.files.FilesPipeline": 1},
        "FILES_STORE": "files",
    }

    def parse(self, response):
        urls = response.css("a.file::attr(href)").getall()
        yield {
            "title": response.css("h1::text").get(),
            "file_urls": [response.urljoin(url) for url in urls],
        }
