"""A large record over several connections, each for another part of its body."""

from __future__ import annotations

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError
from tests.support.crawl_process import until
from tests.support.grouped import Grouped
from tests.support.segmented import (
    FOUR,
    HOLD,
    LEAST,
    SIZE,
    KiB,
    attempts,
    held,
    whole,
)
from tests.support.site import body


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_four_connections_bring_a_part_each_at_once(crawled, server, durability):
    """A server that limits each connection: four bring four times as much."""
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        assert [part.sent for part in server.parts] == [HOLD] * 4
        starts = sorted(part.first for part in server.parts)
        assert starts == [0, SIZE // 4, SIZE // 2, 3 * SIZE // 4]
        server.go_on()

    spider = await crawled(meanwhile, BGFETCH_DURABILITY=durability)
    assert whole(spider)
    (attempt,) = attempts(spider)
    assert (attempt["stored_before"], attempt["stored_after"]) == (0, SIZE)
    assert attempt["connections"] == len(server.parts) >= 4
    assert attempt["wire"] >= SIZE
    assert attempt["range"] is None
    assert attempt["status"] == 200


async def test_who_is_done_takes_the_later_half_of_what_is_left_elsewhere(
    crawled, server
):
    """One connection stands still: the others leave it less than twice the least."""
    server.hold = 50 * KiB

    async def meanwhile(spider, handle):
        await held(server, handle)
        server.slow = slow = server.parts[1]
        server.go_on()
        most = SIZE - 2 * LEAST
        await until(lambda: handle.records[0].downloaded > most)
        assert slow.sent == server.hold
        server.slow = None

    spider = await crawled(meanwhile)
    assert whole(spider)
    assert len(server.parts) > 4


@pytest.mark.parametrize(
    ("options", "more", "size"),
    [
        ({}, {}, SIZE),
        ({"connections_per_record": 1}, {"BGFETCH_CONNECTIONS_PER_RECORD": 4}, SIZE),
        (FOUR, {}, 2 * LEAST - 1),
        (FOUR, {}, 0),
    ],
)
async def test_one_connection_is_enough(crawled, server, options, more, size):
    spider = await crawled(options=options, size=size, **more)
    assert whole(spider, size=size)
    assert [(part.first, part.sent) for part in server.parts] == [(0, size)]
    assert attempts(spider)[0]["connections"] == 1


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_setting_is_for_all_and_a_group_may_say_it(
    server, settings, crawled, crawl, grouped
):
    server.hold = HOLD
    if not grouped:

        async def meanwhile(spider, handle):
            await held(server, handle, 3)
            server.go_on()

        assert whole(
            await crawled(meanwhile, options={}, BGFETCH_CONNECTIONS_PER_RECORD=3)
        )
        return

    async def go(spider, response):
        meta = {"bgfetch": {"id": "a", "requests": 1, "connections_per_record": 3}}
        return [Request(server.url("f", SIZE), spider.keep, meta=meta)]

    class Watching(Grouped):
        async def start(self):
            async for request in super().start():
                yield request
            await until(lambda: len(server.active) == 3)
            server.go_on()

    spider = await crawl(go, spidercls=Watching)
    assert [one.path.read_bytes() for one in spider.results] == [body("f", SIZE)]
    assert server.most == 3


@pytest.mark.parametrize("number", [0, 17, True, "4", 2.0])
async def test_a_number_that_cannot_be_is_refused(crawled, number):
    with pytest.raises(BadRequestError, match="connections_per_record is a number"):
        await crawled(options={"connections_per_record": number})


async def test_every_connection_asks_as_the_first_does(crawled, server):
    options = {**FOUR, "headers": {"X-Key": "k"}, "referer": server.url("page", 0)}
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        server.go_on()

    assert whole(await crawled(meanwhile, options=options))
    asked = [request.headers for request in server.requests]
    assert {one["X-Key"] for one in asked} == {"k"}
    assert {one["Referer"] for one in asked} == {server.url("page", 0)}
    assert {one["Accept-Encoding"] for one in asked} == {"identity"}
    assert {one["If-Range"] for one in asked[1:]} == {'"f"'}


async def test_the_body_can_be_read_in_its_order_meanwhile(crawled, server):
    """What follows is in a gap, which must not be read ahead."""
    server.hold = 150 * KiB  # no multiple of what Python reads at a time
    read = bytearray()

    async def meanwhile(spider, handle):
        await held(server, handle)
        response = await handle.records[0].response_ready
        async for chunk in response.iter_body():
            read.extend(chunk)
            if len(read) == server.hold:
                server.go_on()

    assert whole(await crawled(meanwhile))
    assert bytes(read) == body("f", SIZE)


async def test_digests_are_those_of_the_whole_body(crawled, server):
    spider = await crawled(BGFETCH_CHECKSUM="sha256", options=FOUR)
    assert whole(spider)
    record = spider.manifest["records"][0]
    assert record["sha256"] == record["checksums"]["sha256"]
