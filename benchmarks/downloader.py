"""What all spiders that are compared have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scrapy

if TYPE_CHECKING:
    from pathlib import Path


class Downloader(scrapy.Spider):
    """Downloads URLs.

    :ivar stamp: a file to make when all others are there.
    """

    urls: tuple[str, ...] = ()
    stamp: Path

    def finished(self) -> None:
        """Tell who measures from outside."""
        self.stamp.touch()
