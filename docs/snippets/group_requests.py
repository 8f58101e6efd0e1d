import scrapy

MiB = 1024 * 1024


class EpisodeSpider(scrapy.Spider):
    name = "episode"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    def parse(self, response):
        urls = response.css("a.file::attr(href)").getall()
        group = {
            "id": "ep-5",
            "requests": len(urls),
            "download_total": 60 * MiB,
            "title": "Episode 5: Interesting things.",
        }
        for url in urls:
            yield response.follow(
                url,
                callback=self.parse_file,
                errback=self.failed,
                meta={"bgfetch": group},
            )

    def parse_file(self, response):
        yield {
            "url": response.url,
            "path": str(response.path),
            "bytes": response.size,
        }

    def failed(self, failure):
        yield {
            "url": failure.request.url,
            "error": type(failure.value).__name__,
            "why": str(failure.value),
        }
