"""A real HTTP server in a thread: well-behaved files, slow bodies, odd answers."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
import threading
import time
from collections import Counter
from functools import lru_cache
from socket import SO_RCVBUF, SOL_SOCKET

from aiohttp import web

MODIFIED = "Wed, 01 Jan 2020 00:00:00 GMT"


@lru_cache(maxsize=64)
def body(name: str, size: int) -> bytes:
    """Return the bytes of a file: different for each name, the same each time."""
    return random.Random(name).randbytes(size)


def coded(name: str, size: int) -> bytes:
    """Return the bytes of a file as they are sent in gzip: the same each time."""
    return gzip.compress(body(name, size), mtime=0)


class Upload:
    """A body that came: ``length`` bytes so far."""

    def __init__(self, request: web.Request) -> None:
        self.path = request.path
        self.method = request.method
        self.length = 0
        self.complete = False
        self._hash = hashlib.sha256()

    def feed(self, data: bytes) -> None:
        self.length += len(data)
        self._hash.update(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def _unchanged(request: web.Request, headers: dict[str, str]) -> bool:
    """Judge the condition of a request (RFC 9110 section 13.2.2)."""
    tags = request.headers.get("If-None-Match")
    if tags is not None:
        return tags.removeprefix("W/") == headers.get("ETag", "").removeprefix("W/")
    since = request.headers.get("If-Modified-Since")
    return since is not None and since == headers.get("Last-Modified")


class Site:
    """The server; ``seen`` has each request, ``closed`` when slow bodies broke off.

    ``sent`` counts the bytes of slow bodies that were given to the network.
    ``held`` has the paths of slow bodies that wait until they are taken out of it.
    ``not_modified`` has names that are answered by 304 with these fields, whatever
    was asked.
    """

    def __init__(self) -> None:
        self.seen: list[web.Request] = []
        self.closed: list[tuple[str, float]] = []
        self.sent: Counter[str] = Counter()
        self._times: dict[int, float] = {}
        self.streaming = 0
        self.held: set[str] = set()
        self.hurried = False
        self.robots = ""
        self.fail_once: dict[str, int] = {}
        self.etags: dict[str, str] = {}
        self.contents: dict[str, bytes] = {}
        self.uploads: list[Upload] = []
        self.not_modified: dict[str, dict[str, str]] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, ssl_context=None, port=0) -> Site:
        self._ssl = ssl_context
        self.port = port
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        scheme = "https" if self._ssl else "http"
        return f"{scheme}://{host}:{self.port}{path}"

    def at(self, request: web.Request) -> float:
        """Return when a request of ``seen`` came."""
        return self._times[id(request)]

    def paths(self) -> list[str]:
        return [request.path for request in self.seen]

    def of(self, path: str) -> list[web.Request]:
        return [request for request in self.seen if request.path == path]

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._log])
        app.add_routes(
            [
                web.get("/page{n:.*}", self._page),
                web.get("/robots.txt", self._robots),
                web.get("/file/{name}", self._file),
                web.get("/slow/{name}", self._slow),
                web.get("/status/{code}", self._status),
                web.get("/once/{code}/{name}", self._once),
                web.get("/to/{path:.*}", self._redirect),
                web.get("/gzip/{name}", self._gzip),
                web.get("/named/{name}", self._named),
                web.get("/cookie", self._cookie),
                web.get("/echo", self._echo),
                web.get("/silent", self._silent),
                web.get("/loop", self._loop_forever),
                web.get("/leave", self._leave),
                web.post("/echo", self._echo),
                web.route("*", "/upload/{name}", self._upload),
                web.route("*", "/move/{code}/{path:.*}", self._move),
            ]
        )
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._ssl)
        await site.start()
        self.port = self._runner.addresses[0][1]

    @web.middleware
    async def _log(self, request, handler):
        self._times[id(request)] = time.monotonic()
        self.seen.append(request)
        return await handler(request)

    async def _page(self, request):
        return web.Response(
            text="<html><body>hello</body></html>", content_type="text/html"
        )

    async def _robots(self, request):
        return web.Response(text=self.robots)

    def _headers(self, request) -> dict[str, str]:
        name = request.match_info["name"]
        if "bare" in request.query:
            return {}
        if "unvalidated" in request.query:
            return {"Accept-Ranges": "bytes"}
        if "dated" in request.query:
            return {"Last-Modified": MODIFIED, "Accept-Ranges": "bytes"}
        headers = {"ETag": self.etags.get(name, f'"{name}"'), "Accept-Ranges": "bytes"}
        if "vary" in request.query:
            headers["Vary"] = "Accept-Language"
        return headers

    def _answer(self, request) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body, by RFC 9110's rules for Range."""
        name = request.match_info["name"]
        data = body(name, int(request.query.get("size", 1000)))
        data = self.contents.get(name, data)
        headers = self._headers(request)
        if name in self.not_modified:
            return 304, self.not_modified[name], b""
        if _unchanged(request, headers):
            return 304, {**headers, "X-Checked": "yes"}, b""
        wanted = request.http_range
        validators = (None, headers.get("ETag"), headers.get("Last-Modified"))
        valid = request.headers.get("If-Range") in validators
        if wanted.start is None or not valid or not headers:
            return 200, headers, data
        if wanted.start >= len(data):
            return 416, {"Content-Range": f"bytes */{len(data)}"}, b""
        part = data[wanted.start :]
        last = len(data) - 1
        headers["Content-Range"] = f"bytes {wanted.start}-{last}/{len(data)}"
        return 206, headers, part

    async def _file(self, request):
        status, headers, data = self._answer(request)
        return web.Response(status=status, headers=headers, body=data)

    async def _slow(self, request):
        """Send ``rate`` bytes a second, or as fast as it goes when it is hurried."""
        if "gzip" in request.query:
            size = int(request.query.get("size", 1000))
            data = coded(request.match_info["name"], size)
            status, headers = 200, {"Content-Encoding": "gzip"}
        else:
            status, headers, data = self._answer(request)
        if "chunked" not in request.query:
            headers["Content-Length"] = str(len(data))
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        rate = int(request.query.get("rate", 1_000_000))
        step = max(rate // 50, 1)
        self.streaming += 1
        try:
            while request.path in self.held:
                await asyncio.sleep(0.02)
            for start in range(0, len(data), step):
                self.sent[request.path] += len(data[start : start + step])
                await response.write(data[start : start + step])
                await asyncio.sleep(0 if self.hurried else 0.02)
        except (ConnectionError, asyncio.CancelledError):
            self.closed.append((request.path, time.monotonic()))
            raise
        finally:
            self.streaming -= 1
        return response

    async def _status(self, request):
        code = int(request.match_info["code"])
        return web.Response(status=code, text=f"page of {code}")

    async def _once(self, request):
        """Answer with an error the first ``times`` times, then with the file."""
        left = self.fail_once.setdefault(
            request.path, int(request.query.get("times", 1))
        )
        if left:
            self.fail_once[request.path] = left - 1
            code = int(request.match_info["code"])
            wait = {"Retry-After": request.query.get("after", "0")}
            return web.Response(status=code, headers=wait)
        return await self._file(request)

    async def _redirect(self, request):
        raise web.HTTPFound(
            "/" + request.match_info["path"] + "?" + request.query_string
        )

    async def _loop_forever(self, request):
        raise web.HTTPFound("/loop")

    async def _leave(self, request):
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def _gzip(self, request):
        data = body(request.match_info["name"], int(request.query.get("size", 1000)))
        coded = gzip.compress(data * int(request.query.get("repeat", 1)))
        headers = {"ETag": '"gz"'} if "etag" in request.query else {}
        if _unchanged(request, headers):
            return web.Response(status=304, headers=headers)
        return web.Response(body=coded, headers={"Content-Encoding": "gzip", **headers})

    async def _named(self, request):
        disposition = request.query["disposition"]
        data = body(request.match_info["name"], 1000)
        return web.Response(body=data, headers={"Content-Disposition": disposition})

    async def _cookie(self, request):
        response = web.Response(text="<html></html>", content_type="text/html")
        response.set_cookie("session", "s3cret")
        return response

    async def _echo(self, request):
        return web.json_response(
            {
                "method": request.method,
                "headers": dict(request.headers),
                "body": (await request.read()).decode("latin-1"),
                "peer": request.transport.get_extra_info("peername")[0],
            }
        )

    async def _upload(self, request):
        """Take a body; answer as ``status`` says, the first time as ``once`` does.

        ``rate`` bytes are taken a second, ``first`` the first time; the system takes
        few more for us, otherwise it would take most of a large body at once.

        The answer's body is the digest of what came, nothing with ``empty``.
        """
        upload = Upload(request)
        earlier = [one.path for one in self.uploads].count(request.path)
        self.uploads.append(upload)
        rate = int(request.query.get("rate", 0))
        if not earlier:
            rate = int(request.query.get("first", rate))
        if rate:
            socket = request.transport.get_extra_info("socket")
            socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 256 * 1024)
        while data := await request.content.read(rate // 50 or 256 * 1024):
            upload.feed(data)
            if rate:
                await asyncio.sleep(len(data) / rate)
        upload.complete = True
        if "wait" in request.query:
            await asyncio.sleep(float(request.query["wait"]))
        if "once" in request.query and not earlier:
            return web.Response(status=int(request.query["once"]))
        if "empty" in request.query:
            return web.Response(status=204)
        code = int(request.query.get("status", 200))
        return web.Response(status=code, text=upload.sha256)

    async def _move(self, request):
        """Redirect to a path, with the status that the request names."""
        async for _ in request.content.iter_any():
            pass
        to = f"/{request.match_info['path']}?{request.query_string}"
        code = int(request.match_info["code"])
        return web.Response(status=code, headers={"Location": to})

    async def _silent(self, request):
        await asyncio.sleep(3600)
