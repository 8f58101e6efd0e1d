"""Odd heads and bodies on the wire: header fields, bombs, files that change."""

from __future__ import annotations

import asyncio
import zlib
from itertools import pairwise

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import FetchError
from tests.support.raw import answer

MiB = 1024 * 1024


# -- header fields -----------------------------------------------------------------


async def test_header_fields_that_are_not_ascii_arrive_unchanged(fetched, raw):
    headers = {"X-Name": ["\u00e9".encode(), "\u65e5\u672c".encode()]}
    request = Request(raw.says("/x", answer(b"ok")), headers=headers)
    handle = await fetched(request)
    assert handle.result == "success"
    lines = raw.heads[0].split(b"\r\n")
    assert b"X-Name: \xc3\xa9" in lines
    assert b"X-Name: \xe6\x97\xa5\xe6\x9c\xac" in lines


async def test_a_header_field_that_is_not_utf_8_is_refused_clearly(
    fetched, raw, caplog
):
    url = raw.says("/x", answer(b"ok"))
    handle = await fetched(Request(url, headers={"X-Name": b"\xe9"}))
    record = handle.records[0]
    assert handle.failure_reason == "fetch-error"
    assert "header field" in record.error
    assert "is not UTF-8" in record.error
    assert url in record.error
    assert raw.heads == []
    assert "is tried again" not in caplog.text


async def test_a_header_field_of_an_answer_keeps_its_bytes(fetched, raw):
    said = answer(b"ok", "X-Name: \u00e9", "X-Name: two")
    handle = await fetched(raw.says("/x", said))
    response = await handle.records[0].response_ready
    assert response.headers.getlist("X-Name") == [b"\xe9", b"two"]


async def test_a_redirect_to_an_address_in_utf_8_is_followed(fetched, raw):
    raw.says("/%C3%A9", answer(b"found"))
    there = "/\u00e9".encode().decode("latin-1")
    url = raw.says("/x", answer(b"", f"Location: {there}", status="302 Found"))
    handle = await fetched(url)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == b"found"


@pytest.mark.parametrize("size", [9_000, 30_000])
async def test_a_long_header_field_is_taken(fetched, raw, size):
    handle = await fetched(raw.says("/x", answer(b"ok", "X-Long: " + "h" * size)))
    assert handle.result == "success"
    response = await handle.records[0].response_ready
    assert len(response.headers["X-Long"]) == size


async def test_a_header_field_that_is_too_long_fails_at_once(fetched, raw, caplog):
    url = raw.says("/x", answer(b"ok", "X-Long: " + "h" * 100_000))
    handle = await fetched(url)
    assert handle.failure_reason == "fetch-error"
    assert url in handle.records[0].error
    assert len(raw.heads) == 1
    assert "is tried again" not in caplog.text


# -- bodies ------------------------------------------------------------------------


def bomb():
    """Return a gzip body of 1 GiB of zeros; it is stopped before its checksum."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = deflate.compress(bytes(16 * MiB)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return first + first[10:] * 63  # without the header of gzip


@pytest.mark.parametrize("total", [64 * MiB, 256 * MiB])
async def test_a_bomb_leaves_the_event_loop_its_turns(probe, raw, tmp_path, total):
    """It is 1 MiB on the wire; the loop has others to care for."""
    url = raw.says("/bomb", answer(bomb(), "Content-Encoding: gzip"))
    sizes = [0]

    async def watch(parts):
        while True:
            sizes.extend(path.stat().st_size for path in parts.iterdir())
            await asyncio.sleep(0)

    async def go(spider, response):
        watching = asyncio.ensure_future(watch(tmp_path / "bgfetch" / "parts"))
        spider.handle = await spider.background_fetch.fetch(
            "a", url, download_total=total
        )
        await spider.handle.settled()
        watching.cancel()

    spider = await probe(go)
    assert spider.handle.failure_reason == "download-total-exceeded"
    assert spider.handle.downloaded == 0
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []
    assert max(sizes) > total - 9 * MiB
    assert max(after - before for before, after in pairwise(sizes)) < 9 * MiB


class Shrinker:
    """Cuts the file of a record short."""

    @hookimpl
    def bgfetch_record_settled(self, record):
        record.path.write_bytes(b"xy")


async def test_a_file_that_a_hook_has_cut_short_cannot_be_read_to_its_end(
    fetched, site
):
    handle = await fetched(site.url("/file/x"), BGFETCH_PLUGINS=[Shrinker()])
    response = await handle.records[0].response_ready
    chunks = response.iter_body()
    assert await anext(chunks) == b"xy"
    with pytest.raises(FetchError, match="ends at byte 2") as caught:
        await anext(chunks)
    assert "/file/x" in str(caught.value)
    assert response.path.read_bytes() == b"xy"
