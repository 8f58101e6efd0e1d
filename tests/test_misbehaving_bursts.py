"""Connections that break after a burst: every byte that was sent is returned."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from scrapy import Request

from scrapy_bgfetch.transport.base import TransportError
from scrapy_bgfetch.transport.shares import READ_SIZE
from tests.support.misbehaving import (
    Misbehaving,
    chunk,
    endless,
    head,
    pauses,
    resets,
    sends,
    stalls,
    then,
)
from tests.support.site import body
from tests.support.tls import server_context
from tests.support.transports import new_transport

SIZE = 2_000_000
# Python 3.10 takes a TLS connection that the server has ended for one left open.
pytestmark = pytest.mark.filterwarnings("ignore:.*_SSLProtocolTransport")

PROMISE = head(f"Content-Length: {SIZE}")
DATA = body("burst", SIZE)


@pytest.fixture(scope="module")
def tls():
    return server_context()


@pytest.fixture(params=["plain", "tls"])
def server(request):
    tls = request.getfixturevalue("tls") if request.param == "tls" else None
    server = Misbehaving(tls).start()
    yield server
    server.stop()
    gc.collect()


@pytest.fixture
def transport():
    return new_transport(stall_timeout=10, timeout=10)


async def turns(number: int = 50) -> None:
    """Let the loop turn, as middlewares and the state do it."""
    for _ in range(number):
        await asyncio.sleep(0)


async def over(server, transport) -> None:
    """Close both ends, and let the loop see it."""
    await transport.close()
    await asyncio.to_thread(server.stop)
    await turns()


async def everything(exchange, *, breath: bool = False) -> tuple[bytes, str]:
    """Return what comes, and the error that it ends with."""
    got = bytearray()
    try:
        while data := await exchange.read():
            got += data
            if breath:
                await asyncio.sleep(0)
    except TransportError as error:
        return bytes(got), str(error)
    return bytes(got), ""


@pytest.mark.parametrize("size", [0, 1, 100_000, 2 * READ_SIZE])
async def test_a_burst_before_the_break_is_not_lost(server, transport, size):
    url = server.at("/x", sends(PROMISE + DATA[:size]))
    exchange = await transport.open(Request(url))
    assert await asyncio.to_thread(server.wait_for_ends, 1)
    await turns()
    got, error = await everything(exchange)
    exchange.close()
    await over(server, transport)
    assert got == DATA[:size]
    assert "broke off" in error


@pytest.mark.parametrize("size", [0, 1, 100_000, 2 * READ_SIZE])
async def test_a_burst_before_a_reset_is_not_lost(server, transport, size):
    """What has not left the kernel when the reset comes is lost to everybody."""
    arrived = threading.Event()
    url = server.at("/x", resets(PROMISE + DATA[:size], after=arrived))
    exchange = await transport.open(Request(url))
    while not server.peers[0].sent:
        await asyncio.sleep(0.01)
    await turns()
    arrived.set()
    assert await asyncio.to_thread(server.wait_for_ends, 1)
    await turns()
    got, error = await everything(exchange)
    exchange.close()
    await over(server, transport)
    assert got == DATA[:size]
    assert "broke off" in error


@pytest.mark.parametrize("size", [100_000, SIZE - 1])
async def test_a_burst_before_the_break_is_not_lost_to_a_reader_that_waits(
    server, transport, size
):
    url = server.at("/x", sends(PROMISE + DATA[:size]))
    exchange = await transport.open(Request(url))
    got, error = await everything(exchange)
    exchange.close()
    await over(server, transport)
    assert got == DATA[:size]
    assert "broke off" in error


async def test_each_burst_is_read_while_the_reader_breathes(server, transport):
    """A reader that gives the loop one turn after each read loses nothing."""
    bursts = [DATA[start : start + 10_000] for start in range(0, SIZE - 10_000, 10_000)]
    url = server.at("/x", sends(PROMISE, *bursts))
    exchange = await transport.open(Request(url))
    got, error = await everything(exchange, breath=True)
    exchange.close()
    await over(server, transport)
    assert error
    assert got == DATA[: SIZE - 10_000]


async def test_the_chunks_before_a_bad_one_are_not_lost(server, transport):
    """And the reader is woken, though aiohttp does not do it."""
    said = head("Transfer-Encoding: chunked") + chunk(DATA[:1000])
    bad = then(sends(said), pauses(0.1), stalls(b"no size\r\n"))
    exchange = await transport.open(Request(server.at("/x", bad)))
    await turns()
    got, error = await everything(exchange)
    exchange.close()
    await over(server, transport)
    assert got == DATA[:1000]
    assert error


async def test_a_whole_body_that_waits_is_read_to_its_end(server, transport):
    url = server.at("/x", sends(PROMISE + DATA))
    exchange = await transport.open(Request(url))
    await turns()
    got, error = await everything(exchange)
    exchange.close()
    await over(server, transport)
    assert (got, error) == (DATA, "")


async def test_no_more_is_read_ahead_than_was_said(server, transport):
    url = server.at("/x", endless(head(), bytes(65536)))
    exchange = await transport.open(Request(url))
    before = -1
    while before != (before := server.peers[0].sent):  # until the server is held up
        await asyncio.sleep(0.1)
    assert before < 16 * 1024 * 1024  # nearly all of it is in the kernel's buffers
    ahead = [await exchange.read() for _ in range(3)]
    exchange.close()
    await over(server, transport)
    assert all(ahead)


@pytest.mark.parametrize("reads", [0, 1])
async def test_an_exchange_that_is_closed_leaves_nothing_behind(
    server, transport, reads, recwarn, caplog
):
    url = server.at("/x", endless(head(), bytes(1000)))
    before = asyncio.all_tasks()
    exchange = await transport.open(Request(url))
    for _ in range(reads):
        assert await exchange.read()
    exchange.close()
    await turns()
    assert asyncio.all_tasks() == before
    await over(server, transport)
    assert caplog.records == []
    assert list(recwarn) == []


async def test_a_reader_of_an_exchange_that_is_closed_is_told(server, transport):
    url = server.at("/x", stalls(PROMISE))
    exchange = await transport.open(Request(url))
    reading = asyncio.ensure_future(exchange.read())
    await turns(3)
    exchange.close()
    with pytest.raises(TransportError):
        await reading
    await over(server, transport)
