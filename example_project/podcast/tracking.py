"""Which background fetches there are in a crawl, learnt from the signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_bgfetch import signals

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

SIGNALS = (
    signals.bgfetch_registered,
    signals.bgfetch_progress,
    signals.bgfetch_record_settled,
    signals.bgfetch_success,
    signals.bgfetch_fail,
    signals.bgfetch_abort,
)


class Tracker:
    """Keeps every registration that a signal or the spider has spoken of."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._seen: dict[str, Any] = {}
        for signal in SIGNALS:
            crawler.signals.connect(self._see, signal=signal)

    def _see(self, registration: Any) -> None:
        self._seen[registration.uid] = registration

    @property
    def all(self) -> list[Any]:
        """Return all registrations."""
        # What went on from an earlier run sends no signal until a byte arrives.
        going_on = getattr(self._crawler.spider, "going_on", [])
        return list({r.uid: r for r in [*going_on, *self._seen.values()]}.values())

    @property
    def moving(self) -> list[Any]:
        """Return those that have begun to arrive and have not ended."""
        return [r for r in self.all if not r.result and r.downloaded]

    @property
    def ended(self) -> int:
        """Return the number of those that have ended."""
        return sum(1 for r in self.all if r.result)


def expected_bytes(registration: Any) -> int | None:
    """Return how many bytes a background fetch will have, None when unknown.

    It is the sum of its files' sizes once the servers have told all of them,
    until then what its download_total allows.
    """
    sizes = [_size(record) for record in registration.records]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        return sum(known)
    return registration.download_total or None


def _size(record: Any) -> int | None:
    if record.failure_reason:
        return 0
    if record.state == "settled":
        return int(record.downloaded)
    return None if record.size is None else int(record.size)
