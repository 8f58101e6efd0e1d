"""What a picture of the results shows: a ratio for each case and each peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

PEERS = (  # others than ourselves
    "curl",
    "aria2c",
    "bgfetch-4 / aria2c-4",
    "files-pipeline",
    "files-aiohttp",
    "plain-scrapy",
    "plain-saving",
)


@frozen
class Bar:
    """What bgfetch took as a part of what a peer took, over all rounds."""

    case: str
    peer: str
    low: float
    median: float
    high: float


def bars_of(results: Mapping[str, Any], measure: str) -> list[Bar]:
    """Return the bars of one measure, the peers of a case together.

    :param results: what ``python -m benchmarks --json`` wrote.
    """
    return [
        Bar(case, peer, spread["min"], spread["median"], spread["max"])
        for case, said in results["cases"].items()
        if said["files"]
        for peer, ratios in said["ratios"].items()
        if peer in PEERS
        for spread in [ratios[measure]]
    ]
