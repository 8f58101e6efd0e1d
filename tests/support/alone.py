"""A crawl in a process of its own, for what one process can do only once.

Takes settings as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from scrapy import Request, Spider
from scrapy.crawler import AsyncCrawlerProcess, CrawlerProcess

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1


class Alone(Spider):
    name = "alone"

    async def start(self):
        for url in self.settings.getlist("PAGES"):
            yield Request(url, meta=self.settings.getdict("META"))

    def parse(self, response):
        self.logger.info("parsed %s", response.url)


def crawl_alone(
    settings: dict[str, Any], *, powerless: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the crawl; its log is on ``stderr``.

    ``powerless`` takes root's right to write where nobody may.
    """
    return subprocess.run(
        [sys.executable, "-m", "tests.support.alone", json.dumps(settings)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        preexec_fn=_drop_override if powerless else None,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def _drop_override() -> None:
    ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE)


def main(said: str) -> None:
    settings = json.loads(said)
    asynchronous = "asyncio" in settings.get("TWISTED_REACTOR", "asyncio")
    process = (AsyncCrawlerProcess if asynchronous else CrawlerProcess)(settings)
    process.crawl(Alone)
    process.start()


if __name__ == "__main__":
    main(sys.argv[1])
