"""Bodies from files: by path, or copied from file objects; never whole in memory."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import os
import resource
import threading
import time
from pathlib import Path

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BadRequestError, NotAllowedError
from scrapy_bgfetch.rules.uploads import upload_size
from tests.support.crawl_process import until
from tests.support.site import body
from tests.support.stuck import Stuck

MiB = 1024 * 1024
DATA = body("file", 700_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "up.bin"
    file.write_bytes(DATA)
    return file


@pytest.fixture
def stuck():
    server = Stuck().start()
    yield server
    server.stop()


def post(url, **kwargs):
    return Request(url, method="POST", **kwargs)


def copies(folder):
    return list((folder / "bgfetch").glob("uploads/*"))


async def test_a_path_is_sent_from_where_it_is(fetched, site, path, tmp_path):
    """17, 98, 117."""
    handle = await fetched(post(site.url("/upload/a")), options={"body": path})
    record = handle.records[0]
    assert handle.result == "success"
    assert record.path.read_text() == DIGEST
    assert handle.uploaded == handle.upload_total == len(DATA)
    assert record.request.meta["bgfetch"] == {"body_path": str(path)}
    assert record.request.body == b""
    assert site.seen[-1].headers["Content-Length"] == str(len(DATA))
    assert copies(tmp_path) == []
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("relative", [False, True])
async def test_body_path_in_the_meta_says_the_same(
    fetched, site, path, relative, monkeypatch
):
    monkeypatch.chdir(path.parent)
    said = path.name if relative else str(path)
    request = post(site.url("/upload/a"), meta={"bgfetch": {"body_path": said}})
    handle = await fetched(request)
    assert handle.records[0].path.read_text() == DIGEST
    assert handle.upload_total == len(DATA)


async def test_grouped_requests_have_a_body_path_too(crawl, site, path):
    """98: upload_total grows when it joins."""

    async def go(spider, response):
        group = {"id": "g", "requests": 2}
        joins = {"id": "g", "body_path": str(path)}
        return [
            spider.request(response, "/file/x", group),
            spider.request(response, "/upload/a", joins, method="PUT"),
        ]

    spider = await crawl(go)
    handle = spider.handle("success")
    assert handle.upload_total == handle.uploaded == len(DATA)
    texts = [r.path.read_bytes() for r in spider.results if r.url.endswith("/a")]
    assert texts == [DIGEST.encode()]


async def test_a_grouped_request_whose_file_is_missing_goes_to_its_errback(
    crawl, site, path
):
    async def go(spider, response):
        group = {"id": "g", "body_path": f"{path}.gone"}
        return [spider.request(response, "/upload/a", group, method="PUT")]

    spider = await crawl(go)
    (failure,) = spider.failures
    assert isinstance(failure, BadRequestError)
    assert "No such file" in str(failure)
    assert spider.events == []


async def test_a_file_object_is_copied_from_where_it_stands(probe, site, path):
    """17, 78: it may be closed when fetch() returns; the copy goes with its record."""

    async def go(spider, response):
        with path.open("rb") as file:
            file.seek(100_000)
            request = post(site.url("/upload/a?rate=2000000"))
            handle = await spider.background_fetch.fetch("a", request, body=file)
            assert not file.closed
        assert handle.upload_total == len(DATA) - 100_000
        path.write_bytes(b"changed")
        copy = Path(handle.records[0].request.meta["bgfetch"]["body_path"])
        assert copy.read_bytes() == DATA[100_000:]
        assert copy.stat().st_mode & 0o777 == 0o600
        await handle.settled()
        assert handle.result == "success"
        digest = hashlib.sha256(DATA[100_000:]).hexdigest()
        assert handle.records[0].path.read_text() == digest
        assert not copy.exists()

    await probe(go)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: io.BytesIO(DATA),
        lambda path: path.open("rb"),
        lambda path: gzip.GzipFile(path.with_suffix(".gz")),
    ],
    ids=["BytesIO", "file", "gzip"],
)
async def test_any_binary_file_object_will_do(fetched, site, path, make):
    """133."""
    path.with_suffix(".gz").write_bytes(gzip.compress(DATA, 1))
    with make(path) as file:
        handle = await fetched(post(site.url("/upload/a")), options={"body": file})
    assert handle.records[0].path.read_text() == DIGEST


async def test_a_list_of_bodies_has_one_for_each_request(fetched, site, path, tmp_path):
    requests = [
        post(site.url("/upload/a")),
        Request(site.url("/file/b")),
        post(site.url("/upload/c")),
        post(site.url("/upload/d"), body=b"own"),
    ]
    bodies = [path, None, io.BytesIO(b"third"), None]
    handle = await fetched(requests, options={"body": bodies})
    assert handle.result == "success"
    assert [record.uploaded for record in handle.records] == [len(DATA), 0, 5, 3]
    assert handle.uploaded == handle.upload_total == len(DATA) + 8
    assert copies(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, 128 * 1024, 128 * 1024 + 1])
async def test_files_of_any_length_are_sent(fetched, site, tmp_path, size):
    file = tmp_path / "x"
    file.write_bytes(body("x", size))
    handle = await fetched(post(site.url("/upload/a")), options={"body": file})
    assert handle.result == "success"
    assert [(one.length, one.complete) for one in site.uploads] == [(size, True)]
    assert site.uploads[0].sha256 == hashlib.sha256(body("x", size)).hexdigest()


@pytest.mark.parametrize("code", [307, 308])
async def test_a_redirect_sends_the_file_again(fetched, site, path, code):
    url = site.url(f"/move/{code}/upload/a")
    handle = await fetched(post(url), options={"body": path})
    assert handle.records[0].path.read_text() == DIGEST
    assert handle.uploaded == handle.upload_total == len(DATA)


async def test_a_redirect_that_makes_a_get_sends_no_file(fetched, site, path):
    url = site.url("/move/303/upload/a")
    handle = await fetched(post(url), options={"body": path})
    assert handle.result == "success"
    assert [(one.method, one.length) for one in site.uploads] == [("GET", 0)]


async def test_with_retry_uploads_the_file_is_sent_again(fetched, site, path):
    request = post(site.url("/upload/a?once=503"))
    handle = await fetched(request, options={"body": path, "retry_uploads": True})
    assert handle.records[0].path.read_text() == DIGEST
    assert handle.uploaded == handle.upload_total == len(DATA)
    assert len(site.uploads) == 2


# -- files that cannot be sent --------------------------------------------------------


class Broken(io.RawIOBase):
    def __init__(self, error):
        self.left = 3
        self.error = error

    def read(self, size=-1):
        self.left -= 1
        if self.left:
            return bytes(1000)
        raise self.error


async def refused(probe, requests, match, error=BadRequestError, **arguments):
    async def go(spider, response):
        with pytest.raises(error, match=match) as caught:
            await spider.background_fetch.fetch("a", requests, **arguments)
        assert not issubclass(error, BadRequestError) or isinstance(
            caught.value, TypeError
        )
        assert await spider.background_fetch.get_ids() == []

    await probe(go)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: path.parent / "missing", "No such file"),
        (lambda path: path.parent, "no regular file"),
        (str, "must be a pathlib.Path or an open binary file"),
        (lambda path: b"bytes", "must be a pathlib.Path or an open binary file"),
        (lambda path: [path, path], "has 2 entries for 1 requests"),
        (lambda path: io.StringIO("text"), "must be bytes, not str"),
        (lambda path: Broken(OSError("torn")), "cannot be read: OSError: torn"),
        (lambda path: Broken(StopIteration()), "cannot be read: StopIteration"),
        (lambda path: [io.BytesIO(), None], "has 2 entries for 1 requests"),
    ],
)
async def test_a_body_that_cannot_be_had_is_refused(
    probe, site, path, tmp_path, make, match
):
    """18: nothing is registered, nothing is left."""
    await refused(probe, post(site.url("/upload/a")), match, body=make(path))
    assert copies(tmp_path) == []
    assert site.uploads == []


async def test_a_pipe_is_refused_at_once(probe, site, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    request = post(site.url("/upload/a"))
    await refused(probe, request, "no regular file", body=tmp_path / "pipe")


async def test_when_one_of_several_breaks_no_copy_is_left(probe, site, tmp_path):
    """18."""
    requests = [post(site.url(f"/upload/{n}")) for n in range(3)]
    bodies = [io.BytesIO(b"x"), Broken(ValueError("no")), io.BytesIO(b"y")]
    await refused(probe, requests, "ValueError: no", body=bodies)
    assert copies(tmp_path) == []


class Veto:
    @hookimpl
    def bgfetch_register(self, registration):
        raise NotAllowedError("not today")


async def test_a_veto_leaves_no_copy(probe, site, tmp_path):
    async def go(spider, response):
        request = post(site.url("/upload/a"))
        with pytest.raises(NotAllowedError):
            await spider.background_fetch.fetch("a", request, body=io.BytesIO(b"x"))

    await probe(go, BGFETCH_PLUGINS=[Veto])
    assert copies(tmp_path) == []


@pytest.mark.parametrize(
    ("request_", "arguments", "match"),
    [
        ({"body": b"x"}, {}, "has two bodies"),
        ({"method": "GET"}, {}, "a GET request sends none"),
        ({"method": "HEAD"}, {}, "a HEAD request sends none"),
        ({"meta": {"bgfetch": {"body_path": "/x"}}}, {"body": True}, "has two bodies"),
        (
            {"meta": {"bgfetch": {"body_path": 5}}},
            {"bare": True},
            "must be the path of a file",
        ),
        (
            {"meta": {"bgfetch": {"body_path": ""}}},
            {"bare": True},
            "must be the path of a file",
        ),
    ],
)
async def test_a_request_has_one_body_at_most(
    probe, site, path, request_, arguments, match
):
    request = Request(site.url("/upload/a"), **{"method": "POST", **request_})
    given = {} if "bare" in arguments else {"body": path}
    await refused(probe, request, match, **given)


@pytest.mark.parametrize("change", ["longer", "same length", "gone", "a folder"])
async def test_a_file_that_changed_before_it_was_sent_is_not_sent(
    probe, site, path, change
):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = site.url("/slow/x?size=200000&rate=200000")
        handle = await fetch(
            "a", [first, post(site.url("/upload/a"))], body=[None, path]
        )
        await until(lambda: handle.records[0].downloaded)
        changed(path, change)
        await handle.settled()
        assert handle.failure_reason == "fetch-error"
        assert "is not what it was at registration" in handle.records[1].error
        assert str(path) in handle.records[1].error
        assert (handle.records[1].uploaded, site.uploads) == (0, [])

    await probe(go, BGFETCH_CONCURRENT_RECORDS=1)


def changed(path, change):
    if change == "longer":
        path.write_bytes(DATA + b"x")
    elif change == "same length":
        path.write_bytes(DATA[::-1])
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
        if change == "a folder":
            path.mkdir()


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("change", ["shorter", "same length"])
async def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(
    probe, site, tmp_path, retry, change
):
    """It is not tried again either: it would not be better."""
    path = tmp_path / "big"
    path.write_bytes(bytes(24 * MiB))

    async def go(spider, response):
        request = post(site.url("/upload/a?rate=8000000"))
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", request, body=path, retry_uploads=retry)
        await until(lambda: site.uploads and site.uploads[0].length)
        if change == "shorter":
            os.truncate(path, 23 * MiB)
        else:
            os.utime(path, ns=(1, 1))
        await handle.settled()
        assert handle.failure_reason == "fetch-error"
        assert "is not what it was at registration" in handle.records[0].error
        assert len(site.uploads) == 1
        assert not site.uploads[0].complete

    await probe(go)


# -- others are not held up -----------------------------------------------------------


class Endless(io.RawIOBase):
    """Blocks until it may end."""

    def __init__(self):
        self.reading = threading.Event()
        self.may_end = threading.Event()

    def read(self, size=-1):
        self.reading.set()
        self.may_end.wait(30)
        return b""


async def test_a_body_that_never_ends_holds_nobody_up(probe, site, path):
    """B17: not even many of them."""
    files = [Endless() for _ in range(40)]

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        upload = post(site.url("/upload/a"))
        slow = await fetch("slow", site.url("/slow/x?size=9000000&rate=100000"))
        waiting = [
            asyncio.ensure_future(fetch(f"endless {n}", upload, body=file))
            for n, file in enumerate(files)
        ]
        await until(lambda: all(file.reading.is_set() for file in files))
        assert await asyncio.wait_for(slow.abort(), 5)
        other = await asyncio.wait_for(fetch("b", upload, body=path), 5)
        await asyncio.wait_for(other.settled(), 10)
        assert other.result == "success"
        assert not any(one.done() for one in waiting)
        for file in files:
            file.may_end.set()
        ended = await asyncio.gather(*waiting)
        assert {handle.upload_total for handle in ended} == {0}

    await probe(go)


@pytest.mark.slow  # by the clock
async def test_the_loop_goes_on_while_a_file_is_copied_and_sent(probe, site, tmp_path):
    path = tmp_path / "big"
    path.write_bytes(bytes(64 * MiB))
    gaps = []

    async def go(spider, response):
        async def watch():
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.005)
                gaps.append(time.monotonic() - before)

        watching = asyncio.ensure_future(watch())
        with path.open("rb") as file:
            request = post(site.url("/upload/a"))
            handle = await spider.background_fetch.fetch("a", request, body=file)
        await handle.settled()
        watching.cancel()
        assert handle.result == "success"

    await probe(go)
    assert len(gaps) > 10
    assert sorted(gaps)[len(gaps) // 2] < 0.1


async def test_aborting_an_upload_removes_its_copy_and_closes_the_file(
    probe, stuck, tmp_path
):
    async def go(spider, response):
        file = io.BytesIO(bytes(32 * MiB))
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", post(stuck.url()), body=file)
        await until(lambda: handle.records[0].uploaded)
        assert open_bodies()
        await handle.abort()
        await handle.settled()
        assert handle.failure_reason == "aborted"
        assert copies(tmp_path) == []
        await until(lambda: not open_bodies())
        await until(lambda: stuck.gone is not None)

    await probe(go)


def open_bodies():
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return [one for one in found if ".body" in one]


async def test_256_mib_are_sent_at_constant_memory(probe, site, tmp_path):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(256 * MiB)

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = await fetch("warm", post(site.url("/upload/a")), body=io.BytesIO(b"x"))
        await first.settled()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        handle = await fetch("a", post(site.url("/upload/b")), body=path)
        await handle.settled()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert handle.uploaded == 256 * MiB
        assert after - before < 24 * 1024  # KiB; the server is in this process too

    await probe(go)


@pytest.mark.parametrize("size", range(8))
def test_the_size_of_a_kept_body_is_that_of_its_bytes(size):
    kept = {"body": base64.b64encode(bytes(size)).decode()}
    assert upload_size(kept) == size
