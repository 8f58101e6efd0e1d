"""Small files from a process of its own; one answer in three is a failure.

Which answer fails, and how, is decided by its path and by how often the path was
asked for before: the same in each run.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

FAILURES = ("503", "no head", "cut", "reset", "too short", "unfinished chunks", "429")


def content(path: str) -> bytes:
    """Return the body of a path: 1 to 20 kB, made of its digest."""
    digest = hashlib.sha256(path.encode()).digest()
    size = 1000 + int.from_bytes(digest[:4], "big") % 19_000
    return (digest * (size // len(digest) + 1))[:size]


def failure(path: str, attempt: int) -> str:
    """Return how the answer to an attempt fails, "" when it does not."""
    digest = hashlib.sha256(f"{attempt} {path}".encode()).digest()
    return FAILURES[digest[1] % len(FAILURES)] if digest[0] % 3 == 0 else ""


class Server:
    """Answers, and counts how it answered."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.sent = 0

    async def file(self, request):
        path = request.path
        self.attempts[path] += 1
        how = failure(path, self.attempts[path])
        self.counts[how or "good"] += 1
        if how in ("503", "429"):
            return web.Response(status=int(how), headers={"Retry-After": "0"})
        if how == "no head":
            request.transport.abort()
            return web.Response()
        status, headers, body = self._whole(request)
        if not how:
            self.sent += len(body)
            return web.Response(status=status, headers=headers, body=body)
        return await self._break_off(request, how, status, headers, body)

    @staticmethod
    def _whole(request):
        body, headers = content(request.path), {"ETag": f'"{request.path}"'}
        at = request.http_range.start
        if at is None or request.headers.get("If-Range") != headers["ETag"]:
            return 200, headers, body
        headers["Content-Range"] = f"bytes {at}-{len(body) - 1}/{len(body)}"
        return 206, headers, body[at:]

    async def _break_off(self, request, how, status, headers, body):
        """Send a half of the body, and end as the failure says."""
        response = web.StreamResponse(status=status, headers=headers)
        if how != "unfinished chunks":
            response.content_length = len(body) + (1000 if how == "too short" else 0)
        await response.prepare(request)
        part = body if how == "too short" else body[: len(body) // 2]
        self.sent += len(part)
        await response.write(part)
        transport = request.transport
        if transport is not None:
            if how == "reset":
                linger = struct.pack("ii", 1, 0)
                peer = transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            transport.close()
        return response

    async def report(self, request):
        return web.json_response(
            {"answers": self.counts, "sent": self.sent, "paths": len(self.attempts)}
        )


async def serve():
    server, app = Server(), web.Application()
    app.add_routes(
        [web.get("/report", server.report), web.get("/file/{n}", server.file)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@contextmanager
def failing_server():
    """Start it; yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.failing_server"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve())
