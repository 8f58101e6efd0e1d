"""A server that limits what each answer gets, and answers ranges, or not.

Every body is :func:`tests.support.site.body`. What was asked for and was sent is in
``parts``.
"""

from __future__ import annotations

import asyncio
import threading
from socket import SO_SNDBUF, SOL_SOCKET

from aiohttp import web
from attrs import define

from tests.support.site import body

SLICES = 50  # a second
STEP = 50 * 1024


@define(eq=False)
class Part:
    """One answer: the bytes from ``first`` to ``end``, ``sent`` of them so far."""

    path: str
    first: int
    end: int
    status: int
    sent: int = 0
    active: bool = True


class Limited:
    """Serves ``/<name>?size=N``; ``rate`` bytes a second for each answer, 0 at once.

    :ivar refuse: called with a request and its Range as (first, last), None without;
        what it returns is sent, unless it is None. It runs in the server's thread.
    :ivar edit: called with a request and the fields of its answer, to change them.
    :ivar hold: how many bytes of an answer are sent before it waits for ``go_on``.
    :ivar slow: the answer that stands still.
    :ivar broken: the answer that breaks off while it waits.
    :ivar silent: the numbers of the requests that are never answered.
    :ivar cuts: after how many bytes which of the answers, by its number, breaks off.
    :ivar versions: the file that a name stands for now, another one than itself.
    :ivar most: how many answers were under way at once.
    """

    def __init__(self):
        self.requests = []
        self.parts: list[Part] = []
        self.most = self.rate = 0
        self.hold = self.slow = self.broken = None
        self.silent: set[int] = set()
        self.cuts: dict[int, int] = {}
        self.versions: dict[str, str] = {}
        self.refuse = lambda request, wanted: None
        self.edit = lambda request, headers: None
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._go_on = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def go_on(self):
        self._go_on = True

    def url(self, name, size):
        return f"http://127.0.0.1:{self.port}/{name}?size={size}"

    def lost(self):
        return web.Response(status=503, headers={"Retry-After": "0"})

    @property
    def active(self):
        return [part for part in self.parts if part.active]

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _serve(self):
        app = web.Application()
        app.add_routes([web.get("/page", self._page), web.get("/{name}", self._file)])
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def _page(self, request):
        return web.Response(text="<html></html>", content_type="text/html")

    async def _file(self, request):
        self.requests.append(request)
        if len(self.requests) - 1 in self.silent:
            await asyncio.sleep(3600)
        name, size = request.match_info["name"], int(request.query["size"])
        name = self.versions.get(name, name)
        data, wanted = body(name, size), _wanted(request, size)
        refused = self.refuse(request, wanted)
        if refused is not None:
            self.parts.append(Part(request.path, -1, -1, refused.status, active=False))
            return refused
        etag = f'"{name}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        first, last, status = 0, size - 1, 200
        if wanted and request.headers.get("If-Range", etag) == etag:
            first, last, status = *wanted, 206
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.edit(request, headers)
        part = Part(request.path, first, last + 1, status)
        cut = self.cuts.get(len(self.parts))
        self.parts.append(part)
        self.most = max(self.most, len(self.active))
        try:
            return await self._send(request, part, headers, data, cut)
        finally:
            part.active = False

    async def _send(self, request, part, headers, data, cut):
        socket = request.transport.get_extra_info("socket")
        socket.setsockopt(SOL_SOCKET, SO_SNDBUF, 64 * 1024)
        response = web.StreamResponse(status=part.status, headers=headers)
        if "Transfer-Encoding" in headers:
            del response.headers["Transfer-Encoding"]
            response.enable_chunked_encoding()
        else:
            response.content_length = part.end - part.first
        await response.prepare(request)
        step = max(self.rate // SLICES, 1) if self.rate else STEP
        loop = asyncio.get_running_loop()
        started = loop.time()
        while part.first + part.sent < part.end:
            await self._wait(part)
            if part is self.broken or (cut is not None and part.sent >= cut):
                request.transport.close()
                return response
            at = part.first + part.sent
            piece = data[at : min(at + step, part.end)]
            await response.write(piece)
            part.sent += len(piece)
            if self.rate:
                wait = started + part.sent / self.rate - loop.time()
                await asyncio.sleep(max(wait, 0))
        await response.write_eof()
        return response

    async def _wait(self, part):
        while part is not self.broken and (part is self.slow or self._holds(part)):
            await asyncio.sleep(0.005)

    def _holds(self, part):
        return self.hold is not None and part.sent >= self.hold and not self._go_on


def _wanted(request, size):
    """Return the first and the last byte that are asked for, None for all of them."""
    said = request.headers.get("Range")
    if said is None:
        return None
    first, _, last = said.removeprefix("bytes=").partition("-")
    return int(first), min(int(last or size), size - 1)
