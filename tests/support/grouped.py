"""A spider that yields grouped requests and keeps what comes of them."""

from __future__ import annotations

from scrapy import Request

from tests.support.crawl import Probe


class Grouped(Probe):
    """Keeps what callbacks and errbacks got, and the order of pages."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.pages = []

    def request(self, response, path, group, **kwargs):
        kwargs = {"callback": self.keep, "errback": self.keep_failure, **kwargs}
        meta = {"bgfetch": group, **kwargs.pop("meta", {})}
        return Request(response.urljoin(path), meta=meta, **kwargs)

    def keep_page(self, response):
        self.pages.append(response.url)

    def ends(self):
        ends = {"success", "fail", "abort"}
        return [
            (name, handle.id, handle.failure_reason)
            for name, handle, _ in self.events
            if name in ends
        ]

    def handle(self, name="registered"):
        return next(handle for event, handle, _ in self.events if event == name)
