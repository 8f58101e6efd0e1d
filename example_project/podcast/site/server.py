"""The site's server: slow on purpose, and exact about ranges.

aiohttp's own FileResponse does not do for this: its If-Range knows dates only and
takes any entity tag as a match, and it cannot be slowed down.
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web
from attrs import frozen

from podcast.site.episodes import render_feed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
CHUNK = 64 * 1024
PORT_WAIT = 5.0  # seconds; the site of a killed crawl needs a moment to go
TYPES = {".wav": "audio/x-wav", ".png": "image/png", ".vtt": "text/vtt"}


class PortTaken(Exception):  # noqa: N818
    """Another program listens on the port."""


@frozen
class Part:
    """The bytes of a file that an answer carries."""

    path: Path
    size: int
    first: int
    count: int
    status: int
    etag: str
    modified: str

    @property
    def headers(self) -> dict[str, str]:
        """Return the header fields that go with it (RFC 9110)."""
        fields = {
            "Accept-Ranges": "bytes",
            "Content-Type": TYPES[self.path.suffix],
            "Content-Length": str(self.count),
            "ETag": self.etag,
            "Last-Modified": self.modified,
        }
        last = self.first + self.count - 1
        if self.status == 206:
            fields["Content-Range"] = f"bytes {self.first}-{last}/{self.size}"
        elif self.status == 416:
            fields["Content-Range"] = f"bytes */{self.size}"
        return fields


def choose_part(path: Path, request: web.Request) -> Part:
    """Return what to answer, from Range and If-Range (RFC 9110 sections 13.1.5, 14).

    A Range that is malformed, asks for several parts, or comes with an If-Range
    that does not match is ignored.
    """
    stat = path.stat()
    size = stat.st_size
    etag = f'"{stat.st_mtime_ns:x}-{size:x}"'
    modified = formatdate(stat.st_mtime, usegmt=True)
    wanted = _range(request, size, (etag, modified))
    if wanted is None:
        return Part(path, size, 0, size, 200, etag, modified)
    first, stop = wanted
    status = 206 if first < stop else 416
    return Part(path, size, first, max(0, stop - first), status, etag, modified)


def _range(
    request: web.Request, size: int, validators: tuple[str, str]
) -> tuple[int, int] | None:
    if "Range" not in request.headers:
        return None
    if request.headers.get("If-Range", validators[0]) not in validators:
        return None
    try:
        first, stop, _ = request.http_range.indices(size)
    except ValueError:
        return None
    return first, stop


def _chunks(part: Part) -> Iterator[bytes]:
    with part.path.open("rb") as file:
        file.seek(part.first)
        left = part.count
        while left and (data := file.read(min(CHUNK, left))):
            left -= len(data)
            yield data


@frozen
class Site:
    """The handlers. ``rate``: bytes a second for each connection, 0 for no limit."""

    folder: Path
    rate: float

    def application(self) -> web.Application:
        """Return the application that serves the site."""
        app = web.Application()
        app.router.add_get("/robots.txt", self.robots)
        app.router.add_get("/feed.xml", self.feed)
        app.router.add_get("/go/{name}", self.redirect)
        app.router.add_get("/media/{name}", self.media)
        return app

    async def robots(self, _request: web.Request) -> web.Response:
        """Serve robots.txt."""
        return web.Response(text="User-agent: *\nDisallow: /private/\n")

    async def feed(self, request: web.Request) -> web.Response:
        """Serve the RSS feed, with addresses of the host that was asked."""
        base = f"http://{request.host}"
        body = await asyncio.to_thread(render_feed, self.folder, base)
        return web.Response(body=body, content_type="application/rss+xml")

    async def redirect(self, request: web.Request) -> web.Response:
        """Send on to the file, as the counters of podcast hosts do."""
        name = request.match_info["name"]
        return web.Response(status=302, headers={"Location": f"/media/{name}"})

    async def media(self, request: web.Request) -> web.StreamResponse:
        """Serve a file, or the part of it that was asked for."""
        path = self.folder / request.match_info["name"]
        if path.parent != self.folder or path.suffix not in TYPES:
            raise web.HTTPNotFound
        try:
            part = await asyncio.to_thread(choose_part, path, request)
        except FileNotFoundError:
            raise web.HTTPNotFound from None
        response = web.StreamResponse(status=part.status, headers=part.headers)
        with suppress(ConnectionResetError):  # the client has heard enough
            await response.prepare(request)
            if request.method != "HEAD":
                await self._send(part, response)
        return response

    async def _send(self, part: Part, response: web.StreamResponse) -> None:
        clock = asyncio.get_running_loop().time
        begun, sent = clock(), 0
        for data in _chunks(part):
            await response.write(data)
            sent += len(data)
            if self.rate:
                await asyncio.sleep(max(0.0, begun + sent / self.rate - clock()))


async def start_site(
    folder: Path, *, port: int = 0, rate: float = 0
) -> tuple[web.AppRunner, str]:
    """Serve the files of a folder on 127.0.0.1.

    Returns the runner, to be ended with its ``cleanup``, and the address without
    a slash at its end. Port 0 takes a free one.

    :raises PortTaken: another program listens on the port.
    """
    runner = web.AppRunner(
        Site(folder, rate).application(), access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    try:
        await _listen(runner, port)
    except BaseException:
        await runner.cleanup()
        raise
    chosen = runner.addresses[0][1]
    return runner, f"http://{HOST}:{chosen}"


async def _listen(runner: web.AppRunner, port: int) -> None:
    clock = asyncio.get_running_loop().time
    deadline = clock() + PORT_WAIT
    while True:
        try:
            return await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if clock() >= deadline:
                raise PortTaken(str(port)) from None
        await asyncio.sleep(0.1)
