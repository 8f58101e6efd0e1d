"""match and match_all in real crawls: 74-78, 84, 119, 128-133, 235, 236, 238, 239."""

from __future__ import annotations

import json

import pytest
from scrapy import Request

from scrapy_bgfetch import signals
from scrapy_bgfetch.exceptions import AbortError, BadRequestError, InvalidStateError
from tests.support.crawl_process import until
from tests.support.plugins import stats_of
from tests.support.raw import answer
from tests.support.site import body


def indices(records):
    return [record.index for record in records]


async def over(handle):
    await handle.settled()
    await until(lambda: not handle.records_available, 10)


async def test_the_web_platform_tests_fixture_gives_its_numbers(probe):
    """Behaviours 131, 132, 133."""

    async def go(spider, response):
        url = response.urljoin("/file/x")
        requests = [url, url, f"{url}?foo", Request(url, method="PUT", body=b"new")]
        handle = await spider.background_fetch.fetch("a", requests)
        match_all, match = handle.match_all, handle.match
        assert indices(await match_all(url)) == [0, 1]
        assert indices(await match_all(url, ignore_search=True)) == [0, 1, 2]
        assert indices(await match_all(url, ignore_method=True)) == [0, 1, 3]
        both = {"ignore_search": True, "ignore_method": True}
        assert indices(await match_all(url, **both)) == [0, 1, 2, 3]
        assert [one.index async for one in match_all(url, **both)] == [0, 1, 2, 3]
        put = Request(url, method="PUT")
        assert await match(put) is None
        assert (await match(put, ignore_method=True)).index == 0
        await handle.settled()

    await probe(go)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("stored", ["GET", "HEAD", "POST"])
async def test_only_get_finds_only_get_unless_methods_are_ignored(
    probe, method, stored
):
    async def go(spider, response):
        url = response.urljoin("/echo")
        requests = Request(url, method=stored)
        handle = await spider.background_fetch.fetch("a", requests)
        query = Request(url, method=method)
        plain = await handle.match(query)
        assert (plain is not None) == (method == stored == "GET")
        assert (await handle.match(query, ignore_method=True)).request.method == stored
        await handle.settled()

    await probe(go)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("/file/x?a", True),
        ("x?a", True),
        ("../file/./x?a", True),
        ("x?a#t=20", True),
        ("x", False),
        ("x?A", False),
        ("/x?a", False),
        ("?a", False),
    ],
)
async def test_relative_urls_are_those_of_the_base_and_fragments_play_no_role(
    probe, query, found
):
    """105, 131."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "x?a#t=10", base_url=response.urljoin("/file/")
        )
        assert (await handle.match(query) is not None) == found
        assert (await handle.match(response.urljoin("/file/x?a"))).index == 0
        await handle.settled()

    await probe(go)


@pytest.mark.parametrize("query", [None, 5, b"/file/x", "mailto:a@example.com"])
async def test_what_is_no_url_is_refused_at_once(probe, query):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        with pytest.raises(BadRequestError):
            await handle.match(query)
        if query is not None:
            with pytest.raises(BadRequestError):
                handle.match_all(query)

    await probe(go)


# -- Vary ----------------------------------------------------------------------------

GOLD = {"X-Tier": "gold"}


@pytest.mark.parametrize(
    ("vary", "same", "other", "none"),
    [
        ([], True, True, True),
        (["Vary: X-Tier"], True, False, False),
        (["Vary: x-tier , Accept"], True, False, False),
        (["Vary: Accept", "Vary: X-Tier"], True, False, False),
        (["Vary: Accept"], True, True, True),
        (["Vary: *"], False, False, False),
        (["Vary: Accept", "Vary: *"], False, False, False),
    ],
)
async def test_vary_compares_the_requests_as_they_were_given(
    probe, raw, vary, same, other, none
):
    """The Cache API's "request matches cached item", steps 4 and 5."""
    url = raw.says("/x", answer(b"x", *vary))

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", Request(url, headers=GOLD))
        silver = Request(url, headers={"X-Tier": "silver"})
        queries = [Request(url, headers=GOLD), silver, url]
        await handle.records[0].response_ready
        found = [await handle.match(query) is not None for query in queries]
        assert found == [same, other, none]
        for query in queries:
            assert await handle.match(query, ignore_vary=True) is not None
            assert len(await handle.match_all(query)) == found[queries.index(query)]
        await handle.settled()

    await probe(go)


async def test_without_a_head_yet_vary_plays_no_role(probe):
    """A cached item without a response: step 4. 130: it is found while it runs."""

    async def go(spider, response):
        request = Request(response.urljoin("/silent"), headers=GOLD)
        handle = await spider.background_fetch.fetch("a", request)
        assert (await handle.match("/silent")).status is None
        await handle.abort()

    await probe(go)


async def test_of_a_redirected_record_the_last_vary_and_the_first_url_count(probe, raw):
    """Behaviour 59."""
    target = raw.says("/there", answer(b"x", "Vary: X-Last"))
    moved = answer(b"", f"Location: {target}", "Vary: *", status="302 Found")
    url = raw.says("/here", moved)

    async def go(spider, response):
        headers = {"X-Last": "1"}
        handle = await spider.background_fetch.fetch("a", Request(url, headers=headers))
        await handle.records[0].response_ready
        assert await handle.match(Request(url, headers=headers)) is not None
        assert await handle.match(url) is None
        assert await handle.match(Request(target, headers=headers)) is None
        await handle.settled()

    await probe(go)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", ["Cookie", "Authorization", "Proxy-Authorization"])
async def test_a_request_finds_itself_whether_its_credentials_are_kept_or_not(
    probe, raw, kept, name
):
    url = raw.says("/x", answer(b"x", f"Vary: {name}"))

    async def go(spider, response):
        request = Request(url, headers={name: "a=secret"})
        handle = await spider.background_fetch.fetch("a", request)
        await handle.records[0].response_ready
        assert await handle.match(request) is not None
        await handle.settled()
        assert await handle.match(request) is not None

    await probe(go, BGFETCH_STORE_CREDENTIALS=kept, COOKIES_ENABLED=False)


# -- bodies of requests --------------------------------------------------------------

BODIES = [b"first", "zwölf".encode(), b"\x00\xff\r\n\r\n", b""]


async def test_posts_to_one_url_are_told_apart_by_their_bodies(probe):
    """Behaviours 78, 119, 133, 236, 239: while they run, in the event, afterwards."""
    seen = []

    async def look(records):
        for record in records:
            request = record.request
            answered = json.loads((await record.response_ready).path.read_bytes())
            assert answered["body"].encode("latin-1") == request.body
            assert (answered["method"], request.method) == ("POST", "POST")
        seen.append([record.request.body for record in records])

    async def go(spider, response):
        async def on_success(registration):
            await look(await registration.match_all("/echo", ignore_method=True))

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        url = response.urljoin("/echo")
        requests = [Request(url, method="POST", body=one) for one in BODIES]
        handle = await spider.background_fetch.fetch("a", requests)
        assert await handle.match("/echo") is None
        found = await handle.match_all("/echo", ignore_method=True)
        seen.append([record.request.body for record in found])
        await over(handle)
        seen.append([record.request.body for record in handle.records])

    await probe(go)
    assert seen == [BODIES, BODIES, BODIES]


async def test_the_request_of_a_record_is_a_copy(probe):
    """Behaviours 78, 84."""

    async def go(spider, response):
        request = Request(response.urljoin("/echo"), method="POST", body=b"hello")
        handle = await spider.background_fetch.fetch("a", request)
        (record,) = await handle.match_all()
        assert record.request is not request
        record.request.headers["X-Mine"] = "1"
        assert "X-Mine" not in record.request.headers
        (again,) = await handle.match_all()
        assert again is not record
        await handle.settled()

    await probe(go)


# -- when ----------------------------------------------------------------------------


async def test_a_file_is_read_while_another_is_still_on_its_way(probe):
    """Behaviours 75, 128, 130, 235."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", ["/file/quick", "/slow/x?size=9000000"], base_url=response
        )
        quick = await (await handle.match("/file/quick")).response_ready
        read = b"".join([chunk async for chunk in quick.iter_body()])
        assert read == body("quick", 1000)
        assert await handle.match("/file/none") is None
        assert handle.records[1].state != "settled"
        await handle.abort()

    await probe(go)


@pytest.mark.parametrize(
    ("path", "end"), [("/file/y", "success"), ("/status/404", "fail"), ("", "abort")]
)
async def test_records_are_found_in_every_terminal_event(probe, path, end):
    """Behaviours 75, 128, 129: also those that succeeded in a group that did not."""
    found = []

    async def go(spider, response):
        async def on_end(registration):
            record = await registration.match("/file/x")
            for _ in range(2):
                answered = await record.response_ready
                read = b"".join([chunk async for chunk in answered.iter_body()])
                found.append(read)
            found.append(await registration.match("/file/none"))
            if end == "abort":
                cut = await registration.match("/slow/z?size=9000000")
                with pytest.raises(AbortError):
                    await cut.response_ready

        spider.on_end = on_end
        spider.crawler.signals.connect(on_end, getattr(signals, f"bgfetch_{end}"))
        paths = ["/file/x", path or "/slow/z?size=9000000"]
        handle = await spider.background_fetch.fetch("a", paths, base_url=response)
        await until(lambda: handle.records[0].state == "settled", 10)
        if end == "abort":
            await handle.abort()
        await over(handle)
        for search in (handle.match_all, lambda: handle.match_all("/file/x")):
            with pytest.raises(InvalidStateError, match="no longer available"):
                search()

    spider = await probe(go)
    assert found == [body("x", 1000), body("x", 1000), None]
    assert spider.names()[-1] == end
    assert "bgfetch/handler_errors" not in stats_of(spider)
