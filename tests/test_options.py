"""Options of ``fetch``: priority, max_concurrent_records, headers, referer, cookies."""

from __future__ import annotations

import json

import pytest
from scrapy import Request
from scrapy.http import Response

from scrapy_bgfetch.exceptions import BadRequestError
from tests.support.crawl import run
from tests.support.crawl_process import until
from tests.support.grouped import Grouped
from tests.support.resuming import SIZE, SLOW, half_way
from tests.support.state import dump

ONE = {"BGFETCH_CONCURRENT_RECORDS": 1}


async def ended(*handles):
    for handle in handles:
        await handle.settled()


def echoed(handle):
    """Return the header fields that came with each request, names in lower case."""
    said = [json.loads(record.path.read_bytes()) for record in handle.records]
    return [{k.lower(): v for k, v in one["headers"].items()} for one in said]


# -- who goes first ------------------------------------------------------------------


async def test_a_higher_priority_goes_first(probe, site):
    site.held.add("/slow/a1")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        first = await fetch("a", ["/slow/a1", "/file/a2"], base_url=response)
        low = await fetch("b", "/file/b", base_url=response, priority=-1)
        high = await fetch("c", "/file/c", base_url=response, priority=7)
        site.held.clear()
        await ended(first, low, high)

    await probe(go, **ONE)
    assert site.paths()[1:] == ["/slow/a1", "/file/c", "/file/a2", "/file/b"]


async def test_priorities_survive_a_kill(process, site):
    it = process(**ONE)
    it.start(
        fetch=[
            {"id": "a", "requests": [site.url(f"/slow/a?{SLOW}"), site.url("/file/a")]},
            {"id": "b", "requests": site.url("/file/b"), "priority": 1},
        ]
    )
    await half_way(it)
    await it.kill()
    await it.run()
    assert site.paths()[1:] == ["/file/b", "/slow/a", "/file/a"]


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_max_concurrent_records_limits_one_and_holds_nobody_up(
    probe, site, durability
):
    site.held.add("/slow/a0")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        urls = [f"/slow/a{n}?size=30000&rate=100000" for n in range(3)]
        one = await fetch("a", urls, base_url=response, max_concurrent_records=1)
        other = await fetch("b", "/file/b", base_url=response)
        most = 0
        await other.settled()
        assert len(site.of("/slow/a1")) == 0
        site.held.clear()

        def look():
            nonlocal most
            states = [record.state for record in one.records]
            most = max(most, states.count("active"))
            return one.result

        await until(look)
        assert most == 1

    await probe(go, BGFETCH_DURABILITY=durability)


async def test_grouped_requests_say_them_too(crawl, site):
    async def go(spider, response):
        group = {"id": "a", "requests": 3, "fail_fast": True}
        group["max_concurrent_records"] = 2
        urls = [f"/slow/{n}?{SLOW}" for n in range(2)]
        for url in urls:
            spider.crawler.engine.crawl(spider.request(response, url, group))
        await until(lambda: len(site.seen) == 3)
        assert spider.handle().records[0].state == "active"
        return [spider.request(response, "/status/404", "a")]

    spider = await crawl(go)
    assert spider.ends() == [("fail", "a", "bad-status")]
    finished = [site.at(site.of("/status/404")[0]), min(site.sent.values())]
    assert finished[1] > 0
    assert site.at(site.of("/slow/1")[0]) < finished[0]
    assert max(site.sent.values()) >= SIZE


async def test_a_priority_that_a_later_request_says_moves_what_waits(crawl, site):
    class Watched(Grouped):
        def of(self, id):
            handles = [one for name, one, _ in self.events if name == "registered"]
            return [len(one.records) for one in handles if one.id == id]

    async def go(spider, response):
        def crawl(path, group):
            spider.crawler.engine.crawl(spider.request(response, path, group))

        site.held.add("/slow/a")
        crawl("/slow/a", {"id": "a", "requests": 2})
        await until(lambda: site.of("/slow/a"))
        crawl("/file/a", "a")
        await until(lambda: spider.of("a") == [2])
        crawl("/file/b1", "b")
        await until(lambda: spider.of("b") == [1])
        crawl("/file/b2", {"id": "b", "requests": 2, "priority": 1})
        await until(lambda: spider.of("b") == [2])
        site.held.clear()

    await crawl(go, Watched, **ONE)
    assert site.paths()[1:] == ["/slow/a", "/file/b1", "/file/b2", "/file/a"]


BAD = [
    ({"priority": "high"}, "priority is a number, higher goes first: give an int"),
    ({"priority": True}, "priority is a number"),
    ({"priority": None}, "priority is a number"),
    ({"priority": 2**63}, "priority is a number"),
    ({"max_concurrent_records": -1}, "max_concurrent_records is a number of records"),
    ({"max_concurrent_records": 1.5}, "max_concurrent_records is a number of records"),
    ({"headers": ["Accept"]}, "headers must be a dict such as"),
    ({"headers": {"a b": "c"}}, "headers has the field name 'a b'"),
    ({"headers": {1: "c"}}, "headers has the field name 1"),
    ({"headers": {"X": "a\r\nY: b"}}, "headers has an unusable value for 'X'"),
    ({"headers": {"X": None}}, "headers has an unusable value for 'X'"),
    ({"headers": {"X": []}}, "headers has an unusable value for 'X'"),
    ({"referer": 5}, "referer must be a URL or a response, not int"),
    ({"referer": "/page"}, "referer '/page' is not absolute"),
    ({"referer": "ftp://a.example/"}, "referer 'ftp://a.example/' is neither http"),
    ({"cookies_from": "http://a.example/"}, "cookies_from must be a response, not str"),
    ({"cookies_from": Response("http://a.example/")}, "cookies_from is a response wit"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
async def test_an_unusable_option_is_refused(probe, options, message):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        with pytest.raises(BadRequestError) as caught:
            await fetch("a", "/file/x", base_url=response, **options)
        assert str(caught.value).startswith(message)
        assert await spider.background_fetch.get_ids() == []

    assert (await probe(go)).names() == []


# -- what the page's own requests would carry ------------------------------------------


async def test_headers_are_set_where_they_are_missing(fetched, site):
    mine = Request(site.url("/echo?1"), headers={"x-one": "mine"})
    given = mine.copy()
    handle = await fetched(
        [mine, "/echo?2"],
        options={"headers": {"X-One": "all", "X-Two": ["a", "b"], b"X-Three": b"c"}},
    )
    one, two = echoed(handle)
    assert (one["x-one"], two["x-one"]) == ("mine", "all")
    assert one["x-three"] == two["x-three"] == "c"
    assert site.of("/echo")[0].headers.getall("X-Two") == ["a", "b"]
    assert mine.headers == given.headers


async def test_headers_survive_a_kill(process, site):
    it = process()
    url = site.url(f"/slow/x?{SLOW}")
    it.start(fetch=[{"id": "a", "requests": url, "headers": {"X-One": "all"}}])
    await half_way(it)
    await it.kill()
    await it.run()
    assert [one.headers["X-One"] for one in site.of("/slow/x")] == ["all", "all"]


PAGE = "https://u:p@a.example/dir/page?q=1#top"
FULL, ORIGIN = "https://a.example/dir/page?q=1", "https://a.example/"
REFERERS = [
    (PAGE, None, "https://a.example/x", FULL),
    (PAGE, None, "https://a.example:444/x", ORIGIN),
    (PAGE, None, "https://b.example/x", ORIGIN),
    (PAGE, None, "http://a.example/x", None),
    ("http://a.example/p#f", None, "http://a.example/x", "http://a.example/p"),
    ("http://a.example/p", None, "https://b.example/x", "http://a.example/"),
    (PAGE, "no-referrer", "https://a.example/x", None),
    (PAGE, "unsafe-url", "http://b.example/x", FULL),
    (PAGE, "same-origin", "https://b.example/x", None),
    (PAGE, "Origin", "https://a.example/x", ORIGIN),
    (PAGE, "no-referrer, unsafe-url", "http://b.example/x", FULL),
    (PAGE, "unsafe-url, unheard-of", "http://b.example/x", FULL),
    (PAGE, "unheard-of", "http://a.example/x", None),
    (PAGE, "scrapy-default", "https://b.example/x", ORIGIN),
    ("file:///etc/page", None, "http://a.example/x", None),
]


@pytest.mark.parametrize(("page", "policy", "url", "sent"), REFERERS)
async def test_the_referer_is_what_the_pages_policy_lets_it_be(
    probe, page, policy, url, sent
):
    async def go(spider, _response):
        fields = {"Referrer-Policy": policy} if policy else {}
        said = Response(page, headers=fields)
        fetch, requests = spider.background_fetch.fetch, [Request(url)]
        handle = await fetch("a", requests, referer=said)
        kept = dict(handle.records[0].request.headers.to_unicode_dict())
        assert kept.get("Referer") == sent
        await handle.abort()

    await probe(go, BGFETCH_PERMISSION="prompt")


async def test_a_referer_may_be_a_url_and_never_has_secrets(fetched, site):
    page = site.url("/page").replace("//", "//user:secret@") + "#secret"
    handle = await fetched("/echo", options={"referer": page})
    assert echoed(handle)[0]["referer"] == site.url("/page")


async def test_the_requests_own_referer_stays(fetched, site):
    mine = Request(site.url("/echo"), headers={"Referer": "http://mine.example/"})
    handle = await fetched(mine, options={"referer": site.url("/page")})
    assert echoed(handle)[0]["referer"] == "http://mine.example/"


class InJar(Grouped):
    meta = None

    async def start(self):
        yield Request(self.page, self.parse, meta=self.meta, **self.more)


def spider_with(**page):
    return type("Paged", (InJar,), {"meta": page.pop("meta", None), "more": page})


@pytest.fixture
def cookies_at(site, settings):
    """Fetch /echo with the cookies of a page; return the Cookie field it came with."""

    async def fetch(host="127.0.0.1", *, path="/cookie", more=None, **page):
        async def go(spider, response):
            url = site.url("/echo", host=host)
            fetch = spider.background_fetch.fetch
            handle = await fetch("a", url, cookies_from=response)
            spider.sent = echoed(await handle.settled())[0].get("cookie")

        cls, url = spider_with(**page), site.url(path)
        return (await run(cls, settings(**(more or {})), page=url, go=go)).sent

    return fetch


async def test_cookies_come_from_the_jar_of_the_page(cookies_at):
    assert await cookies_at(meta={"cookiejar": "seven"}) == "session=s3cret"


async def test_the_jar_decides_what_fits_a_host(cookies_at):
    assert await cookies_at("localhost", meta={"cookiejar": 7}) is None


async def test_cookies_of_the_pages_request_are_in_its_jar(cookies_at):
    page = {"cookies": {"mine": "1"}, "meta": {"cookiejar": 7}}
    assert await cookies_at(path="/page", **page) == "mine=1"
    assert await cookies_at("localhost", path="/page", **page) is None


BY_HAND = [{"more": {"COOKIES_ENABLED": False}}, {"meta": {"dont_merge_cookies": True}}]


@pytest.mark.parametrize("case", BY_HAND)
async def test_a_cookie_field_set_by_hand_goes_to_the_same_host_alone(cookies_at, case):
    page = {"headers": {"Cookie": "mine=1"}, **case}
    assert await cookies_at(**page) == "mine=1"
    assert await cookies_at("localhost", **page) is None


async def test_cookies_are_not_kept_unless_credentials_are(
    site, settings, tmp_path, cookies_at
):
    page = {"headers": {"Cookie": "mine=s3cr3t"}}
    off = {"COOKIES_ENABLED": False}
    assert await cookies_at(more=off, **page) == "mine=s3cr3t"
    assert "s3cr3t" not in dump(tmp_path)
    kept = {**off, "BGFETCH_STORE_CREDENTIALS": True}
    assert await cookies_at(more=kept, **page) == "mine=s3cr3t"
    assert "s3cr3t" in dump(tmp_path)
