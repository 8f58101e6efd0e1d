"""Starts the demo site for a crawl that was given no feed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.exceptions import NotConfigured

if TYPE_CHECKING:
    from pathlib import Path

    from scrapy.crawler import Crawler
    from typing_extensions import Self


class DemoSiteError(Exception):
    """The demo site did not start; it has said why on stderr."""


class DemoSite:
    """The site as a process of its own.

    It ends when the pipe to its stdin closes, so also when the crawl is killed.
    """

    def __init__(self, process: subprocess.Popen[str], feed: str) -> None:
        self._process = process
        self.feed = feed

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Start the site before anything of an earlier run is resumed from it.

        :raises DemoSiteError: it did not start.
        """
        spider = crawler.spider
        if getattr(spider, "feed", None) != "":
            raise NotConfigured
        settings = crawler.settings
        site = cls.launch(
            settings["PROJECT"],
            settings["DEMO_DATA"],
            settings.getfloat("DEMO_SITE_RATE"),
            settings.getint("DEMO_SITE_PORT"),
        )
        spider.feed = site.feed  # type: ignore[union-attr]
        crawler.signals.connect(site.stop, signal=signals.engine_stopped)
        return site

    @classmethod
    def launch(cls, project: Path, data: Path, rate: float, port: int) -> Self:
        """Start the site and wait until it serves.

        :raises DemoSiteError: it did not start.
        """
        command = [sys.executable, "-m", "podcast.site", "--stop-with-stdin"]
        options = ["--data", str(data), "--rate", str(rate), "--port", str(port)]
        process = subprocess.Popen(  # noqa: S603
            command + options,
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the crawl, which then stops it
        )
        assert process.stdout is not None
        feed = process.stdout.readline().strip()
        if not feed:
            code = process.wait()
            raise DemoSiteError(f"the demo site did not start (exit code {code})")
        return cls(process, feed)

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()
