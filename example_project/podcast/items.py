"""What is known of an episode, and how it is read from a feed."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import frozen

if TYPE_CHECKING:
    from scrapy.selector import Selector

MiB = 1024 * 1024
NAMESPACES = (
    ("itunes", "http://www.itunes.com/dtds/podcast-1.0.dtd"),
    ("podcast", "https://podcastindex.org/namespace/1.0"),
)
EXTRAS_ALLOWANCE = 4 * MiB  # artwork and transcript, whose sizes no feed tells
SMALLEST_AUDIO = 64 * 1024  # feeds that don't know the length say 0 or 1
LONGEST_ID = 60


@frozen
class Episode:
    """An episode as its feed describes it; addresses may be relative."""

    id: str
    title: str
    urls: tuple[str, ...]
    artwork: str | None
    download_total: int


def read_episode(item: Selector) -> Episode | None:
    """Return the episode of an ``<item>``, None when it has no file."""
    audio = _text(item, "enclosure/@url")
    artwork = _text(item, "itunes:image/@href")
    transcript = _text(item, "podcast:transcript/@url")
    urls = tuple(url for url in (audio, artwork, transcript) if _fetchable(url))
    if not urls:
        return None
    title = _text(item, "title")
    guid = _text(item, "guid") or audio or _text(item, "link") or title or urls[0]
    return Episode(
        id=episode_id(guid),
        title=title,
        urls=urls,
        artwork=artwork if _fetchable(artwork) else None,
        download_total=budget(_text(item, "enclosure/@length")),
    )


def _text(item: Selector, path: str) -> str:
    query = path if "@" in path else f"{path}/text()"
    return (item.xpath(query).get() or "").strip()


def _fetchable(url: str) -> bool:
    return bool(url) and urlsplit(url).scheme in {"", "http", "https"}


def episode_id(guid: str) -> str:
    """Return an id for any guid: itself, or a readable part of it and a digest.

    It has letters, digits and hyphens only, and differs when the guids differ.
    """
    short = re.sub(r"[^a-z0-9]+", "-", guid.lower()).strip("-")
    if short == guid and len(short) <= LONGEST_ID:
        return short
    digest = hashlib.sha256(guid.encode()).hexdigest()[:10]
    return f"{short[-LONGEST_ID:].strip('-')}-{digest}".lstrip("-")


def budget(length: str) -> int:
    """Return the download_total for the length that an enclosure claims.

    0, which means no limit, when the feed does not say.
    """
    claimed = int(length) if length.isdecimal() else 0
    return claimed + EXTRAS_ALLOWANCE if claimed >= SMALLEST_AUDIO else 0
