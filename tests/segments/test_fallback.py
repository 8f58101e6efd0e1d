"""Where ranges do not work, one connection brings all, and nobody says a word."""

from __future__ import annotations

import gzip
import logging

import pytest
from aiohttp import web

from tests.support.crawl_process import until
from tests.support.segmented import (
    HOLD,
    REFUSALS,
    SIZE,
    attempts,
    held,
    whole,
)
from tests.support.site import body


def without(*names, **fields):
    def edit(request, headers):
        for name in names:
            headers.pop(name, None)
        headers.update({name.replace("_", "-"): said for name, said in fields.items()})

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        without("ETag"),
        without(ETag='W/"f"'),
        without(Accept_Ranges="none"),
        without(Transfer_Encoding="chunked"),
    ],
    ids=["no validator", "weak", "no ranges", "unknown length"],
)
async def test_what_cannot_be_divided_is_fetched_as_ever(crawled, server, edit):
    server.edit = edit
    assert whole(await crawled())
    assert [(part.first, part.sent) for part in server.parts] == [(0, SIZE)]


async def test_what_is_in_a_content_coding_is_fetched_as_ever(crawled, server):
    data = gzip.compress(body("f", SIZE))
    fields = {"ETag": '"f"', "Content-Encoding": "gzip"}
    server.refuse = lambda request, wanted: web.Response(body=data, headers=fields)
    assert whole(await crawled())
    assert len(server.parts) == 1


@pytest.mark.parametrize("answer", REFUSALS.values(), ids=REFUSALS)
async def test_where_ranges_do_not_work_the_first_connection_brings_all(
    crawled, server, caplog, answer
):
    """Silently; no byte is fetched twice, and nobody asks again and again."""
    server.hold = HOLD

    def refuse(request, wanted):
        if wanted is None:
            return None
        if len(server.parts) == 3:
            server.go_on()
        return answer(wanted)

    server.refuse = refuse
    with caplog.at_level(logging.WARNING):
        spider = await crawled()
    assert whole(spider)
    assert len(server.parts) == 4
    assert server.parts[0].sent == SIZE
    assert [one["outcome"] for one in attempts(spider)] == ["complete"]
    assert attempts(spider)[0]["wire"] == SIZE
    assert not [one for one in caplog.records if one.name.startswith("scrapy_bgfetch")]


async def test_a_server_that_takes_two_connections_gets_two(crawled, server):
    """The others are refused, and what they would have brought is shared."""
    server.hold = HOLD

    def refuse(request, wanted):
        return web.Response(status=503) if len(server.active) >= 2 else None

    server.refuse = refuse

    async def meanwhile(spider, handle):
        await until(lambda: len(server.parts) == 4)
        await held(server, handle, 2)
        server.go_on()

    spider = await crawled(meanwhile)
    assert whole(spider)
    assert server.most == 2
    assert len(attempts(spider)) == 1
