"""A real forward proxy in a thread: plain requests and CONNECT tunnels."""

from __future__ import annotations

import asyncio
import base64
import threading
from urllib.parse import urlsplit


class Proxy:
    """The proxy; ``seen`` has the request lines, ``fields`` the fields of each.

    :param credentials: ``user:password`` that it asks for, "" for none.
    """

    def __init__(self, credentials: str = "") -> None:
        token = base64.b64encode(credentials.encode()).decode()
        self._wanted = f"Basic {token}" if credentials else None
        self.seen: list[str] = []
        self.fields: list[dict[str, str]] = []
        # Nothing else holds a client that has left while its answer is waited for.
        self._clients: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def url(self, credentials: str = "") -> str:
        userinfo = f"{credentials}@" if credentials else ""
        return f"http://{userinfo}127.0.0.1:{self.port}"

    def _run(self) -> None:
        serve = asyncio.start_server(self._client, "127.0.0.1", 0)
        server = self._loop.run_until_complete(serve)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """End all connections, those that were accepted just now too."""
        for _ in range(5):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.001)

    async def _client(self, reader, writer) -> None:
        client = asyncio.current_task()
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader, writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip().split("\r\n")
        fields = {k.lower(): v for k, _, v in (one.partition(": ") for one in lines)}
        self.seen.append(line)
        self.fields.append(dict(fields))
        if self._wanted not in (None, fields.pop("proxy-authorization", None)):
            writer.write(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        method, target, version = line.split(" ")
        if method == "CONNECT":
            await self._tunnel(target, reader, writer)
        else:
            await self._forward(f"{method} %s {version}", target, fields, writer)

    async def _tunnel(self, target: str, reader, writer) -> None:
        host, _, port = target.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.close()

    async def _forward(self, line: str, target: str, fields, writer) -> None:
        """Forward a request without a body; its connection ends with it."""
        url = urlsplit(target)
        there, back = await asyncio.open_connection(url.hostname, url.port or 80)
        path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
        lines = [line % path, *(f"{k}: {v}" for k, v in fields.items())]
        text = "\r\n".join([*lines, "connection: close", "", ""])
        back.write(text.encode("latin-1"))
        try:
            await _pump(there, writer)
        finally:
            back.close()


async def _pump(reader, writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
