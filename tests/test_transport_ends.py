"""What the transport makes of bodies that come late, or that are none."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

import pytest
from scrapy import Request

from scrapy_bgfetch.transport import exchange as exchanges
from tests.support.tls import server_context
from tests.support.transports import new_transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n"
STALL = 0.2  # seconds


def transport(stall_timeout):
    return new_transport(stall_timeout=stall_timeout, timeout=60)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(exchanges, "_WATCH_INTERVAL", 0.05)


async def test_a_blocked_loop_is_no_stall(often):
    """What blocks the loop for long, a callback or Ctrl-Z, is not the server."""
    client, loop = transport(STALL), asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        opening = asyncio.ensure_future(
            client.open(Request(f"http://127.0.0.1:{port}/"))
        )
        peer, _ = await loop.sock_accept(server)
        with peer:
            await loop.sock_recv(peer, 65536)
            peer.send(HEAD + b"first")
            exchange = await opening
            assert await exchange.read() == b"first"
            reading = asyncio.ensure_future(exchange.read())
            await asyncio.sleep(0)
            peer.send(b"later")
            time.sleep(2 * STALL)
            assert await reading == b"later"
            peer.send(b"again")
            assert await exchange.read() == b"again"
            exchange.close()
    await client.close()


class Endless:
    """The body of a request whose server has heard enough of it."""

    size = 10**6

    async def pieces(self):
        yield b"x" * 1000
        await asyncio.Event().wait()

    def sent(self, count):
        pass


async def test_an_early_answer_without_a_body_comes_over_tls():
    gone = asyncio.Event()

    async def no_content(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        gone.set()

    server = await asyncio.start_server(
        no_content, "127.0.0.1", 0, ssl=server_context()
    )
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = transport(60)
    exchange = await client.open(Request(url, method="POST"), Endless())
    assert (exchange.head.status, await exchange.read()) == (204, b"")
    exchange.close()
    await client.close()
    await asyncio.wait_for(gone.wait(), 60)
    server.close()
