from __future__ import annotations

import json
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.validation import (
    check_count,
    check_download_total,
    check_icons,
    check_id,
    check_title,
    check_url,
    resolve_url,
    shown,
    shown_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
BASE = "https://example.com/shows/5/page.html?q=1#top"


@pytest.mark.parametrize("id", ["a", "my fetch", "ep/5", "日本"])
def test_an_id_is_text(id: str) -> None:
    """Behaviour 180."""
    assert check_id(id) == id


@pytest.mark.parametrize("check", [check_id, check_title])
def test_an_id_or_title_has_at_most_one_mebibyte_in_utf_8(
    check: Callable[[object], str],
) -> None:
    """Behaviour 180."""
    for fits in ("x" * MIB, "é" * (MIB // 2)):
        assert check(fits) == fits
        with pytest.raises(BadRequestError, match=r"longer than 1 MiB"):
            check(f"{fits}x")


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("", "is empty"),
        ("a\nb", "control character"),
        ("a\x00", "control character"),
        ("a\x1b[2J", "control character"),
        ("a\x85", "control character"),
        ("a\ud800", "lone surrogate"),
        (5, "must be a str, not int"),
        (None, "must be a str, not NoneType"),
        (b"a", "must be a str, not bytes"),
    ],
)
def test_a_bad_id_is_refused(id: object, says: str) -> None:
    with pytest.raises(BadRequestError, match=f"^id .*{says}"):
        check_id(id)


def test_a_bad_request_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        check_id("")


def test_a_message_names_the_place_that_it_was_told() -> None:
    with pytest.raises(BadRequestError, match=r"^requests\[3\] .* no host"):
        check_url("http://", where="requests[3]")


@pytest.mark.parametrize("title", ["", "Episode 5", "a\n\tb\r\x0b\x0c\x85", "é" * 9])
def test_a_title_may_be_empty_and_have_line_breaks(title: str) -> None:
    """Behaviour 21."""
    assert check_title(title) == title


@pytest.mark.parametrize(
    "title",
    [None, 1, "a\x1b[31m", "a\x00", "a\x7f", "a\x9b", "\udfff"],
)
def test_a_bad_title_is_refused(title: object) -> None:
    with pytest.raises(BadRequestError, match=r"^title "):
        check_title(title)


def test_icons_come_back_as_dicts_in_their_json_form() -> None:
    """Behaviour 21."""
    icon = OrderedDict(src="/i.png", sizes=("1x1", "2x2"), more={"a": None, "b": 1.5})
    icons = check_icons([icon])
    assert icons == (
        {"src": "/i.png", "sizes": ["1x1", "2x2"], "more": {"a": None, "b": 1.5}},
    )
    assert type(icons[0]) is dict
    assert json.loads(json.dumps(icons)) == list(icons)


@pytest.mark.parametrize("icons", [(), []])
def test_no_icons_are_icons(icons: object) -> None:
    assert check_icons(icons) == ()


@pytest.mark.parametrize(
    ("icons", "says"),
    [
        (None, "icons must be a list"),
        ("/i.png", "icons must be a list"),
        ({"src": "/i.png"}, "icons must be a list"),
        ({1}, "icons must be a list"),
        (["/i.png"], r"icons\[0\] must be a dict"),
        ([{"src": "a"}, {}], r'icons\[1\]\["src"\] must be a str'),
        ([{"src": 5}], r'icons\[0\]\["src"\] must be a str'),
        ([{"src": "a", 5: 1}], r"icons\[0\] must have keys that are str"),
        ([{"src": "a", "x": {1}}], r"icons\[0\] must hold JSON values"),
        ([{"src": "a", "x": float("nan")}], r"icons\[0\] must hold JSON values"),
        ([{"src": "a", "x": "\ud800"}], r"icons\[0\] must hold JSON values"),
        ([{"src": "\ud800"}], r'icons\[0\]\["src"\] .* lone surrogate'),
    ],
)
def test_bad_icons_are_refused(icons: object, says: str) -> None:
    with pytest.raises(BadRequestError, match=f"^{says}"):
        check_icons(icons)


def test_an_icon_that_holds_itself_is_refused() -> None:
    icon: dict[str, Any] = {"src": "a"}
    icon["self"] = icon
    with pytest.raises(BadRequestError, match=r"JSON values"):
        check_icons([icon])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://127.0.0.1/a",
        "http://[::1]:8080/a",
        "http://localhost",
        "https://example.com:443/",
        "https://example.com:80/",
        "http://example.com:8080/",
        "http://example.com:65535/",
        "http://example.com:1/",
        "http://example.com:/",
        "http://example.com:587/",
        "HTTP://EXAMPLE.COM./",
        "http://bücher.example/é",
        "http://under_score.example/",
        "http://example.com/@user?a@b#c@d",
        "http://example.com/a:b//c?x=[1]|{}<>\"'\\",
        f"http://{'a' * 63}.example/",
    ],
)
def test_a_good_url_stays_as_it_is(url: str) -> None:
    """Behaviours 137, 140, 141."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "wss://example.com/",
        "file:///etc/passwd",
        "data:,x",
        "ftp://example.com/",
        "javascript:alert(1)",
        "localhost:8080/a",
        "nosuchscheme://a",
        "httpss://a",
    ],
)
def test_only_http_and_https_are_taken(url: str) -> None:
    """Behaviour 139."""
    with pytest.raises(BadRequestError, match=r"neither http nor https"):
        check_url(url)


@pytest.mark.parametrize(
    "authority",
    ["joe:secret@", "joe:@", ":secret@", "joe@", "@", ":@", "a@joe:secret@"],
)
def test_userinfo_in_any_form_is_refused(authority: str) -> None:
    """Behaviours 102 and 142."""
    with pytest.raises(BadRequestError, match=r"has credentials") as caught:
        check_url(f"https://{authority}example.com/")
    assert not re.search("joe|secret", str(caught.value))


@pytest.mark.parametrize("char", ["\n", "\t", "\r", "\x00", "\x1f", "\x7f", "\x9f"])
@pytest.mark.parametrize(
    "form", ["{}http://a/", "http://a{}/", "http://a/{}<", "http://a/?{}"]
)
def test_a_raw_control_character_is_refused(char: str, form: str) -> None:
    """Behaviour 144."""
    with pytest.raises(BadRequestError, match=r"control character") as caught:
        check_url(form.format(char))
    assert char not in str(caught.value)


@pytest.mark.parametrize(
    "url", [" http://a/", "http://a/ ", "http://a/b c", "http://a/\u3000"]
)
def test_a_raw_space_is_refused(url: str) -> None:
    with pytest.raises(BadRequestError, match=r"has a space"):
        check_url(url)


@pytest.mark.parametrize(
    "port", ["0", "00", "65536", "99999999", "b", "-1", "8 0", "٨", "8:8"]
)
def test_a_bad_port_is_refused(port: str) -> None:
    with pytest.raises(BadRequestError, match=r"bad port|has a space"):
        check_url(f"http://example.com:{port}/")


@pytest.mark.parametrize(
    "host",
    [
        ".",
        "a..b",
        ".a",
        "a\\b",
        "a%20b",
        "a%00b",
        "a<b",
        'a"b',
        "[::1",
        "::1",
        "[::g]",
        "[::1]x",
        "[fe80::1%25eth0]",
        "256.256.256.256",
        "1.2.3.4.5",
        "%FF",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "é" * 2000,
    ],
)
def test_a_malformed_host_is_refused(host: str) -> None:
    with pytest.raises(BadRequestError, match=r"malformed host|bad port"):
        check_url(f"http://{host}/")


@pytest.mark.parametrize(
    "url", ["http:", "http://", "http:///a", "http:a", "https:/a", "http://?a"]
)
def test_a_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(BadRequestError, match=r"has no host"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["", "a", "/a", "//a/b", "?a", "#a", "[::1]", "http\u017f://a/"]
)
def test_check_url_refuses_what_is_not_absolute(url: str) -> None:
    with pytest.raises(BadRequestError, match=r"is not absolute"):
        check_url(url)


@pytest.mark.parametrize("url", [None, 5, b"http://a/", ["http://a/"]])
def test_a_url_must_be_a_str(url: object) -> None:
    with pytest.raises(BadRequestError, match=r"url must be a str"):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("http://other.example/../a#f", "http://other.example/../a#f"),
        ("", "https://example.com/shows/5/page.html?q=1"),
        ("/ep-5.mp3", "https://example.com/ep-5.mp3"),
        ("ep-5.mp3", "https://example.com/shows/5/ep-5.mp3"),
        ("../6/a?b#c", "https://example.com/shows/6/a?b#c"),
        ("../../../../a", "https://example.com/a"),
        ("./", "https://example.com/shows/5/"),
        ("..", "https://example.com/shows/"),
        ("%2e%2E/a", "https://example.com/shows/a"),
        ("?", "https://example.com/shows/5/page.html?"),
        ("?x", "https://example.com/shows/5/page.html?x"),
        ("#x", "https://example.com/shows/5/page.html?q=1#x"),
        ("//cdn.example/a", "https://cdn.example/a"),
        ("\\\\cdn.example\\a", "https://cdn.example/a"),
        ("\\a\\b?c\\d", "https://example.com/a/b?c\\d"),
        ("é.mp3", "https://example.com/shows/5/%C3%A9.mp3"),
        ("./a:b", "https://example.com/shows/5/a:b"),
        ("a@b", "https://example.com/shows/5/a@b"),
        ("[1].mp3", "https://example.com/shows/5/[1].mp3"),
    ],
)
def test_a_url_is_resolved_as_the_url_standard_does(url: str, resolved: str) -> None:
    """Behaviour 105: the empty one is the base itself."""
    assert resolve_url(url, BASE) == resolved


@pytest.mark.parametrize("url", ["a", "/a"])
def test_a_base_without_a_path_is_a_base(url: str) -> None:
    assert resolve_url(url, "http://example.com") == "http://example.com/a"
    assert resolve_url(url, "http://example.com?q/r") == "http://example.com/a"


@pytest.mark.parametrize("url", ["", "/a", "a", "//example.com/a"])
def test_a_relative_url_without_a_base_is_told_to_pass_one(url: str) -> None:
    with pytest.raises(BadRequestError, match=r"pass base_url=response.url"):
        resolve_url(url, None)


def test_a_bad_base_is_refused_under_its_own_name() -> None:
    with pytest.raises(BadRequestError, match=r"^base_url "):
        resolve_url("a", "file:///a")


@pytest.mark.parametrize(
    "url", ["//joe:secret@a/", "\\\\joe:secret@a/", "//a:0/", "///", "a b", "a\n"]
)
def test_a_bad_relative_url_is_refused(url: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        resolve_url(url, BASE)
    assert not re.search("joe|secret", str(caught.value))


@given(st.text(max_size=30))
def test_what_is_resolved_is_accepted(url: str) -> None:
    try:
        resolved = resolve_url(url, BASE)
    except BadRequestError:
        return
    assert check_url(resolved) == resolved
    assert resolve_url(resolved, None) == resolved


@pytest.mark.parametrize(
    "url",
    [
        "ftp://joe:s3cret@a/",
        "joe:s3cret@a",
        "http://joe:s3c/r3t@a:b/",
        "http://joe:s3c?r3t@a:b/",
        "http://joe:s3c#r3t@a:b/",
        "http://joe:s3c ret@a/",
        "http://joe:s3c\nret@a/",
        "http://joe:s3c\ud800ret@a/",
        "joe:s3c\ud800ret@a",
        "http://a/?token=s3cret\ud800",
        b"http://a/?token=s3cret",
        "http://a:b/?token=s3cret",
        "http://a:b/#s3cret",
        "/joe:s3cret@a",
        "http://" + "/" * 500 + "joe:s3cret@a:b",
    ],
)
def test_no_message_shows_credentials(url: object) -> None:
    with pytest.raises(BadRequestError) as caught:
        resolve_url(url, None)
    assert not re.search("joe|s3c|r3t|ret@", str(caught.value))


def test_a_url_in_a_message_keeps_its_host_and_path() -> None:
    assert (
        shown_url("http://joe:x@example.com/a?b#c") == "'http://***@example.com/a?...'"
    )


def test_a_value_in_a_message_is_short_and_without_userinfo() -> None:
    assert shown([{"src": "http://joe:x@a/"}]) == "[{'src': 'http://***@a/'}]"
    assert len(shown("x" * 5000)) < 130
    with pytest.raises(BadRequestError, match=r"to 2\*\*63 - 1, not "):
        check_download_total(10**5000)


def test_a_long_hostile_value_is_shown_in_linear_time() -> None:
    assert len(shown("//" * 500_000)) < 130
    assert len(shown_url("http://" * 150_000)) < 130


@pytest.mark.parametrize("value", [0, 1, 60 * MIB, 2**63 - 1])
def test_a_download_total_is_a_number_of_bytes(value: int) -> None:
    assert check_download_total(value) == value


@pytest.mark.parametrize(
    "value", [-1, 2**63, 2**500, True, 1.0, "1", None, float("inf")]
)
def test_a_bad_download_total_is_refused(value: object) -> None:
    with pytest.raises(BadRequestError, match=r"^download_total is a number of bytes"):
        check_download_total(value)


def test_a_count_of_requests_is_at_least_one() -> None:
    assert check_count(1) == 1
    for value in (0, -1, True, "2"):
        with pytest.raises(
            BadRequestError, match=r"^requests is the number of requests"
        ):
            check_count(value)
