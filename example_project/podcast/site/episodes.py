"""What the site has to offer, and its files and feed made from that."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from attrs import frozen

from podcast.site.media import write_artwork, write_audio, write_transcript

if TYPE_CHECKING:
    from pathlib import Path

ITUNES = "http://www.itunes.com/dtds/podcast-1.0.dtd"
PODCAST = "https://podcastindex.org/namespace/1.0"
FIRST_DAY = datetime(2025, 1, 6, 6, 0, tzinfo=timezone.utc)
LYING_LENGTH = 6_000_000


@frozen
class Episode:
    """One episode of the site.

    ``redirected``: the feed names its audio under an address that redirects.
    ``understated``: the feed says that its audio is much smaller than it is.
    ``transcript_missing``: the feed names a transcript that is not there.
    """

    number: int
    title: str
    seconds: int
    redirected: bool = False
    understated: bool = False
    transcript_missing: bool = False

    @property
    def slug(self) -> str:
        """Return the name that its files and its guid share."""
        return f"episode-{self.number:02}"


EPISODES = (
    Episode(1, "The harbour at night", 300),
    Episode(2, "Low tide, high hopes", 420, redirected=True),
    Episode(3, "What the gulls know", 360),
    Episode(4, "A lantern for Anna & Bo", 510),
    Episode(5, "Interesting things", 240, redirected=True),
    Episode(6, "The long reef", 450),
    Episode(7, "Nobody wrote this down", 330, transcript_missing=True),
    Episode(8, "Masts", 390, redirected=True),
    Episode(9, "Anchors: a history", 480),
    Episode(10, "Bigger than it said", 400, understated=True),
    Episode(11, "Fog", 280, redirected=True),
    Episode(12, "Ebb", 375),
)


def build_site(folder: Path) -> None:
    """Make all files of the site in a folder; nothing happens when it is there.

    The folder appears only when it is complete.
    """
    if folder.is_dir():
        return
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for episode in EPISODES:
        _write_files(unfinished, episode)
    unfinished.rename(folder)


def _write_files(folder: Path, episode: Episode) -> None:
    name, number, seconds = episode.slug, episode.number, episode.seconds
    write_audio(folder / f"{name}.wav", seconds, number)
    write_artwork(folder / f"{name}.png", number)
    if not episode.transcript_missing:
        write_transcript(folder / f"{name}.vtt", seconds, number)
    published = _published(episode).timestamp()
    for path in folder.glob(f"{name}.*"):
        # The same validators each time the site is made: half-finished
        # downloads go on even when its folder was deleted meanwhile.
        os.utime(path, (published, published))


def _published(episode: Episode) -> datetime:
    return FIRST_DAY + timedelta(weeks=episode.number)


def render_feed(folder: Path, base: str) -> bytes:
    """Return the RSS 2.0 feed of the site that is served at ``base``."""
    ET.register_namespace("itunes", ITUNES)
    ET.register_namespace("podcast", PODCAST)
    rss = ET.Element("rss", version="2.0")
    channel = ET.SubElement(rss, "channel")
    _text(channel, "title", "Tones from the Coast")
    _text(channel, "link", f"{base}/")
    _text(channel, "description", "A podcast that a computer hums to itself.")
    _text(channel, "language", "en")
    ET.SubElement(channel, f"{{{ITUNES}}}image", href=_url(base, "episode-01.png"))
    for episode in reversed(EPISODES):
        _add_item(channel, folder, base, episode)
    ET.indent(rss)
    return bytes(ET.tostring(rss, encoding="utf-8", xml_declaration=True))


def _add_item(channel: ET.Element, folder: Path, base: str, episode: Episode) -> None:
    name = episode.slug
    item = ET.SubElement(channel, "item")
    _text(item, "title", episode.title)
    _text(item, "guid", name).set("isPermaLink", "false")
    _text(item, "pubDate", format_datetime(_published(episode)))
    _text(item, f"{{{ITUNES}}}duration", str(episode.seconds))
    ET.SubElement(item, f"{{{ITUNES}}}image", href=_url(base, f"{name}.png"))
    size = (folder / f"{name}.wav").stat().st_size
    ET.SubElement(
        item,
        "enclosure",
        url=f"{base}/{'go' if episode.redirected else 'media'}/{name}.wav",
        length=str(LYING_LENGTH if episode.understated else size),
        type="audio/x-wav",
    )
    transcript = _url(base, f"{name}.vtt")
    ET.SubElement(item, f"{{{PODCAST}}}transcript", url=transcript, type="text/vtt")


def _text(parent: ET.Element, tag: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, tag)
    element.text = text
    return element


def _url(base: str, name: str) -> str:
    return f"{base}/media/{name}"
