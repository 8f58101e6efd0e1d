"""What all spiders that are compared have in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import scrapy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

T = TypeVar("T")
R = TypeVar("R")


class Downloader(scrapy.Spider):
    """Downloads URLs.

    :ivar stamp: a file to make when all others are there.
    """

    urls: tuple[str, ...] = ()
    stamp: Path

    def finished(self) -> None:
        """Tell who measures from outside."""
        self.stamp.touch()


async def in_turns(
    one: Callable[[T], Awaitable[R]], things: Iterable[T], *, at_once: int
) -> list[R]:
    """Do it with all, so many at a time; return what came of them, in any order."""
    left = iter(things)

    async def some() -> list[R]:
        return [await one(thing) for thing in left]

    found = await asyncio.gather(*(some() for _ in range(at_once)))
    return [result for results in found for result in results]
