"""Options of ``fetch`` that meet: if_exists, body, allowed_hosts, permission."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError
from tests.support.crawl_process import until
from tests.support.resuming import SLOW, half_way
from tests.support.site import body

DATA = body("file", 300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
PATH = f"/slow/x?{SLOW}"


class Held(io.BytesIO):
    """A file object that is read on when ``go_on`` is set."""

    def __init__(self, data):
        super().__init__(data)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def read(self, size=-1):
        data = super().read(size)
        self.begun.set()
        assert self.go_on.wait(20)
        return data


class OneWay(Held):
    """One that cannot be read again."""

    def seekable(self):
        return False

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")

    def tell(self):
        raise io.UnsupportedOperation("tell")


async def ended_meanwhile(spider, response, file):
    """Append a body to what is aborted while the body is read; return the task."""
    fetch = spider.background_fetch.fetch
    old = await fetch("a", PATH, base_url=response)
    request = Request(response.urljoin("/upload/a"), method="POST")
    adding = asyncio.ensure_future(fetch("a", request, body=file, if_exists="append"))
    await until(file.begun.is_set, 20)
    await old.abort()
    file.go_on.set()
    return old, adding


async def test_a_body_that_was_read_for_an_append_too_late_is_read_again(probe):
    """17: from where it stood when it was given."""

    async def go(spider, response):
        file = Held(b"no" + DATA)
        file.seek(2)
        old, adding = await ended_meanwhile(spider, response, file)
        new = await adding
        assert new is not old
        assert new.upload_total == len(DATA)
        await new.settled()
        assert new.records[0].path.read_text() == DIGEST

    await probe(go)


async def test_one_that_cannot_be_read_again_is_refused_then(probe, tmp_path):
    """Rather than sent without what was read."""

    async def go(spider, response):
        _, adding = await ended_meanwhile(spider, response, OneWay(DATA))
        with pytest.raises(BadRequestError, match="cannot be read again"):
            await adding
        assert await spider.background_fetch.get_ids() == []

    await probe(go)
    assert list((tmp_path / "bgfetch").glob("uploads/*")) == []


async def test_two_requests_cannot_share_a_file_object(probe):
    async def go(spider, response):
        file = io.BytesIO(DATA)
        requests = [Request(response.url, method="POST") for _ in range(2)]
        with pytest.raises(BadRequestError, match="twice"):
            await spider.background_fetch.fetch("a", requests, body=[file, file])

    await probe(go)


async def test_what_is_appended_must_be_allowed_by_what_it_joins(probe, site):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        handle = await fetch("a", PATH, base_url=response, allowed_hosts=["127.0.0.1"])
        outside = site.url("/file/y", host="localhost")
        with pytest.raises(BadRequestError, match="is outside of allowed_hosts"):
            await fetch("a", outside, if_exists="append")
        assert len(handle.records) == 1
        await handle.abort()

    await probe(go)


async def test_uploads_join_a_prompted_one_that_has_some_already(probe, site):
    """B23: it cannot be paused again, so there is nothing to hold against them."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        post = Request(response.urljoin("/echo"), method="POST", body=b"x")
        handle = await fetch("a", [post, "/file/x"], base_url=response)
        assert await fetch("a", post, if_exists="append") is handle
        assert handle.paused
        await handle.resume()
        await handle.settled()
        assert (handle.result, len(handle.records)) == ("success", 3)

    await probe(go, BGFETCH_PERMISSION="prompt")
    assert len(site.of("/echo")) == 2


@pytest.mark.parametrize("word", ["append", "replace"])
async def test_denied_neither_adds_to_one_of_an_earlier_run_nor_ends_it(
    process, site, word
):
    """14: it goes on as it was."""
    it = process()
    it.start(fetch=[{"id": "a", "requests": site.url(PATH)}])
    await half_way(it)
    await it.kill()
    it.settings["BGFETCH_PERMISSION"] = "denied"
    more = {"id": "a", "requests": site.url("/file/y"), "if_exists": word}
    await it.run(fetch=[more])
    assert it.ends() == [("success", "a", "")]
    assert site.of("/file/y") == []
