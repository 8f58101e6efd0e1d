"""Manifests of what options do: 304, uploads, appended records, early ends (N3)."""

from __future__ import annotations

import hashlib
import json

import pytest
from scrapy import Request

from scrapy_bgfetch import verify
from tests.support.grouped import Grouped
from tests.support.manifests import valid
from tests.support.resuming import SLOW
from tests.support.site import body

GOOD = hashlib.sha256(body("x", 1000)).hexdigest()


async def settled(spider, response, requests, **options):
    fetch = spider.background_fetch.fetch
    handle = await fetch("a", requests, base_url=response, **options)
    await handle.settled()
    return handle


@pytest.fixture
def files(tmp_path):
    return tmp_path / "bgfetch" / "files"


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("checksum", ["", "sha256"])
async def test_a_file_that_was_not_modified_is_told_and_verified(
    probe, files, checksum, dated
):
    """The path is in the folder of the earlier background fetch."""
    url = "/file/x?dated" if dated else "/file/x"

    async def go(spider, response):
        old = await settled(spider, response, url)
        new = await settled(spider, response, [url, "/file/y"], revalidate=True)
        spider.both = [valid(await one.manifest()) for one in (old, new)]

    old, new = (await probe(go, BGFETCH_CHECKSUM=checksum)).both
    first, again = old["records"][0], new["records"][0]
    assert again["path"] == first["path"]
    assert again["sha256"] == first["sha256"] == GOOD
    assert (again["downloaded"], again["wire"], again["size"]) == (0, 0, 1000)
    assert again["response"]["status"] == 200
    (attempt,) = again["attempts"]
    assert (attempt["status"], attempt["outcome"]) == (304, "complete")
    assert attempt["taken"] == ""
    assert [one["not_modified"] for one in new["records"]] == [True, False]
    (before,) = first["attempts"]
    for name in ("etag", "last_modified"):
        assert attempt[name] == before[name]
    assert verify(new, files).ok
    (files / first["path"]).write_bytes(b"?" * 1000)
    assert [one.index for one in verify(new, files).problems] == [0]


async def test_a_body_from_a_file_is_counted_and_not_told(probe, files, tmp_path):
    path = tmp_path / "s3cret-name"
    path.write_bytes(b"s3cret" * 1000)

    async def go(spider, response):
        urls = [response.urljoin(path) for path in ("/upload/a", "/file/x")]
        requests = [Request(urls[0], method="PUT"), urls[1]]
        handle = await settled(spider, response, requests, body=[path, None])
        spider.manifest = valid(await handle.manifest())

    manifest = (await probe(go)).manifest
    assert (manifest["upload_total"], manifest["uploaded"]) == (6000, 6000)
    assert [one["uploaded"] for one in manifest["records"]] == [6000, 0]
    assert "s3cret" not in json.dumps(manifest)
    assert verify(manifest, files).ok


async def test_records_that_were_appended_are_there(probe, files):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await fetch("a", f"/slow/x?{SLOW}", base_url=response)
        post = Request(response.urljoin("/echo"), method="POST", body=b"12345")
        handle = await settled(spider, response, ["/file/y", post], if_exists="append")
        spider.manifest = valid(await handle.manifest())

    manifest = (await probe(go)).manifest
    assert [one["index"] for one in manifest["records"]] == [0, 1, 2]
    assert [one["method"] for one in manifest["records"]] == ["GET", "GET", "POST"]
    assert (manifest["upload_total"], manifest["uploaded"]) == (5, 5)
    assert verify(manifest, files).ok


async def test_a_record_that_fail_fast_cut_has_no_file(probe, files):
    async def go(spider, response):
        requests = [f"/slow/x?{SLOW}", "/status/404"]
        handle = await settled(spider, response, requests, fail_fast=True)
        spider.manifest = valid(await handle.manifest())

    manifest = (await probe(go)).manifest
    assert (manifest["result"], manifest["failure_reason"]) == ("failure", "bad-status")
    cut, page = manifest["records"]
    assert (cut["failure_reason"], cut["path"]) == ("aborted", None)
    assert (page["failure_reason"], page["response"]["status"]) == ("bad-status", 404)
    assert manifest["options"] == {"fail_fast": True}
    assert [str(one.status) for one in verify(manifest, files).checks] == [
        "no-file",
        "ok",
    ]


async def test_options_are_told_and_credentials_are_not(probe):
    options = {
        "priority": -3,
        "max_concurrent_records": 2,
        "allowed_hosts": ["127.0.0.1", "example.com"],
        "retry_uploads": True,
        "rate_limit": 10**9,
    }

    async def go(spider, response):
        headers = {"Authorization": "s3cret", "Cookie": "a=s3cret"}
        page = response.replace(
            request=Request(response.url, headers={"Cookie": "b=s3cret"})
        )
        handle = await settled(
            spider,
            response,
            "/file/x",
            headers=headers,
            cookies_from=page,
            referer="http://user:s3cret@127.0.0.1/page",
            **options,
        )
        spider.manifest = valid(await handle.manifest())

    manifest = (await probe(go, BGFETCH_STORE_CREDENTIALS=True)).manifest
    assert manifest["options"] == options
    assert "s3cret" not in json.dumps(manifest)


async def test_the_options_of_a_group_are_told(crawl):
    async def go(spider, response):
        group = {"id": "g", "requests": 1, "priority": 2, "retry_uploads": True}
        return [spider.request(response, "/file/x", group, callback=spider.told)]

    class Telling(Grouped):
        async def told(self, response):
            handle = self.handle()
            await handle.settled()
            self.manifest = valid(await handle.manifest())

    spider = await crawl(go, Telling)
    told = spider.manifest["options"]["group"]
    assert (told["priority"], told["retry_uploads"]) == (2, True)


async def test_the_userinfo_of_icons_in_a_group_is_not_told(crawl):
    class Telling(Grouped):
        async def told(self, response):
            handle = self.handle()
            await handle.settled()
            self.manifest = valid(await handle.manifest())

    async def go(spider, response):
        icons = [{"src": "https://user:s3cret@example.com/icon.png"}]
        group = {"id": "g", "requests": 1, "icons": icons}
        return [spider.request(response, "/file/x", group, callback=spider.told)]

    assert "s3cret" not in json.dumps((await crawl(go, Telling)).manifest)
