"""BGFETCH_QUOTA and BGFETCH_RECORD_MAXSIZE while bytes arrive (19, 20, 51)."""

from __future__ import annotations

import shutil

import pytest

from scrapy_bgfetch.exceptions import QuotaExceededError
from tests.support.crawl_process import until
from tests.support.raw import answer
from tests.support.site import body

MiB = 1024 * 1024
TAG = 'ETag: "x"'
UNKNOWN = "rate=50000000&chunked"


async def test_the_quota_holds_over_all_background_fetches(probe, tmp_path):
    """Behaviour 213."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handles = [
            await fetch(name, f"/slow/{name}?size={MiB}&{UNKNOWN}", base_url=response)
            for name in "xyz"
        ]
        spider.handles = [await handle.settled() for handle in handles]

    spider = await probe(go, BGFETCH_QUOTA=2 * MiB + 1000)
    reasons = sorted(handle.failure_reason for handle in spider.handles)
    assert "quota-exceeded" in reasons
    assert used(tmp_path) <= 2 * MiB + 1000
    assert sum(handle.downloaded for handle in spider.handles) == used(tmp_path)


async def test_a_body_that_announces_too_much_is_refused_before_it_comes(
    probe, tmp_path
):
    """Behaviours 52, 213."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        urls = [f"/file/x?size={MiB}", "/file/y?size=1000"]
        handle = await fetch("a", urls, base_url=response)
        spider.handle = await handle.settled()

    spider = await probe(go, BGFETCH_QUOTA=MiB - 1)
    big, small = spider.handle.records
    assert big.failure_reason == "quota-exceeded"
    assert "BGFETCH_QUOTA" in big.error
    assert big.downloaded == 0
    assert small.failure_reason == ""


async def test_equality_passes(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", f"/file/x?size={MiB}", base_url=response)
        spider.handle = await handle.settled()

    spider = await probe(go, BGFETCH_QUOTA=MiB)
    assert spider.handle.result == "success"


async def test_settled_files_count_in_later_runs_until_they_are_taken_away(
    probe, tmp_path
):
    """Behaviour 92."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", f"/file/x?size={MiB}", base_url=response)
        spider.handle = await handle.settled()

    assert (await probe(go, BGFETCH_QUOTA=MiB)).handle.result == "success"
    second = (await probe(go, BGFETCH_QUOTA=MiB + 1000)).handle
    assert second.failure_reason == "quota-exceeded"
    shutil.rmtree(tmp_path / "bgfetch" / "files")
    (tmp_path / "bgfetch" / "files").mkdir()
    assert (await probe(go, BGFETCH_QUOTA=MiB)).handle.result == "success"


async def test_a_registration_is_refused_when_nothing_is_left(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("a", "/file/x?size=1000", base_url=response)).settled()
        with pytest.raises(QuotaExceededError, match="BGFETCH_QUOTA"):
            await fetch("b", "/file/y", base_url=response)
        with pytest.raises(QuotaExceededError, match="BGFETCH_QUOTA"):
            await fetch("b", "/file/y", base_url=response, download_total=1)

    await probe(go, BGFETCH_QUOTA=1000)


async def test_pause_waits_for_files_to_be_taken_away(probe, caplog):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = await fetch("a", f"/file/x?size={MiB}", base_url=response)
        await first.settled()
        second = await fetch("b", f"/file/y?size={MiB}", base_url=response)
        await until(lambda: "All background fetches pause" in caplog.text)
        assert not second.result
        first.records[0].path.unlink()
        spider.handle = await second.settled()

    spider = await probe(go, BGFETCH_QUOTA=MiB + 10, BGFETCH_ON_FULL="pause")
    assert spider.handle.records[0].path.read_bytes() == body("y", MiB)


async def test_what_can_never_fit_the_quota_fails_instead_of_waiting(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", f"/file/x?size={MiB}", base_url=response)
        spider.handle = await handle.settled()

    spider = await probe(go, BGFETCH_QUOTA=1000, BGFETCH_ON_FULL="pause")
    assert spider.handle.failure_reason == "quota-exceeded"


@pytest.mark.parametrize("path", ["file", "slow"])
async def test_a_record_longer_than_its_maxsize_fails(fetched, path, tmp_path):
    """Announced or not."""
    urls = [f"/{path}/x?size=200000&{UNKNOWN}", f"/{path}/y?size=100000&{UNKNOWN}"]
    handle = await fetched(urls, BGFETCH_RECORD_MAXSIZE=100_000)
    long, exact = handle.records
    assert long.failure_reason == "quota-exceeded"
    assert "BGFETCH_RECORD_MAXSIZE" in long.error
    assert long.downloaded == 0
    assert exact.path.read_bytes() == body("y", 100_000)
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


async def test_a_file_beyond_the_maxsize_of_downloads_is_no_problem(fetched):
    """DOWNLOAD_MAXSIZE is for bodies in memory."""
    handle = await fetched("/file/x?size=200000", DOWNLOAD_MAXSIZE=1000)
    assert handle.result == "success"


async def test_bytes_of_a_record_that_ran_out_of_tries_are_kept(probe, site, raw):
    whole = body("x", 100_000)
    cut = answer(whole[:60_000], 'ETag: "x"', length=len(whole))
    part = answer(
        whole[60_000:],
        'ETag: "x"',
        "Content-Range: bytes 60000-99999/100000",
        status="206 Partial Content",
    )
    url = raw.says("/x", cut, part)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        spider.first = await (await fetch("a", url)).settled()
        spider.second = await (await fetch("a", url)).settled()

    spider = await probe(go, BGFETCH_RESUMPTIONS=0)
    assert spider.first.failure_reason == "fetch-error"
    assert spider.first.downloaded == 60_000
    assert spider.second.result == "success"
    assert spider.second.records[0].path.read_bytes() == whole
    assert b"Range: bytes=60000-" in raw.of("/x")[1]
    assert spider.first.downloaded == 60_000


def used(tmp_path):
    folder = tmp_path / "bgfetch"
    return sum(
        path.stat().st_size
        for name in ("parts", "files")
        for path in (folder / name).rglob("*")
        if path.is_file()
    )


@pytest.mark.parametrize(
    ("maxsize", "reason"), [(99_999, "quota-exceeded"), (100_000, "")]
)
async def test_the_maxsize_holds_for_all_of_a_body_that_was_resumed(
    fetched, raw, tmp_path, maxsize, reason
):
    """Behaviour 215: neither the bytes before nor those of the 206 are too many."""
    whole = body("x", 100_000)
    head = f"HTTP/1.1 200 OK\r\n{TAG}\r\nTransfer-Encoding: chunked\r\n\r\nEA60\r\n"
    cut = head.encode() + whole[:60_000]
    span = "Content-Range: bytes 60000-99999/100000"
    part = answer(whole[60_000:], TAG, span, status="206 Partial Content")
    url = raw.says("/x", cut, part)
    handle = await fetched(url, BGFETCH_RECORD_MAXSIZE=maxsize)
    assert b"Range: bytes=60000-" in raw.of("/x")[1]
    (record,) = handle.records
    assert record.failure_reason == reason
    assert ("BGFETCH_RECORD_MAXSIZE" in record.error) == bool(reason)
    assert len(raw.of("/x")) == 2
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []
