"""A slow disk or a slow hook slows transfers down, and fills no memory (issue 5)."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from contextlib import suppress

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.bodies.digests import Digests
from scrapy_bgfetch.bodies.local import PartFile
from scrapy_bgfetch.rules.slow_writes import SlowWrites
from scrapy_bgfetch.transport.shares import READ_SIZE, Shares, share_of
from tests.support.site import body
from tests.support.transports import new_transport

KiB, MiB = 1024, 1024 * 1024
MANY = 64


# -- shares of memory -------------------------------------------------------------


@pytest.mark.parametrize(
    ("reads", "size"),
    [
        (0, 512 * KiB),
        (4, 512 * KiB),
        (6, 512 * KiB),
        (64, 48 * KiB),
        (128, 24 * KiB),
        (100_000, 16 * KiB),
    ],
)
def test_the_more_transfers_the_less_each_reads_at_once(reads, size):
    assert share_of(reads) == size


def test_a_transfer_counts_as_long_as_it_has_its_share():
    shares = Shares()
    held = [shares.take() for _ in range(MANY)]
    waiting = shares.size
    for share in held:
        share.begin()
    assert waiting < shares.size < READ_SIZE
    held.clear()
    del share
    assert shares.size == READ_SIZE


def test_a_transfer_that_has_ended_or_never_began_has_no_share_though_it_is_kept():
    """What failed is in a cycle with its exception, until garbage is searched for."""
    shares, kept = Shares(), []
    for _ in range(MANY):
        with suppress(OSError), shares.taken() as share:
            kept.append(share)
            raise OSError
        with shares.taken() as share:
            kept.append(share)
        share.end()
    assert shares.size == READ_SIZE


def send(peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


def test_a_socket_reads_no_more_than_a_share():
    shares = Shares()
    held = [shares.take() for _ in range(MANY)]
    ours = shares.socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ()))
    with socket.create_server(("127.0.0.1", 0)) as server, ours:
        ours.connect(server.getsockname())
        peer, _ = server.accept()
        with peer:
            sender = threading.Thread(target=send, args=(peer, bytes(4 * MiB)))
            sender.start()
            buffer, got = bytearray(READ_SIZE), []
            assert ours.recv_into(buffer, 10) == 10
            while data := ours.recv(READ_SIZE):
                got += [len(data), ours.recv_into(buffer)]
            sender.join(60)
    assert sum(got) == 4 * MiB - 10
    assert max(got) <= share_of(4 * MANY) < READ_SIZE
    assert held


async def test_bodies_that_nobody_reads_hold_little_however_many(site):
    """The plug-ins that look at a head may take long."""
    transport = new_transport(stall_timeout=60, timeout=60)
    urls = [site.url(f"/file/x?{n}&size={MiB}") for n in range(MANY)]
    opening = (transport.open(Request(url)) for url in urls)
    exchanges = await asyncio.gather(*opening)
    held = [await exchange.read() for exchange in exchanges]
    assert sum(map(len, held)) < 16 * MiB
    for exchange in exchanges:
        exchange.close()
    await transport.close()


# -- hooks ------------------------------------------------------------------------


class Slow:
    """A plug-in whose hooks wait until so many of them wait at once."""

    def __init__(self, crawler) -> None:
        self.crawler = crawler
        self.now = self.most = 0

    @classmethod
    def from_crawler(cls, crawler):
        crawler.slow = cls(crawler)
        return crawler.slow

    async def wait(self):
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):
            await asyncio.sleep(0.001)
        self.now -= 1


class SlowStart(Slow):
    @hookimpl
    async def bgfetch_response_started(self):
        await self.wait()


class SlowEnd(Slow):
    @hookimpl
    async def bgfetch_record_settled(self):
        await self.wait()


@pytest.mark.parametrize("plugin", [SlowStart, SlowEnd])
async def test_no_more_hooks_wait_than_records_may_be_active(probe, plugin):
    """Those of files that are done do not pile up behind a slow one."""

    async def go(spider, response):
        urls = [f"/file/{n}" for n in range(40)]
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", urls, base_url=response)
        await handle.settled()
        spider.most = spider.crawler.slow.most

    limits = {"BGFETCH_CONCURRENT_RECORDS": 4, "CONCURRENT_REQUESTS_PER_DOMAIN": 40}
    spider = await probe(go, BGFETCH_PLUGINS=[plugin], **limits)
    assert spider.most == 4


async def test_progress_events_do_not_queue_up_behind_a_slow_handler(probe):
    tasks, running = [], []

    async def slow(event):
        running.append(event)
        tasks.append(len(asyncio.all_tasks()))
        if len(tasks) == 1:
            await asyncio.sleep(0.5)  # 50 ticks

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/slow/x?size={2 * MiB}&rate={2 * MiB}"
        handle = await fetch("a", url, base_url=response)
        handle.add_event_listener("progress", slow)
        await handle.settled()

    await probe(go, BGFETCH_PROGRESS_INTERVAL=0.01)
    assert len(tasks) > 1
    assert max(tasks) < tasks[0] + 10


# -- digests -----------------------------------------------------------------------


async def test_a_body_is_hashed_while_it_comes_however_rare_all_else_is(
    probe, monkeypatch
):
    """Otherwise nothing of a quick transfer was hashed when it ends."""
    lengths = []
    follow = Digests.follow

    def noted(digests, length):
        lengths.append(length)
        follow(digests, length)

    monkeypatch.setattr(Digests, "follow", noted)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/slow/x?size={4 * MiB}&rate={4 * MiB}"
        handle = await fetch("a", url, base_url=response)
        await handle.settled()
        spider.checksums = handle.records[0].checksums

    rare = {"BGFETCH_CHECKPOINT_INTERVAL": 3600, "BGFETCH_PROGRESS_INTERVAL": 3600}
    spider = await probe(go, BGFETCH_CHECKSUM="sha256", **rare)
    assert len(set(lengths)) > 3
    wanted = hashlib.sha256(body("x", 4 * MiB)).hexdigest()
    assert spider.checksums == {"sha256": wanted}


# -- a slow disk ------------------------------------------------------------------


@pytest.fixture
def slow_disk(monkeypatch):
    """Let every write be one of a disk that has been slow."""
    monkeypatch.setattr(SlowWrites, "slow", lambda self, now: True)


async def test_a_file_that_threads_write_is_whole(fetched, slow_disk):
    handle = await fetched(f"/file/x?size={4 * MiB}")
    (record,) = handle.records
    assert handle.result == "success"
    wanted = hashlib.sha256(body("x", 4 * MiB)).digest()
    assert hashlib.sha256(record.path.read_bytes()).digest() == wanted


async def test_the_budget_holds_while_threads_write(fetched, slow_disk, tmp_path):
    """Behaviour 50: bytes that are being written count for the others."""
    urls = [f"/slow/{n}?size={MiB}&rate={20 * MiB}&chunked=1" for n in range(8)]
    handle = await fetched(urls, options={"download_total": 3 * MiB})
    assert handle.failure_reason == "download-total-exceeded"
    assert handle.downloaded <= 3 * MiB


async def test_bytes_that_a_thread_writes_count_when_it_is_paused(
    probe, site, slow_disk, monkeypatch
):
    """Behaviour 56: the write that is under way ends, and its bytes are kept."""
    writing, go_on, lengths = threading.Event(), threading.Event(), []
    write = PartFile.write

    def waits(part, data):
        if part.length:  # the second one
            writing.set()
            assert go_on.wait(60)
        write(part, data)
        lengths.append(part.length)

    monkeypatch.setattr(PartFile, "write", waits)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = f"/slow/x?size={MiB}&rate={MiB}"
        handle = await fetch("a", url, base_url=response)
        assert await asyncio.to_thread(writing.wait, 60)
        await handle.pause()
        go_on.set()
        await handle.resume()
        spider.handle = await handle.settled()

    spider = await probe(go)
    (record,) = spider.handle.records
    assert spider.handle.result == "success"
    assert record.path.read_bytes() == body("x", MiB)
    assert spider.handle.downloaded == MiB
    _, resumed = site.of("/slow/x")
    assert resumed.headers["Range"] == f"bytes={lengths[1]}-"
