"""Manifests of real crawls (N3, 48, 221)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal

import pytest
from scrapy import Request

from scrapy_bgfetch import extension, signals, verify
from scrapy_bgfetch.exceptions import InvalidStateError, StoreError
from scrapy_bgfetch.rules.claims import claims_of
from tests.support.manifests import REFERENCE, valid
from tests.support.raw import answer
from tests.support.resuming import SIZE, SLOW, half_way, offset
from tests.support.site import body, coded

GOOD = hashlib.sha256(body("x", 1000)).hexdigest()


@pytest.fixture
def written(probe):
    """Fetch in the background to the end; return the handle and its manifest."""

    async def fetch(requests, *, options=None, **settings):
        async def go(spider, response):
            fetch = spider.background_fetch.fetch
            handle = await fetch("a", requests, base_url=response, **(options or {}))
            await handle.settled()
            spider.written = handle, valid(await handle.manifest())

        return (await probe(go, **settings)).written

    return fetch


@pytest.fixture
def clerk(process, tmp_path):
    """A crawl in a process of its own that writes manifests, and who reads them."""
    plugins = ["tests.support.manifests.Clerk"]
    it = process(BGFETCH_PLUGINS=plugins, TEST_MANIFESTS=str(tmp_path))
    return it, lambda: valid(json.loads((tmp_path / "a.json").read_text()))


async def test_a_manifest_says_what_was_fetched_and_how(written, site):
    handle, manifest = await written(
        "/file/x", options={"title": "Ünïcode", "download_total": 5000}
    )
    (record,) = manifest.pop("records")
    (attempt,) = record.pop("attempts")
    times = manifest.pop("created_at"), manifest.pop("settled_at")
    times = (times[0], attempt.pop("started_at"), attempt.pop("ended_at"), times[1])
    assert list(times) == sorted(times)
    assert manifest == {
        "format": "scrapy-bgfetch manifest",
        "version": 1,
        "id": "a",
        "uid": handle.uid,
        "spider": "probe",
        "title": "Ünïcode",
        "result": "success",
        "failure_reason": "",
        "download_total": 5000,
        "downloaded": 1000,
        "upload_total": 0,
        "uploaded": 0,
        "options": {},
    }
    url, path = site.url("/file/x"), handle.records[0].path
    kind = "application/octet-stream"
    assert record == {
        "index": 0,
        "method": "GET",
        "url": url,
        "request_headers": [],
        "failure_reason": "",
        "error": "",
        "response": {
            "url": url,
            "status": 200,
            "etag": '"x"',
            "last_modified": None,
            "content_type": kind,
            "content_encoding": None,
        },
        "not_modified": False,
        "uploaded": 0,
        "downloaded": 1000,
        "wire": 1000,
        "size": 1000,
        "decoded": False,
        "path": f"{path.parent.name}/{path.name}",
        "sha256": GOOD,
        "checksums": {},
        "integrity": {},
        "problem": "",
        "attempts_made": 1,
        "attempts_dropped": 0,
    }
    assert attempt == {
        "number": 1,
        "urls": [url],
        "range": None,
        "if_range": None,
        "status": 200,
        "content_range": None,
        "content_encoding": None,
        "etag": '"x"',
        "last_modified": None,
        "connections": 1,
        "wire": 1000,
        "stored_before": 0,
        "stored_after": 1000,
        "taken": "replace",
        "outcome": "complete",
        "error": "",
    }


async def test_the_whole_url_chain_is_there(written, site):
    """Behaviour 221."""
    _, manifest = await written("/to/to/file/x")
    (record,) = manifest["records"]
    chain = [site.url(path) for path in ("/to/to/file/x", "/to/file/x?", "/file/x?")]
    (attempt,) = record["attempts"]
    assert [url.rstrip("?") for url in attempt["urls"]] == [
        url.rstrip("?") for url in chain
    ]
    assert record["url"] == chain[0]
    assert record["response"]["url"] == attempt["urls"][-1]


async def test_the_userinfo_of_a_redirect_is_left_out(written, site, raw):
    there = site.url("/file/x").replace("//", "//user:s3cret@")
    moved = raw.says("/x", answer(b"", f"Location: {there}", status="302 Found"))
    _, manifest = await written(moved)
    assert manifest["result"] == "success"
    assert manifest["records"][0]["attempts"][0]["urls"] == [moved, site.url("/file/x")]
    assert "s3cret" not in json.dumps(manifest)
    assert manifest["records"][0]["response"]["url"] == site.url("/file/x")


async def test_the_userinfo_of_a_redirect_is_left_out_of_errors_too(written, raw):
    there = raw.says("/broken", answer(b"half", length=8))
    there = there.replace("//", "//user:s3cret@")
    moved = raw.says("/x", answer(b"", f"Location: {there}", status="302 Found"))
    _, manifest = await written(moved, BGFETCH_RESUMPTIONS=1)
    assert manifest["records"][0]["attempts"][0]["error"]
    assert "s3cret" not in json.dumps(manifest)


async def test_a_resumed_body_has_its_ranges_and_the_first_head(written, raw):
    """Behaviour 48: the head of the first part stays, those of the others are told."""
    data = body("x", 1000)
    url = raw.says(
        "/x",
        answer(data[:400], 'ETag: "v"', "X-Part: 1", length=1000),
        answer(
            data[400:],
            'ETag: "v"',
            "Content-Range: bytes 400-999/1000",
            status="206 Partial Content",
        ),
    )
    _, manifest = await written(url)
    (record,) = manifest["records"]
    first, second = record["attempts"]
    assert (first["range"], first["if_range"], first["status"]) == (None, None, 200)
    assert (first["outcome"], first["taken"], first["wire"]) == (
        "retry",
        "replace",
        400,
    )
    assert first["error"]
    assert (second["range"], second["if_range"]) == ("bytes=400-", '"v"')
    assert (second["status"], second["content_range"]) == (206, "bytes 400-999/1000")
    assert (second["stored_before"], second["stored_after"]) == (400, 1000)
    assert (second["outcome"], second["taken"], second["wire"]) == (
        "complete",
        "append",
        600,
    )
    assert record["response"]["status"] == 200
    assert record["wire"] == record["downloaded"] == 1000
    assert record["sha256"] == hashlib.sha256(data).hexdigest()


async def test_a_body_that_starts_over_says_so(written, raw):
    """N4: the decision is recorded."""
    old, new = body("old", 1000), body("new", 900)
    url = raw.says(
        "/x",
        answer(old[:400], 'ETag: "old"', length=1000),
        answer(
            old[400:],
            'ETag: "new"',
            "Content-Range: bytes 400-999/1000",
            status="206 Partial Content",
        ),
        answer(new, 'ETag: "new"'),
    )
    _, manifest = await written(url)
    (record,) = manifest["records"]
    assert [
        (one["outcome"], one["stored_before"], one["stored_after"], one["etag"])
        for one in record["attempts"]
    ] == [
        ("retry", 0, 400, '"old"'),
        ("restart", 400, 0, '"new"'),
        ("complete", 0, 900, '"new"'),
    ]
    assert "ETag" in record["attempts"][1]["error"]
    assert record["wire"] == sum(one["wire"] for one in record["attempts"]) == 1300


async def test_decoded_and_wire_bytes_are_told_apart(written):
    _, manifest = await written("/slow/x?gzip&size=50000&rate=9000000")
    (record,) = manifest["records"]
    wire = len(coded("x", 50_000))
    assert record["decoded"] is True
    assert (record["downloaded"], record["wire"]) == (50_000, wire)
    assert record["attempts"][0]["wire"] == wire
    assert record["attempts"][0]["content_encoding"] == "gzip"
    assert record["sha256"] == hashlib.sha256(body("x", 50_000)).hexdigest()


async def test_failures_are_told_with_what_they_left(written):
    bad = ["/file/x", "/status/404", "http://127.0.0.1:1/x"]
    _, manifest = await written(bad, BGFETCH_RESUMPTIONS=1)
    good, page, gone = manifest["records"]
    assert (manifest["result"], good["sha256"]) == ("failure", GOOD)
    assert (page["failure_reason"], page["response"]["status"]) == ("bad-status", 404)
    assert page["sha256"] == hashlib.sha256(b"page of 404").hexdigest()
    assert [one["outcome"] for one in page["attempts"]] == ["failed"]
    assert page["attempts"][0]["status"] == 404
    assert gone["path"] is gone["sha256"] is gone["response"] is None
    assert [one["outcome"] for one in gone["attempts"]] == ["retry", "failed"]
    assert [one["status"] for one in gone["attempts"]] == [None, None]
    assert gone["attempts"][1]["error"] == gone["error"]


async def test_uploads_and_the_names_of_fields_are_told_but_no_credentials(
    written, site
):
    headers = {"Authorization": "s3cret", "Cookie": "s3cret", "X-Color": "red"}
    request = Request(site.url("/echo"), method="POST", headers=headers, body=b"hello")
    _, manifest = await written(request, BGFETCH_STORE_CREDENTIALS=True)
    assert (manifest["upload_total"], manifest["uploaded"]) == (5, 5)
    (record,) = manifest["records"]
    assert (record["method"], record["request_headers"]) == ("POST", ["x-color"])
    assert "s3cret" not in json.dumps(manifest)


async def test_an_abort_ends_the_attempts_that_were_under_way(probe):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", [f"/slow/{n}?{SLOW}" for n in "xy"], base_url=response
        )
        for record in handle.records:
            await record.response_ready
        await handle.abort()
        await handle.settled()
        spider.manifest = valid(await handle.manifest())

    manifest = (await probe(go)).manifest
    assert manifest["failure_reason"] == "aborted"
    for record in manifest["records"]:
        assert record["downloaded"] == 0
        (attempt,) = record["attempts"]
        assert (attempt["outcome"], attempt["status"]) == ("interrupted", 200)


async def test_checksums_that_are_known_are_not_computed_again(written, tmp_path):
    """The file is not read: its length is compared, no more."""
    options = {"integrity": {"md5": hashlib.md5(body("x", 1000)).hexdigest()}}
    _, manifest = await written("/file/x", options=options, BGFETCH_CHECKSUM="sha256")
    (record,) = manifest["records"]
    assert record["checksums"] == {"sha256": GOOD, **record["checksums"]}
    assert sorted(record["checksums"]) == ["md5", "sha256"]
    assert record["sha256"] == GOOD
    assert record["integrity"] == {"md5": [options["integrity"]["md5"]]}


@pytest.mark.parametrize("checksum", ["", "sha256"])
@pytest.mark.parametrize("gone", [True, False])
async def test_a_file_that_is_gone_or_longer_is_said(probe, gone, checksum):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        await handle.settled()
        path = handle.records[0].path
        path.unlink() if gone else path.write_bytes(b"?" * 1001)
        spider.manifest = valid(await handle.manifest())

    (record,) = (await probe(go, BGFETCH_CHECKSUM=checksum)).manifest["records"]
    assert record["sha256"] == (GOOD if checksum else None)
    assert ("not there" if gone else "1001 bytes") in record["problem"]


async def test_there_is_none_while_it_is_active(probe):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", f"/slow/x?{SLOW}", base_url=response
        )
        with pytest.raises(InvalidStateError, match="active"):
            await handle.manifest()
        await handle.abort()

    await probe(go)


async def test_it_is_there_in_the_handler_of_the_end_and_after_it(probe):
    seen = []

    async def go(spider, response):
        async def on_success(registration, event):
            seen.append(valid(await event.registration.manifest()))

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        await handle.settled()
        while handle.records_available:
            await asyncio.sleep(0.01)
        seen.append(await handle.manifest())
        spider.handle = handle

    spider = await probe(go)
    assert seen[0] == seen[1]
    with pytest.raises(StoreError):
        await spider.handle.manifest()


async def asked_again_and_again(handle):
    while await handle.manifest():
        await asyncio.sleep(0.01)


async def test_one_that_was_forgotten_says_why(probe, monkeypatch):
    monkeypatch.setattr(extension, "_FORGET_INTERVAL", 0.05)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = await fetch("a", "/file/x", base_url=response)
        await first.settled()
        await (await fetch("b", "/file/y", base_url=response)).settled()
        with pytest.raises(InvalidStateError, match="BGFETCH_HISTORY"):
            await asyncio.wait_for(asked_again_and_again(first), 20)

    await probe(go, BGFETCH_HISTORY=1)


async def test_what_a_killed_crawl_began_is_told_by_the_next_one(clerk, site):
    it, manifest = clerk
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill(signal.SIGKILL)
    await it.run()
    (record,) = manifest()["records"]
    assert (record["attempts_made"], record["attempts_dropped"]) == (2, 0)
    (attempt,) = record["attempts"]  # the first one left nothing
    assert attempt["number"] == 2
    assert attempt["range"] == f"bytes={offset(site.of('/slow/x')[1])}-"
    assert attempt["stored_before"] == offset(site.of("/slow/x")[1])
    assert attempt["stored_after"] == record["downloaded"] == SIZE
    assert record["sha256"] == hashlib.sha256(body("x", SIZE)).hexdigest()
    assert verify(manifest(), it.state / "files").ok


def test_the_example_of_the_docs_is_a_manifest():
    example = valid(json.loads((REFERENCE / "manifest.example.json").read_text()))
    (claim,) = claims_of(example)
    assert claim.digests


async def test_a_crawl_that_was_stopped_tells_both_attempts(clerk, site):
    it, manifest = clerk
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill(signal.SIGTERM)
    await it.run()
    (record,) = manifest()["records"]
    first, second = record["attempts"]
    assert (first["outcome"], second["outcome"]) == ("interrupted", "complete")
    assert first["stored_after"] == second["stored_before"] > 0
    assert first["wire"] + second["wire"] == record["wire"]
