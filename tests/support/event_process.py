"""A crawl in a process of its own that says what it finds in a terminal event."""

from __future__ import annotations

import os
import signal

from scrapy import Request

from scrapy_bgfetch import signals
from tests.support.crawl_process import Crawled


class Eventful(Crawled):
    """Fetches the ``requests``, [method, URL, body] each, as one background fetch.

    ``abort``: abort it at once. ``update``: the title that its event gives it.
    ``die_in_handler``: kill the process there, after all that.
    """

    @classmethod
    def from_crawler(cls, crawler, *args, **kwargs):
        spider = super().from_crawler(crawler, *args, **kwargs)
        for name in ("success", "fail", "abort"):
            crawler.signals.connect(spider.ended, getattr(signals, f"bgfetch_{name}"))
        return spider

    async def start(self):
        if "requests" in self.config:
            requests = [
                Request(url, method=method, body=text, headers={"X-Of": text[:1]})
                for method, url, text in self.config["requests"]
            ]
            fetch = self.background_fetch.fetch
            handle = await fetch("a", requests, title="old")
            if self.config.get("abort"):
                await handle.abort()
        async for request in super().start():
            yield request

    async def ended(self, registration, event):
        found = [one async for one in registration.match_all()]
        for record in found:
            same = await registration.match_all(
                record.request, ignore_method=True, ignore_vary=True
            )
            assert record.index in [one.index for one in same]
        self.log_line(
            {
                "event": "found",
                "type": event.type,
                "uid": registration.uid,
                "id_is_free": await self.background_fetch.get("a") is None,
                "result": registration.result,
                "reason": registration.failure_reason,
                "downloaded": registration.downloaded,
                "uploaded": registration.uploaded,
                "settled_at": registration.settled_at,
                "title": registration.title,
                "bodies": [record.request.body.decode() for record in found],
                "methods": [record.request.method for record in found],
                "states": [(one.failure_reason, one.status) for one in found],
            }
        )
        if "update" in self.config:
            await event.update_ui(title=self.config["update"])
        if self.config.get("die_in_handler"):
            os.kill(os.getpid(), signal.SIGKILL)
