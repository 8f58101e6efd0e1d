"""Uploads over a restart: counted once, not repeated unless they may be (200, 219)."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from tests.support.crawl_process import until

MiB = 1024 * 1024
SIZE = 40 * MiB
SPIDER = "tests.support.uploading.Uploading"


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.write(os.urandom(1000))
        file.truncate(SIZE)
    return path


@pytest.fixture
def upload(site, process, big, tmp_path):
    """Start a crawl that sends the file slowly, and stop it half-way."""

    async def start(number, *, copied=False, first=None, **more):
        crawl = process(TEST_SPIDER=SPIDER, BGFETCH_CHECKPOINT_INTERVAL=0.05)
        url = site.url("/upload/a?first=2000000")
        requests = [{"url": first or url, "method": "POST"}]
        arguments = {"id": "a", "requests": requests, "body": str(big), **more}
        crawl.start(upload=[{**arguments, "copied": copied}])
        await until(lambda: uploaded(crawl) > 5 * MiB)
        await crawl.kill(number)
        return crawl

    return start


def uploaded(crawl):
    rows = crawl.rows("SELECT uploaded FROM registrations")
    return rows[0][0] if rows else 0


def copies(crawl):
    return [path.name for path in (crawl.state / "uploads").glob("*")]


def record(crawl):
    (row,) = crawl.rows(
        "SELECT records.state, records.failure_reason, records.uploaded, error,"
        " upload_total FROM records JOIN registrations USING (uid)"
    )
    return row


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_an_upload_under_way_fails_after_a_restart(upload, site, number):
    """219: the server may have got it; 200: what was sent stays counted."""
    crawl = await upload(number)
    sent = uploaded(crawl)
    assert 0 < sent < SIZE
    await crawl.run()
    assert crawl.ends() == [("fail", "a", "fetch-error")]
    state, reason, counted, error, total = record(crawl)
    assert (state, reason, total) == ("settled", "fetch-error", SIZE)
    assert sent <= counted < SIZE
    assert uploaded(crawl) == counted
    assert "it is not sent again" in error
    assert len(site.uploads) == 1


async def test_a_signal_right_at_the_start_stops_an_upload(site, process, big):
    """Otherwise the spider would wait for its end."""
    crawl = process(TEST_SPIDER=SPIDER)
    requests = [{"url": site.url("/upload/a?rate=1000000"), "method": "POST"}]
    arguments = {"id": "a", "requests": requests, "body": str(big)}
    closed = (await crawl.run(upload=[arguments], stop=True))[-1]
    assert closed["reason"] == "shutdown"
    assert not any(one.complete for one in site.uploads)


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_with_retry_uploads_it_is_sent_again_and_counted_once(
    upload, site, big, number, copied
):
    """58, 200, B25: from its first byte; a copy survives the restart."""
    crawl = await upload(number, copied=copied, retry_uploads=True)
    assert bool(copies(crawl)) == copied
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    if copied:
        big.unlink()
    events = await crawl.run()
    assert crawl.ends() == [("success", "a", "")]
    assert record(crawl) == ("settled", "", SIZE, "", SIZE)
    assert uploaded(crawl) == SIZE
    assert [one.complete for one in site.uploads] == [False, True]
    assert site.uploads[1].length == SIZE
    (end,) = [one for one in events if one["event"] == "success"]
    assert Path(end["paths"][0]).read_text() == site.uploads[1].sha256
    assert site.uploads[1].sha256 == digest
    assert copies(crawl) == []


async def test_an_upload_that_had_not_begun_begins_after_a_restart(site, process, big):
    """219: the server has seen nothing of it."""
    crawl = process(TEST_SPIDER=SPIDER, BGFETCH_CONCURRENT_RECORDS=1)
    requests = [
        {"url": site.url("/slow/x?size=400000&rate=200000")},
        {"url": site.url("/upload/a"), "method": "POST", "body": "hello"},
    ]
    crawl.start(upload=[{"id": "a", "requests": requests}])
    await until(lambda: any(crawl.unfinished()))
    await crawl.kill()
    await crawl.run()
    assert crawl.ends() == [("success", "a", "")]
    assert [one.length for one in site.uploads] == [5]
    assert uploaded(crawl) == 5


async def test_what_was_sent_before_a_restart_is_not_sent_or_counted_again(
    site, process
):
    """200: also where the answer's body was empty."""
    crawl = process(TEST_SPIDER=SPIDER)
    requests = [
        {"url": site.url("/upload/a?empty"), "method": "POST", "body": "hello"},
        {"url": site.url("/slow/x?size=600000&rate=200000")},
    ]
    crawl.start(upload=[{"id": "a", "requests": requests}])
    await until(lambda: uploaded(crawl) == 5 and any(crawl.unfinished()))
    await crawl.kill()
    await crawl.run()
    assert crawl.ends() == [("success", "a", "")]
    assert uploaded(crawl) == 5
    assert len(site.uploads) == 1


async def test_copies_that_no_record_knows_are_swept_at_the_start(process, site):
    crawl = process(TEST_SPIDER=SPIDER)
    folder = crawl.state / "uploads"
    folder.mkdir(parents=True)
    (folder / "0123-0.body").write_bytes(b"left by a crash")
    await crawl.run(fetch=[{"id": "a", "requests": site.url("/file/x")}])
    assert copies(crawl) == []


async def test_a_file_that_changed_between_two_runs_is_not_sent(upload, site, big):
    crawl = await upload(signal.SIGKILL, retry_uploads=True)
    big.write_bytes(b"something else")
    await crawl.run()
    assert crawl.ends() == [("fail", "a", "fetch-error")]
    assert "is not what it was at registration" in record(crawl)[3]
    assert len(site.uploads) == 1
