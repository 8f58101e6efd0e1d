"""``revalidate`` takes no variant of a file for another one: users, languages.

RFC 9110 sections 8.8.3 and 12.5.5, RFC 9111 section 4.1.
"""

from __future__ import annotations

import pytest
from scrapy import Request

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.rules.revalidation import is_another_variant, may_ask
from tests.support.crawl_process import until
from tests.support.raw import answer
from tests.support.site import MODIFIED

DATED = ("Last-Modified", MODIFIED)
STRONG, WEAK = ("ETag", '"1"'), ("ETag", 'W/"1"')
DE, EN = ("Accept-Language", "de"), ("Accept-Language", "en")
SAME = b"HTTP/1.1 304 Not Modified\r\n\r\n"


def line(name: str, value: str) -> str:
    return f"{name}: {value}"


@pytest.mark.parametrize(
    ("validator", "vary", "kept", "asked", "may"),
    [
        (DATED, None, (), (), True),
        (DATED, None, (DE,), (EN,), True),
        (DATED, "", (), (), True),
        (DATED, "Accept-Encoding", (), (), True),
        (DATED, "accept-encoding , ", (), (("Accept-Encoding", "br"),), True),
        (DATED, "*", (), (), False),
        (STRONG, "*", (), (), False),
        (STRONG, "Accept-Encoding, *", (), (), False),
        (None, None, (), (), False),
        # Both were given it.
        (DATED, "Accept-Language", (DE,), (DE,), True),
        (DATED, "accept-LANGUAGE", (DE,), (("accept-language", " de "),), True),
        (WEAK, "Accept-Language", (DE,), (DE,), True),
        (DATED, "Accept-Language", (DE,), (EN,), False),
        (STRONG, "Accept-Language", (DE,), (EN,), False),
        (DATED, "Accept-Language", (DE, EN), (DE,), False),
        # One was given it.
        (DATED, "Accept-Language", (), (DE,), False),
        (DATED, "Accept-Language", (DE,), (), False),
        (STRONG, "Accept-Language", (DE,), (), False),
        # Middlewares may set it.
        (DATED, "Accept-Language", (), (), False),
        (WEAK, "Accept-Language", (), (), False),
        (STRONG, "Accept-Language", (), (), True),
        (DATED, "User-Agent", (), (), False),
        (DATED, "Accept-Language, User-Agent", (DE,), (DE,), False),
        (STRONG, "Accept-Language, User-Agent", (DE,), (DE,), True),
        (STRONG, "Accept-Language, User-Agent", (DE,), (EN,), False),
        # Nobody knows whose it was.
        (DATED, "Cookie", (), (), False),
        (DATED, "cookie", (("Cookie", "a=1"),), (("Cookie", "a=1"),), False),
        (WEAK, "Authorization", (), (("Authorization", "B"),), False),
        (DATED, "Proxy-Authorization", (), (), False),
        (STRONG, "Authorization", (), (("Authorization", "B"),), True),
        (STRONG, "Cookie, Authorization", (), (), True),
    ],
)
def test_only_what_cannot_be_another_variant_is_asked_about(
    validator, vary, kept, asked, may
):
    lines = [validator] if validator else []
    lines += [] if vary is None else [("Vary", vary)]
    assert may_ask(Head("http://a/", 200, tuple(lines)), kept, asked) is may


@pytest.mark.parametrize(
    ("vary", "kept", "asked", "other"),
    [
        ("Accept-Language", (DE,), (EN,), True),
        ("Accept-Language", (), (), False),
        ("Accept", (DE,), (EN,), False),
        ("*", (), (), False),
        ("Authorization", (), (("Authorization", "B"),), False),
    ],
)
def test_another_variant_is_what_is_known_to_be_one(vary, kept, asked, other):
    assert is_another_variant(Head("", 200, (("Vary", vary),)), kept, asked) is other


@pytest.fixture
def twice(probe, raw):
    """Fetch what answers 304 to whoever asks again; return the second handle."""

    async def start(first: list[Request], then: list[Request], **settings):
        async def go(spider, response):
            fetch = spider.background_fetch.fetch
            old = await (await fetch("a", first)).settled()
            await until(lambda: not old.records_available, 10)
            raw.heads.clear()
            spider.handle = await fetch("a", then, revalidate=True)
            await spider.handle.settled()

        settings = {"BGFETCH_CONCURRENT_RECORDS": 1, **settings}
        return (await probe(go, **settings)).handle

    return start


A, B = {"Authorization": "Bearer A"}, {"Authorization": "Bearer B"}


@pytest.mark.parametrize(
    ("vary", "first", "then"),
    [
        ("Authorization", {"headers": A}, {}),
        ("Authorization", {"headers": A}, {"headers": B}),
        ("Cookie", {"cookies": {"u": "A"}}, {"cookies": {"u": "B"}}),
        (
            "Cookie",
            {"cookies": {"u": "A"}, "meta": {"cookiejar": 1}},
            {"meta": {"cookiejar": 2}},
        ),
    ],
)
@pytest.mark.parametrize("stored", [True, False])
async def test_a_date_brings_no_file_of_another_user(
    twice, raw, vary, first, then, stored
):
    lines = line(*DATED), line("Vary", vary)
    url = raw.says("/x", answer(b"of A", *lines), answer(b"of B", *lines))
    handle = await twice(
        [Request(url, **first)],
        [Request(url, **then)],
        BGFETCH_STORE_CREDENTIALS=stored,
    )
    assert b"If-" not in raw.heads[0]
    assert handle.records[0].path.read_bytes() == b"of B"


async def test_a_date_brings_no_file_of_another_run_in_another_language(probe, raw):
    lines = line(*DATED), line("Vary", "Accept-Language")
    url = raw.says("/x", answer(b"deutsch", *lines), answer(b"English", *lines))

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch("a", url, revalidate=True)
        await spider.handle.settled()

    for language in ("de", "en"):
        fields = {"Accept-Language": language}
        spider = await probe(go, DEFAULT_REQUEST_HEADERS=fields)
    assert b"Accept-Language: en" in raw.heads[1]
    assert b"If-" not in raw.heads[1]
    assert spider.handle.records[0].path.read_bytes() == b"English"


async def test_a_strong_etag_asks_across_users(twice, raw):
    lines = line(*STRONG), line(*DATED), line("Vary", "Cookie, Authorization")
    url = raw.says("/x", answer(b"of all", *lines), SAME)
    handle = await twice([Request(url, headers=A)], [Request(url, headers=B)])
    assert b'If-None-Match: "1"' in raw.heads[0]
    assert b"If-Modified-Since" not in raw.heads[0]
    assert handle.records[0].not_modified


async def test_what_varies_by_coding_alone_is_asked_about_by_its_date(twice, raw):
    lines = line(*DATED), line("Vary", "Accept-Encoding")
    url = raw.says("/x", answer(b"x", *lines), SAME)
    handle = await twice([Request(url)], [Request(url)])
    assert handle.records[0].not_modified


# -- several requests of one URL ----------------------------------------------------


async def test_the_nth_request_of_a_url_asks_about_the_nth_file(twice, raw):
    first, second = answer(b"one", 'ETag: "1"'), answer(b"two", 'ETag: "2"')
    url = raw.says("/x", first, second, SAME, SAME, answer(b"three"))
    handle = await twice([Request(url)] * 2, [Request(url)] * 3)
    asked = [b'If-None-Match: "%d"' % n in raw.heads[n - 1] for n in (1, 2)]
    assert asked == [True, True]
    assert b"If-" not in raw.heads[2]
    bodies = [record.path.read_bytes() for record in handle.records]
    assert bodies == [b"one", b"two", b"three"]


async def test_a_request_that_failed_keeps_its_place(twice, raw):
    fails = answer(b"", status="404 Not Found")
    url = raw.says("/x", fails, answer(b"two", 'ETag: "2"'), answer(b"one"), SAME)
    handle = await twice([Request(url)] * 2, [Request(url)] * 2)
    assert b"If-" not in raw.heads[0]
    assert [record.not_modified for record in handle.records] == [False, True]


async def test_requests_for_other_variants_are_others(twice, raw):
    """A list that has become shorter asks about the right one."""
    fields = 'ETag: "1"', line("Vary", "Accept-Language")
    url = raw.says("/x", answer(b"de", *fields), answer(b"en", *fields), SAME)
    german, english = (Request(url, headers=[one]) for one in (DE, EN))
    handle = await twice([german, english], [english])
    assert handle.records[0].not_modified
    assert handle.records[0].path.read_bytes() == b"en"
