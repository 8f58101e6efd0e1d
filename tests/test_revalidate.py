"""``revalidate``: the server is asked whether an earlier file is the same still.

RFC 9110 section 13.1, RFC 9111 sections 3.2 and 4.3.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from scrapy import Request

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.file_names import part_name
from tests.support.crawl_process import until
from tests.support.site import MODIFIED, body

FIELDS = ("If-None-Match", "If-Modified-Since", "Range", "If-Range")
SHA = hashlib.sha256(body("x", 1000)).hexdigest()


def asked(request):
    return {name: request.headers[name] for name in FIELDS if name in request.headers}


@pytest.fixture
def twice(probe, site, tmp_path):
    """Fetch two times for one id, with something in between; return both."""

    async def start(
        first="/file/x", then=None, between=None, settings=None, times=1, **options
    ):
        async def go(spider, response):
            async def fetch(what, **said):
                fetch = spider.background_fetch.fetch
                handle = await fetch("a", what, base_url=response, **said)
                await handle.settled()
                await until(lambda: not handle.records_available, 10)
                return handle

            old = await fetch(first)
            if between is not None:
                between(old)
            for _ in range(times):
                site.seen.clear()
                new = await fetch(then or first, revalidate=True, **options)
            spider.both = old, new

        site.spider = await probe(go, **(settings or {}))
        assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []
        return site.spider.both

    return start


@pytest.mark.parametrize("said", [1, None, "yes"])
async def test_revalidate_is_true_or_false(probe, said):
    async def go(spider, response):
        with pytest.raises(BadRequestError, match="revalidate"):
            await spider.background_fetch.fetch("a", response.url, revalidate=said)

    await probe(go)


@pytest.mark.parametrize(
    ("query", "etag", "fields"),
    [
        ("", None, {"If-None-Match": '"x"'}),
        ("", 'W/"1"', {"If-None-Match": 'W/"1"'}),
        ("?dated", None, {"If-Modified-Since": MODIFIED}),
    ],
)
async def test_what_is_not_modified_keeps_the_file_and_says_so(
    twice, site, query, etag, fields
):
    if etag:
        site.etags["x"] = etag
    old, new = await twice("/file/x" + query)
    (before,), (record,) = old.records, new.records
    assert asked(site.seen[0]) == fields
    assert (new.result, record.not_modified, before.not_modified) == (
        "success",
        True,
        False,
    )
    assert (record.path, record.size, record.status) == (before.path, 1000, 200)
    assert record.path.read_bytes() == body("x", 1000)
    assert (record.downloaded, new.downloaded) == (0, 0)
    assert site.spider.crawler.stats.get_value("bgfetch/not_modified") == 1
    assert site.spider.names("progress") == 2 * [
        "registered",
        "record_settled",
        "success",
    ]


async def test_its_response_is_readable_with_the_freshened_head(twice, site):
    """RFC 9111 section 3.2."""
    _, new = await twice()
    response = await new.records[0].response_ready
    data = b"".join([chunk async for chunk in response.iter_body()])
    assert data == body("x", 1000)
    with response.open() as file:
        assert file.read() == data
    assert (response.status, response.headers["X-Checked"]) == (200, b"yes")
    assert response.headers["ETag"] == b'"x"'
    assert response.size == 1000


async def test_what_was_modified_is_downloaded(twice, site):
    def change(_):
        site.etags["x"], site.contents["x"] = '"2"', b"new"

    old, new = await twice(between=change)
    (record,) = new.records
    assert asked(site.seen[0]) == {"If-None-Match": '"x"'}
    assert (record.not_modified, new.downloaded) == (False, 3)
    assert record.path.read_bytes() == b"new"
    assert old.records[0].path.read_bytes() == body("x", 1000)
    assert site.spider.crawler.stats.get_value("bgfetch/not_modified") is None


async def test_nobody_is_asked_without_the_option(fetched, site):
    await fetched("/file/x")
    site.seen.clear()
    await fetched("/file/x")
    assert [asked(request) for request in site.of("/file/x")] == [{}]


async def test_a_first_fetch_and_a_file_without_validator_ask_for_nothing(twice, site):
    old, new = await twice("/file/x?bare")
    assert asked(site.seen[0]) == {}
    assert new.downloaded == 1000
    assert new.records[0].path != old.records[0].path


def lose(old):
    old.records[0].path.unlink()


def cut(old):
    path = old.records[0].path
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [lose, cut])
async def test_a_file_that_is_missing_or_has_another_size_is_not_asked_about(
    twice, site, harm
):
    _, new = await twice(between=harm)
    assert asked(site.seen[0]) == {}
    assert new.records[0].path.read_bytes() == body("x", 1000)


async def test_other_requests_are_not_asked_about(twice, site):
    _, new = await twice(then=["/file/y", "/file/x"])
    assert [record.not_modified for record in new.records] == [False, True]
    assert new.downloaded == 1000


async def test_a_request_with_its_own_condition_is_left_alone(twice, site):
    """Its 304 is what nobody of ours has asked for: a bad status (54)."""
    own = Request(site.url("/file/x"), headers={"If-None-Match": '"x"'})
    _, new = await twice(then=own)
    assert new.failure_reason == "bad-status"


async def test_a_304_that_nobody_asked_for_is_a_bad_status(fetched, site):
    site.not_modified["x"] = {"ETag": '"x"'}
    handle = await fetched("/file/x")
    assert (handle.failure_reason, handle.records[0].status) == ("bad-status", 304)


class Lies:
    """A middleware that lets the server answer 304 about another body."""

    site = None

    def process_request(self, request, spider=None):
        conditional = "If-None-Match" in request.headers
        self.site.not_modified = {"x": {"ETag": '"other"'}} if conditional else {}


async def test_a_304_about_another_body_is_not_believed(twice, site, monkeypatch):
    """RFC 9111 section 4.3.4: it is asked for without a condition then."""
    monkeypatch.setattr(Lies, "site", site)
    _, new = await twice(settings={"DOWNLOADER_MIDDLEWARES": {Lies: 990}})
    assert [asked(request) for request in site.seen] == [{"If-None-Match": '"x"'}, {}]
    assert (new.result, new.records[0].not_modified) == ("success", False)
    assert new.downloaded == 1000


async def test_a_file_that_vanishes_before_the_304_is_fetched(twice, site):
    class Vanish:
        def process_request(self, request, spider=None):
            if "If-None-Match" in request.headers:
                lose(site.spider_old)

    def note(old):
        site.spider_old = old

    _, new = await twice(
        between=note, settings={"DOWNLOADER_MIDDLEWARES": {Vanish: 990}}
    )
    assert [asked(request) for request in site.seen] == [{"If-None-Match": '"x"'}, {}]
    assert new.records[0].path.read_bytes() == body("x", 1000)


async def test_the_condition_is_asked_again_after_a_retry(twice, site):
    def fail(_):
        site.fail_once["/once/503/x"] = 1

    _, new = await twice("/once/503/x", between=fail)
    assert [asked(one) for one in site.seen] == 2 * [{"If-None-Match": '"x"'}]
    assert new.records[0].not_modified


async def test_a_changed_body_that_breaks_off_is_resumed_without_the_condition(
    probe, site
):
    """Once bytes are stored If-Range guards them."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        url = response.urljoin("/slow/x?size=400000&rate=800000")
        await (await fetch("a", url)).settled()
        site.etags["x"] = '"2"'
        site.seen.clear()
        new = await fetch("a", url, revalidate=True)
        await until(lambda: new.records[0].downloaded > 0, 20)
        await new.pause()
        await until(lambda: new.records[0].state == "pending", 20)
        await new.resume()
        await new.settled()
        first, second = map(asked, site.seen)
        assert first == {"If-None-Match": '"x"'}
        assert set(second) == {"Range", "If-Range"}
        assert new.records[0].path.read_bytes() == body("x", 400_000)

    await probe(go)


async def test_the_budget_is_not_touched(twice):
    """50: nothing is stored for it."""
    _, new = await twice(download_total=1)
    assert (new.result, new.records[0].not_modified) == ("success", True)


@pytest.mark.parametrize("times", [2, 3])
async def test_generations_keep_pointing_to_the_same_file(twice, site, times):
    old, new = await twice(times=times)
    assert asked(site.seen[0]) == {"If-None-Match": '"x"'}
    assert new.records[0].path == old.records[0].path
    assert new.records[0].not_modified


async def test_a_fetch_that_changed_the_file_is_the_next_ones_base(twice, site):
    """The last settled one counts, and not an older one."""

    def change(_):
        site.etags["x"], site.contents["x"] = '"2"', b"new"

    _, new = await twice(between=change, times=2)
    assert asked(site.seen[0]) == {"If-None-Match": '"2"'}
    assert new.records[0].path.read_bytes() == b"new"


async def test_a_redirected_file_is_asked_about_where_it_is(twice, site):
    old, new = await twice("/to/file/x")
    assert asked(site.of("/file/x")[0]) == {"If-None-Match": '"x"'}
    assert new.records[0].path == old.records[0].path


async def test_checksums_are_carried_over(twice):
    settings = {"BGFETCH_CHECKSUM": "sha256"}
    _, new = await twice(settings=settings)
    assert new.records[0].checksums == {"sha256": SHA}


async def test_digests_that_were_not_there_are_computed_from_the_old_file(twice):
    old, new = await twice(integrity={"sha256": SHA})
    assert old.records[0].checksums == {}
    assert new.records[0].checksums == {"sha256": SHA}
    assert new.records[0].not_modified


def spoil(old):
    old.records[0].path.write_bytes(bytes(1000))


async def test_an_old_file_that_does_not_match_is_fetched_anew(twice, site):
    """The server says that it is the same, but its bytes were changed here."""
    old, new = await twice(between=spoil, integrity={"sha256": SHA})
    assert [asked(request) for request in site.seen] == [{"If-None-Match": '"x"'}, {}]
    (record,) = new.records
    assert (new.result, record.not_modified) == ("success", False)
    assert record.path.read_bytes() == body("x", 1000)
    assert old.records[0].path.read_bytes() == bytes(1000)


class Refuses:
    """A plug-in that refuses what begins with a zero byte, having looked at it."""

    @hookimpl
    def bgfetch_body_complete(self, record, response):
        with response.open() as file:
            if file.read(1) == b"\0":
                raise ValueError("spoiled")


async def test_a_plugin_judges_the_old_file_too(twice, site):
    _, new = await twice(between=spoil, settings={"BGFETCH_PLUGINS": [Refuses]})
    assert [asked(request) for request in site.seen] == [{"If-None-Match": '"x"'}, {}]
    assert new.records[0].path.read_bytes() == body("x", 1000)


class Unwanted:
    """A plug-in that does not want the body of a response that was checked."""

    @hookimpl
    def bgfetch_response_started(self, response):
        if response.headers.get("X-Checked"):
            raise ValueError("unwanted")


async def test_a_plugin_may_refuse_what_was_not_modified(twice):
    old, new = await twice(settings={"BGFETCH_PLUGINS": [Unwanted]})
    (record,) = new.records
    assert (record.failure_reason, record.not_modified) == ("fetch-error", False)
    assert record.path is None
    assert old.records[0].path.exists()


async def test_what_was_decoded_is_asked_about_and_read_decoded(twice, site):
    """The stored bytes are those of a content coding, decoded (B12)."""
    _, new = await twice("/gzip/x?etag")
    response = await new.records[0].response_ready
    assert asked(site.seen[0]) == {"If-None-Match": '"gz"'}
    assert b"".join([chunk async for chunk in response.iter_body()]) == body("x", 1000)
    assert "Content-Encoding" not in response.headers


async def test_fields_that_vary_must_be_the_same(twice, site):
    """RFC 9111 section 4.1."""

    def ask(language):
        headers = {"Accept-Language": language}
        return Request(site.url("/file/x?vary"), headers=headers)

    _, new = await twice(ask("de"), then=ask("de"))
    assert new.records[0].not_modified
    _, new = await twice(ask("de"), then=ask("en"))
    assert asked(site.seen[0]) == {}


async def test_appended_requests_revalidate_too(probe, site):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("a", "/file/x", base_url=response)).settled()
        handle = await fetch("a", "/slow/y?size=100000", base_url=response)
        await fetch(
            "a", "/file/x", base_url=response, if_exists="append", revalidate=True
        )
        await handle.settled()
        assert [one.not_modified for one in handle.records] == [False, True]

    await probe(go)


# -- restarts -----------------------------------------------------------------------


def wanted(site, *paths, **options):
    return {"id": "a", "requests": [site.url(path) for path in paths], **options}


async def test_after_a_kill_the_old_file_is_left_as_it_is(process, site):
    """Not even an empty part file, which a power cut may bring back, replaces it."""
    crawl = process()
    await crawl.run(fetch=[wanted(site, "/file/x")])
    (said,) = crawl.events("success")
    (path,) = map(Path, said["paths"])
    crawl.start(
        fetch=[wanted(site, "/silent", "/file/x", revalidate=True)],
        die_at="record_settled hook",
    )
    assert await crawl.ended() == -9
    query = "SELECT uid, idx FROM records WHERE not_modified AND NOT announced"
    ((uid, index),) = crawl.rows(query)
    part = crawl.state / "parts" / part_name(uid, index)
    part.write_bytes(b"")
    site.seen.clear()
    crawl.start()
    await until(lambda: crawl.events("record_settled"))
    await crawl.kill()
    assert site.of("/file/x") == []
    assert path.read_bytes() == body("x", 1000)
    assert not part.exists()


async def test_a_kill_before_the_answer_lets_it_ask_again(process, site):
    crawl = process(CONCURRENT_REQUESTS_PER_DOMAIN=1)
    await crawl.run(fetch=[wanted(site, "/file/x")])
    crawl.start(fetch=[wanted(site, "/slow/y?size=400000", "/file/x", revalidate=True)])
    await until(lambda: len(crawl.rows("SELECT 1 FROM records")) == 3)
    await crawl.kill()
    await crawl.run()
    assert crawl.ends() == [("success", "a", "")]
    assert asked(site.of("/file/x")[-1]) == {"If-None-Match": '"x"'}
    assert crawl.rows("SELECT count(*) FROM records WHERE not_modified") == [(1,)]


async def test_the_log_says_how_many_were_not_modified(twice, caplog):
    caplog.set_level("INFO", "scrapy_bgfetch.reporting")
    await twice("/file/x", ["/file/x", "/file/y"])
    old, new = [record.getMessage() for record in caplog.records[-2:]]
    assert "1 of 1 files, 1000 Bytes" in old
    assert "2 of 2 files (1 not modified), 1000 Bytes" in new
