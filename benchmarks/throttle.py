"""A proxy that gives each connection the same few bytes a second.

nginx's ``limit_rate`` would be simpler, but it counts for each request, lets the first
second's bytes of every one through at once, and knows whole seconds only.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 64 * 1024
_CATCH_UP = 0.05  # seconds that a late wake-up may be made good


@contextmanager
def throttled(port: int, rate: float) -> Iterator[int]:
    """Serve a local port on another one, which is returned, slowly.

    :param rate: bytes per second of each connection, from the server only.
    """
    loop = asyncio.new_event_loop()
    proxy = _Proxy(port, rate)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(proxy.start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Proxy:
    def __init__(self, port: int, rate: float) -> None:
        self._port = port
        self._rate = rate
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        from_nginx, to_nginx = await asyncio.open_connection("127.0.0.1", self._port)
        asked = asyncio.ensure_future(_copy(reader, to_nginx))
        try:
            with suppress(ConnectionError):
                await self._copy_slowly(from_nginx, writer)
        finally:
            asked.cancel()
            writer.close()
            to_nginx.close()

    async def _copy_slowly(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        now = asyncio.get_running_loop().time
        due = now()
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
            due = max(due, now() - _CATCH_UP) + len(block) / self._rate
            await asyncio.sleep(due - now())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
