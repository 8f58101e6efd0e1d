"""The spiders that are compared, run as ``python -m benchmarks.spiders``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.utils.misc import load_object

_OURS = "benchmarks.bgfetch_spiders"
_BARE = "benchmarks.bare_spiders"
_PIPELINE = "benchmarks.pipeline_spiders"
_PLAIN = "benchmarks.plain_spiders"
# Only the module of one is imported: the others must not pay for what ours imports.
SPIDERS = {
    "bgfetch": f"{_OURS}.BgfetchSpider",
    "bgfetch-each": f"{_OURS}.BgfetchEachSpider",
    "bgfetch-loop": f"{_OURS}.BgfetchLoopSpider",
    "bgfetch-grouped": f"{_OURS}.BgfetchGroupedSpider",
    "bgfetch-checksum": f"{_OURS}.BgfetchChecksumSpider",
    "bgfetch-power": f"{_OURS}.BgfetchPowerSpider",
    "bgfetch-progress": f"{_OURS}.BgfetchProgressSpider",
    "bgfetch-quiet": f"{_OURS}.BgfetchQuietSpider",
    "bgfetch-slow-disk": f"{_OURS}.BgfetchSlowDiskSpider",
    "bgfetch-4": f"{_OURS}.Bgfetch4Spider",
    "files-pipeline": f"{_PIPELINE}.FilesPipelineSpider",
    "files-aiohttp": f"{_PIPELINE}.FilesPipelineAiohttpSpider",
    "plain-scrapy": f"{_PLAIN}.PlainSpider",
    "plain-saving": f"{_PLAIN}.PlainSavingSpider",
    "scrapy-aiohttp": f"{_BARE}.BareSpider",
    "scrapy-aiohttp-state": "benchmarks.bare_state_spiders.BareStateSpider",
}


def common_settings(concurrency: int) -> dict[str, Any]:
    """Return the settings that are the same for all."""
    return {
        "CONCURRENT_REQUESTS": concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": concurrency,
        "LOG_LEVEL": "WARNING",
        "TELNETCONSOLE_ENABLED": False,
    }


def main() -> None:
    """Crawl with the spider that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("spider", choices=SPIDERS)
    parser.add_argument("urls", type=Path, help="a file with one URL a line")
    parser.add_argument("out", type=Path)
    parser.add_argument("stamp", type=Path, help="a file to make when done")
    parser.add_argument("concurrency", type=int)
    given = parser.parse_args()
    spider = load_object(SPIDERS[given.spider])
    settings = {
        **common_settings(given.concurrency),
        **spider.settings_for(given.out, given.concurrency),
    }
    process = AsyncCrawlerProcess(settings)
    urls = tuple(given.urls.read_text().split())
    process.crawl(spider, urls=urls, stamp=given.stamp)
    process.start()


if __name__ == "__main__":
    main()
