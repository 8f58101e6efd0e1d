"""The spider: one background fetch for each episode of a feed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podcast_plugins.manifest import manifests_folder, read_manifest
from scrapy import Request
from scrapy.spiders import XMLFeedSpider

from podcast.items import NAMESPACES, Episode, read_episode
from scrapy_bgfetch.signals import bgfetch_abort, bgfetch_fail, bgfetch_success

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from scrapy.selector import Selector
    from twisted.python.failure import Failure
    from typing_extensions import Self

    from scrapy_bgfetch import BackgroundFetchManager, BackgroundFetchRegistration


class EpisodesSpider(XMLFeedSpider):
    """Downloads the audio, the artwork and the transcript of each episode.

    ``-a feed=URL`` reads any RSS feed instead of the demo site's, ``-a limit=N``
    takes its first N episodes only.
    """

    name = "episodes"
    namespaces = NAMESPACES
    background_fetch: BackgroundFetchManager

    def __init__(self, feed: str = "", limit: str = "0", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feed = feed
        self.limit = int(limit) if limit.isdecimal() else 0
        self.manifests = Path()
        self.earlier: list[dict[str, Any]] = []
        self.going_on: list[BackgroundFetchRegistration] = []
        self.ended: set[str] = set()
        self.problem = _problem(feed, limit)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Give each real feed a folder of its own, and its host some rest."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        if spider.feed:
            folder = Path(crawler.settings["FEEDS_DATA"]) / feed_folder(spider.feed)
            for name, value in {
                "BGFETCH_DIR": str(folder),
                "DOWNLOAD_DELAY": 0.5,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 2,
            }.items():
                crawler.settings.set(name, value, priority="spider")
        spider.manifests = manifests_folder(crawler.settings)
        for signal in (bgfetch_success, bgfetch_fail, bgfetch_abort):
            crawler.signals.connect(spider.remember, signal=signal)
        return spider

    def remember(self, registration: Any) -> None:
        """Note what has ended in this run: its manifest may not be there yet."""
        self.ended.add(registration.id)

    async def start(self) -> AsyncIterator[Request]:
        """Ask for the feed."""
        if self.problem:
            return
        yield Request(self.feed, errback=self.feed_failed)

    def feed_failed(self, failure: Failure) -> None:
        """Remember for the end of the crawl why there is nothing to show."""
        self.problem = f"The feed {self.feed} could not be read: {failure.value}"

    def parse_node(self, response: Response, selector: Selector) -> Episode | None:  # noqa: ARG002
        """Return the episode of an item."""
        return read_episode(selector)

    async def parse_nodes(self, response: Response, nodes: Iterable[Selector]) -> None:
        """Register the episodes. A coroutine, because ``fetch`` is one."""
        found = 0
        for node in nodes:
            episode = self.parse_node(response, node)
            if episode is None:
                continue
            found += 1
            await self.take(episode, response)
            if found == self.limit:
                return
        if not found:
            self.problem = f"There is no episode with a file in {self.feed}"

    async def take(self, episode: Episode, response: Response) -> None:
        """Register an episode, unless an earlier run has begun or finished it."""
        if active := await self.background_fetch.get(episode.id):
            self.going_on.append(active)
        elif episode.id in self.ended:
            return
        elif manifest := read_manifest(self.manifests, episode.id):
            self.earlier.append(manifest)
        else:
            await self.register(episode, response)

    async def register(self, episode: Episode, response: Response) -> None:
        """Start the background fetch of an episode."""
        await self.background_fetch.fetch(
            episode.id,
            [response.urljoin(url) for url in episode.urls],
            title=episode.title,
            icons=[{"src": response.urljoin(episode.artwork)}]
            if episode.artwork
            else [],
            download_total=episode.download_total,
        )


def _problem(feed: str, limit: str) -> str:
    if feed and urlsplit(feed).scheme not in {"http", "https"}:
        return f"feed must be an http or https address, not {feed!r}"
    if not limit.isdecimal():
        return f"limit must be a whole number, not {limit!r}"
    return ""


def feed_folder(feed: str) -> str:
    """Return the name of the folder for what comes from a feed."""
    digest = hashlib.sha256(feed.encode()).hexdigest()[:10]
    return f"{urlsplit(feed).hostname}-{digest}"
