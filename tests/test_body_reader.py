"""Bodies of known length: read past aiohttp, and the connection given back."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest
from scrapy import Request

from scrapy_bgfetch.transport.base import TransportError
from scrapy_bgfetch.transport.shares import READ_SIZE
from tests.support.misbehaving import Misbehaving, head, stalls
from tests.support.site import body
from tests.support.tls import server_context
from tests.support.transports import new_transport

SIZE = 4 * READ_SIZE
DATA = body("reader", SIZE)
WHOLE = head(f"Content-Length: {SIZE}") + DATA
CHUNKED = head("Transfer-Encoding: chunked")


class Server:
    """Answers each request of a connection with the next of its answers."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)
        self.connections = 0

    async def start(self, tls=None) -> str:
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        return f"http{'s' if tls else ''}://127.0.0.1:{port}/"

    async def serve(self, reader, writer) -> None:
        self.connections += 1
        try:
            while self._answers:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answers.pop(0))
                await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def stop(self) -> None:
        self._server.close()


@pytest.fixture(params=["plain", "tls"])
def tls(request):
    return server_context() if request.param == "tls" else None


@pytest.fixture
def transport():
    return new_transport(stall_timeout=10, timeout=10)


async def over(server, transport) -> None:
    """Close both ends, and let the loop see it."""
    await transport.close()
    server.stop()
    await asyncio.sleep(0.01)


async def everything(exchange) -> bytes:
    got = bytearray()
    while data := await exchange.read():
        got += data
    exchange.close()
    return bytes(got)


async def test_a_connection_serves_one_body_after_another(transport, tls):
    server = Server(*[WHOLE] * 3)
    url = await server.start(tls)
    for _ in range(3):
        assert await everything(await transport.open(Request(url))) == DATA
    assert server.connections == 1
    await over(server, transport)


async def test_other_bodies_follow_on_the_same_connection(transport, tls):
    chunked = CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"
    server = Server(WHOLE, head("Content-Length: 2") + b"ok", WHOLE, chunked)
    url = await server.start(tls)
    exchanges = [await everything(await transport.open(Request(url))) for _ in range(4)]
    assert exchanges == [DATA, b"ok", DATA, b"abc"]
    assert server.connections == 1
    await over(server, transport)


async def test_large_bodies_come_into_the_same_memory(transport):
    server = Server(WHOLE)
    exchange = await transport.open(Request(await server.start()))
    first, memory = await exchange.read(), set()
    assert isinstance(first, bytes)
    got = len(first)
    while data := await exchange.read():
        memory.add(id(data.obj))
        got += len(data)
        del data
    assert got == SIZE
    assert len(memory) == 1
    exchange.close()
    await over(server, transport)


async def test_a_slow_reader_takes_turns_with_two_blocks(transport, tls):
    server = Server(WHOLE)
    exchange = await transport.open(Request(await server.start(tls)))
    got, memory = bytearray(), {}
    while data := await exchange.read():
        await asyncio.sleep(0.01)  # as a slow disk: the next bytes come meanwhile
        got += data
        if isinstance(data, memoryview):
            memory[id(data.obj)] = data.obj
        del data
    assert bytes(got) == DATA
    assert len(memory) == (0 if tls else 2)
    exchange.close()
    await over(server, transport)


async def test_shares_that_shrink_meanwhile_lose_nothing(transport, tls):
    server = Server(WHOLE)
    exchange = await transport.open(Request(await server.start(tls)))
    got, taken = bytearray(), []
    while data := await exchange.read():
        got += data
        taken += [transport._shares.take() for _ in range(10)]
    assert bytes(got) == DATA
    exchange.close()
    await over(server, transport)


async def test_who_is_cancelled_can_read_on(transport, tls):
    arrived = asyncio.Event()

    async def halves(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WHOLE[:100_000])
        await arrived.wait()
        writer.write(WHOLE[100_000:])
        with suppress(OSError):
            await writer.drain()
        writer.close()

    server = Server()
    server.serve = halves
    exchange = await transport.open(Request(await server.start(tls)))
    got = bytearray()
    with suppress(asyncio.TimeoutError):
        while True:
            got += await asyncio.wait_for(exchange.read(), 0.2)
    arrived.set()
    assert bytes(got) + await everything(exchange) == DATA
    await over(server, transport)


async def test_bytes_after_the_end_are_no_answer_to_the_next_request(transport):
    """RFC 9112 section 6.3: they cost the connection, whenever they come."""
    server = Server(WHOLE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", WHOLE)
    url = await server.start()
    for _ in range(2):
        assert await everything(await transport.open(Request(url))) == DATA
    assert server.connections == 2
    await over(server, transport)


async def test_what_was_closed_says_so(transport, tls):
    server = Server(WHOLE)
    exchange = await transport.open(Request(await server.start(tls)))
    await exchange.read()
    await asyncio.sleep(0.05)
    exchange.close()
    with pytest.raises(TransportError):
        await everything(exchange)
    await over(server, transport)


async def test_a_reader_is_no_garbage_that_waits_to_be_collected(transport):
    server = Server(WHOLE)
    exchange = await transport.open(Request(await server.start()))
    reader = weakref.ref(exchange._reader)
    gc.disable()
    try:
        assert await everything(exchange) == DATA
        del exchange
        assert reader() is None
    finally:
        gc.enable()
    await over(server, transport)


async def test_an_answer_that_closes_is_whole(transport, tls):
    server = Server(head("Connection: close", f"Content-Length: {SIZE}") + DATA, WHOLE)
    url = await server.start(tls)
    for _ in range(2):
        assert await everything(await transport.open(Request(url))) == DATA
    assert server.connections == 2
    await over(server, transport)


@pytest.mark.parametrize("promise", ["5, 6", "x", "-1", "5\r\nContent-Length: 6"])
async def test_what_is_no_length_is_not_read_as_one(transport, promise):
    server = Server(head(f"Content-Length: {promise}") + b"12345")
    url = await server.start()
    with pytest.raises(TransportError, match="no good HTTP"):
        await everything(await transport.open(Request(url)))
    await over(server, transport)


async def test_a_stall_is_told(tls):
    transport = new_transport(stall_timeout=0.2, timeout=10)
    server = Misbehaving(tls).start()
    url = server.at("/x", stalls(WHOLE[:-1]))
    exchange = await transport.open(Request(url))
    with pytest.raises(TransportError, match="no byte for too long"):
        await everything(exchange)
    exchange.close()
    await over(server, transport)
