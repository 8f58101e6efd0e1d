import hashlib

import scrapy


class DigestSpider(scrapy.Spider):
    name = "digest"
    start_urls = ["http://podcast.example/ep-5"]
    custom_settings = {"ADDONS": {"scrapy_bgfetch.Addon": 500}}

    async def parse(self, response):
        group = await self.background_fetch.fetch(
            "ep-5",
            ["/ep-5.mp3", "ep-5-artwork.jpg"],
            base_url=response,
            title="Episode 5: Interesting things.",
            download_total=60 * 1024 * 1024,
        )
        record = await group.match("/ep-5.mp3")
        audio = await record.response_ready
        digest = hashlib.sha256()
        async for chunk in audio.iter_body():
            digest.update(chunk)
        yield {
            "url": audio.url,
            "sha256": digest.hexdigest(),
            "path": str(audio.path),
        }
