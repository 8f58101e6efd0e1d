"""``skip_if_fresh``: what was fetched a short while ago is not fetched again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError, IdActiveError
from tests.support.crawl_process import until
from tests.support.site import body

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("said", [3600, 1.5, "1h", True, timedelta(microseconds=-1)])
async def test_what_is_no_timedelta_or_negative_is_refused(probe, said):
    async def go(spider, response):
        with pytest.raises(BadRequestError, match="skip_if_fresh"):
            await spider.background_fetch.fetch("a", response.url, skip_if_fresh=said)

    await probe(go)


@pytest.fixture
def twice(probe, site):
    """Fetch two times for one id, with something in between; return both."""

    async def start(
        first=("/file/x", "/file/y"), then=None, between=None, settings=None, **options
    ):
        async def go(spider, response):
            fetch = spider.background_fetch.fetch
            old = await fetch("a", first, base_url=response)
            await old.settled()
            await until(lambda: not old.records_available, 10)
            if between is not None:
                between(old)
            options.setdefault("skip_if_fresh", HOUR)
            new = await fetch(
                "a", first if then is None else then, base_url=response, **options
            )
            await new.settled()
            spider.both = old, new

        spider = await probe(go, **(settings or {}))
        site.stats = spider.crawler.stats.get_stats()
        site.names = spider.names("progress", "record_settled")
        return spider.both

    return start


def fetched_again(old, new):
    return old.uid != new.uid


async def test_a_fresh_one_is_returned_and_nothing_happens(twice, site):
    old, new = await twice()
    assert (new.uid, new.result) == (old.uid, "success")
    assert [one.path.read_bytes() for one in new.records] == [
        body("x", 1000),
        body("y", 1000),
    ]
    assert len(site.of("/file/x")) == 1
    assert site.names == ["registered", "success"]
    assert site.stats["bgfetch/fresh"] == 1
    assert site.stats["bgfetch/registered"] == 1


async def test_nothing_is_fresh_when_nothing_is_said(twice):
    assert fetched_again(*await twice(skip_if_fresh=None))


async def test_what_is_older_is_fetched_again(twice, site):
    assert fetched_again(*await twice(skip_if_fresh=timedelta(0)))
    assert "bgfetch/fresh" not in site.stats


@pytest.mark.parametrize(
    "then",
    [
        ["/file/x"],
        ["/file/y", "/file/x"],
        ["/file/x", "/file/z"],
        ["/file/x", "/file/y", "/file/z"],
        ["/file/x", "/file/y?size=7"],
    ],
)
async def test_other_requests_or_another_order_are_fetched(twice, then):
    assert fetched_again(*await twice(then=then))


async def test_another_method_or_body_is_fetched(twice, site):
    def post(data):
        return Request(site.url("/echo"), method="POST", body=data)

    assert not fetched_again(*await twice(first=post(b"1")))
    assert fetched_again(*await twice(first=post(b"1"), then=post(b"2")))


async def test_a_failed_one_is_fetched_again(twice):
    assert fetched_again(*await twice(first="/status/404"))


def lose(old):
    old.records[0].path.unlink()


def cut(old):
    path = old.records[1].path
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [lose, cut])
async def test_a_file_that_is_missing_or_has_another_size_is_fetched_again(twice, harm):
    assert fetched_again(*await twice(between=harm))


async def test_other_integrity_than_what_was_found_is_fetched(twice):
    wanted = [{"sha256": "0" * 64}, None]
    assert fetched_again(*await twice(integrity=wanted))


async def test_what_was_forgotten_is_fetched_again(probe):
    """The history's bound is one, and another fetch has settled after it."""

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        for id in "ab":
            handle = await fetch(id, "/file/x", base_url=response)
            await handle.settled()
            await until(lambda: not handle.records_available, 10)  # noqa: B023

    await probe(go, BGFETCH_HISTORY=1)

    async def again(spider, response):
        fetch = spider.background_fetch.fetch
        for id in "ba":
            await fetch(id, "/file/x", base_url=response, skip_if_fresh=HOUR)

    spider = await probe(again, BGFETCH_HISTORY=1)
    assert spider.crawler.stats.get_value("bgfetch/fresh") == 1
    assert [one.id for name, one, _ in spider.events if name == "registered"] == ["a"]


async def test_if_exists_decides_first_when_the_id_is_active(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        await (await fetch("a", "/file/x", base_url=response)).settled()
        active = await fetch("a", "/slow/z?size=100000", base_url=response)
        with pytest.raises(IdActiveError):
            await fetch("a", "/file/x", base_url=response, skip_if_fresh=HOUR)
        kept = await fetch(
            "a", "/file/x", base_url=response, if_exists="keep", skip_if_fresh=HOUR
        )
        assert kept is active

    await probe(go)


async def test_one_of_an_earlier_run_is_fresh_too(process, site):
    crawl = process()
    wanted = {"id": "a", "requests": site.url("/file/x")}
    await crawl.run(fetch=[wanted])
    await crawl.run(fetch=[{**wanted, "if_exists": "keep", "fresh": 3600}])
    assert [one["event"] for one in crawl.events()] == ["closed"]
    (closed,) = crawl.events("closed")
    assert closed["stats"] == {"bgfetch/fresh": 1}
    assert len(site.of("/file/x")) == 1
