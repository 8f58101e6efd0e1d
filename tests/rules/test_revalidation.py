"""The rules of revalidation: RFC 9110 section 13.1, RFC 9111 sections 3.2 and 4.3.4."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.rules.revalidation import (
    Previous,
    asks_itself,
    conditions,
    contradiction,
    freshened,
)

URL = "https://example.org/a"
DATE = "Wed, 01 Jan 2020 00:00:00 GMT"
LATER = "Thu, 02 Jan 2020 00:00:00 GMT"


def head(*lines, url=URL, status=200):
    return Head(url, status, lines)


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ([], {}),
        ([("ETag", '"a"')], {"If-None-Match": '"a"'}),
        ([("etag", 'W/"a"')], {"If-None-Match": 'W/"a"'}),
        ([("ETag", '""')], {"If-None-Match": '""'}),
        ([("ETag", '"a"'), ("Last-Modified", DATE)], {"If-None-Match": '"a"'}),
        ([("Last-Modified", DATE)], {"If-Modified-Since": DATE}),
        ([("ETag", "a"), ("Last-Modified", DATE)], {"If-Modified-Since": DATE}),
        ([("ETag", "a")], {}),
        ([("ETag", 'w/"a"')], {}),
        ([("ETag", '"a", "b"')], {}),
        ([("ETag", '"a"'), ("ETag", '"b"')], {}),
        ([("ETag", '"\xe9"')], {}),
        ([("ETag", "*")], {}),
        ([("Last-Modified", "yesterday")], {}),
        ([("Last-Modified", "")], {}),
    ],
)
def test_what_is_asked_with(lines, fields):
    assert conditions(head(*lines)) == fields


@pytest.mark.parametrize(
    ("stored", "answer", "word"),
    [
        ([("ETag", '"a"')], [], ""),
        ([("ETag", '"a"')], [("ETag", '"a"')], ""),
        ([("ETag", '"a"')], [("ETag", 'W/"a"')], ""),
        ([("ETag", 'W/"a"')], [("ETag", '"a"')], ""),
        ([("ETag", '"a"')], [("ETag", '"b"')], "ETag"),
        ([("ETag", 'W/"a"')], [("ETag", 'W/"b"')], "ETag"),
        ([("ETag", '"a"')], [("ETag", "a")], "ETag"),
        ([("Last-Modified", DATE)], [], ""),
        ([("Last-Modified", DATE)], [("Last-Modified", DATE)], ""),
        ([("Last-Modified", DATE)], [("Last-Modified", LATER)], "Last-Modified"),
        ([("Last-Modified", LATER)], [("Last-Modified", DATE)], "Last-Modified"),
        ([("Last-Modified", DATE)], [("ETag", '"new"')], ""),
        (
            [("ETag", '"a"'), ("Last-Modified", DATE)],
            [("ETag", '"a"'), ("Last-Modified", LATER)],
            "",
        ),
        (
            [("ETag", '"a"'), ("Last-Modified", DATE)],
            [("Last-Modified", LATER)],
            "Last-Modified",
        ),
    ],
)
def test_whether_a_304_is_about_the_stored_response(stored, answer, word):
    why = contradiction(head(*stored), head(*answer, status=304))
    assert word in why
    assert bool(why) is bool(word)


def test_a_304_of_another_address_is_not_about_it():
    answer = head(("ETag", '"a"'), url="https://cdn.example/a", status=304)
    assert "cdn.example" in contradiction(head(("ETag", '"a"')), answer)


def test_the_fields_of_a_304_replace_all_lines_of_their_name():
    stored = head(("Via", "a"), ("ETag", '"a"'), ("via", "b"), ("X-Old", "1"))
    answer = head(("VIA", "c"), ("Date", DATE), status=304)
    lines = (("ETag", '"a"'), ("X-Old", "1"), ("VIA", "c"), ("Date", DATE))
    assert freshened(stored, answer) == head(*lines)


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "content-encoding",
        "Content-Range",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "Proxy-Authenticate",
        "X-Hop",
    ],
)
def test_what_speaks_of_connection_length_or_coding_is_not_updated(name):
    stored = head((name, "old"), ("ETag", '"a"'))
    answer = head((name, "close, x-hop"), ("Connection", "close, x-hop"), status=304)
    assert freshened(stored, answer) == stored


NAMES = st.sampled_from(["ETag", "etag", "Via", "Content-Length", "X-A", "Connection"])
LINES = st.lists(st.tuples(NAMES, st.text("abc,- ", max_size=9)), max_size=6)


@given(LINES, LINES)
def test_freshening_twice_is_freshening_once(stored, answer):
    first, said = head(*stored), head(*answer, status=304)
    once = freshened(first, said)
    assert freshened(once, said) == once
    assert (once.status, once.get("Content-Length"), once.url) == (
        200,
        first.get("Content-Length"),
        URL,
    )


@pytest.mark.parametrize(
    ("names", "own"),
    [
        ([], False),
        (["Accept", "User-Agent"], False),
        (["accept", "IF-NONE-MATCH"], True),
        (["If-Modified-Since"], True),
        (["Range"], True),
        (["If-Match"], True),
    ],
)
def test_a_request_with_a_condition_of_its_own_is_left_alone(names, own):
    assert asks_itself(names) is own


def test_what_is_kept_of_an_earlier_file_comes_back_from_json():
    lines = (("ETag", '"\xe9"'), ("Via", "a"), ("Via", "b"))
    previous = Previous("a/x", 7, Head(URL, 200, lines), True, {"md5": "00"})
    assert Previous.from_json(json.loads(json.dumps(previous.to_json()))) == previous
