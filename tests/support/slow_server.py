"""Pages with a latency and bodies that hardly move, from a process of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

LATENCY = 0.1  # seconds
STEP = 4096  # bytes
PAUSE = 0.5  # seconds


async def page(request):
    await asyncio.sleep(LATENCY)
    return web.Response(text="<html></html>", content_type="text/html")


async def slow(request):
    response = web.StreamResponse(headers={"ETag": '"x"'})
    response.content_length = 100 * 1024 * 1024
    await response.prepare(request)
    while True:
        await response.write(bytes(STEP))
        await asyncio.sleep(PAUSE)


async def serve():
    app = web.Application()
    app.add_routes([web.get("/page/{n}", page), web.get("/slow/{n}", slow)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@contextmanager
def slow_server():
    """Start it; yield its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.slow_server"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve())
