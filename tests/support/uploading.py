"""A crawl in a process of its own that sends bodies; see :mod:`.crawl_process`.

``upload``: arguments of ``fetch``, its ``requests`` as arguments of Request, its
``body`` as a path or, with ``copied``, as a file object. With ``stop`` it stops itself
as soon as something was sent.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from scrapy import Request

from tests.support.crawl_process import Crawled


class Uploading(Crawled):
    name = "crawled"

    async def start(self):
        if self.config.get("stop"):
            self.stopping = asyncio.ensure_future(self.stop())
        async for request in super().start():
            yield request
        for said in self.config.get("upload", ()):
            arguments = dict(said)
            requests = [Request(**one) for one in arguments.pop("requests")]
            path, copied = arguments.pop("body", None), arguments.pop("copied", False)
            if path is None:
                await self.background_fetch.fetch(requests=requests, **arguments)
            elif copied:
                with Path(path).open("rb") as file:
                    arguments["body"] = [file, *[None] * (len(requests) - 1)]
                    await self.background_fetch.fetch(requests=requests, **arguments)
            else:
                arguments["body"] = [Path(path)] * len(requests)
                await self.background_fetch.fetch(requests=requests, **arguments)

    async def stop(self):
        while not (handle := await self.background_fetch.get("a")):
            await asyncio.sleep(0)
        while not handle.records[0].uploaded:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
