from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.rules.matching import (
    Candidate,
    MatchOptions,
    comparable_url,
    matches,
    path_segments,
    url_key,
)

PLAIN = MatchOptions()
URL = "https://example.com/ep-5.mp3"


def same(one: str, other: str, options: MatchOptions = PLAIN) -> bool:
    return matches(Candidate(one), Candidate(other), options)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (URL, URL),
        ("HTTPS://EXAMPLE.com/ep-5.mp3", URL),
        ("https://example.com:443/ep-5.mp3", URL),
        ("https://example.com:0443/ep-5.mp3", URL),
        ("https://example.com:/ep-5.mp3", URL),
        ("https://example.com/ep-5.mp3#t=10", URL),
        ("https://example.com/a/../ep-5.mp3", URL),
        ("https://example.com/./%2E/ep-5.mp3", URL),
        ("https://example.com\\ep-5.mp3", URL),
        ("  https://example.com/ep-\t5.mp3\n", URL),
        ("http://example.com", "http://example.com/"),
        ("http://example.com:80?q", "http://example.com/?q"),
        ("http://example.com/a b", "http://example.com/a%20b"),
        ("http://example.com/é?é", "http://example.com/%C3%A9?%C3%A9"),
        ("http://example.com/a/b/..", "http://example.com/a/"),
        ("http://example.com/a/.", "http://example.com/a/"),
        ("http://example.com/..", "http://example.com/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://BÜCHER。example/", "http://xn--bcher-kva.example/"),
        ("http://ex%41mple.com/", "http://example.com/"),
        ("http://[::1]/", "http://[0:0:0:0:0:0:0:1]/"),
        ("http://[::FFFF:1.2.3.4]/", "http://[::ffff:102:304]/"),
        ("http://127.0.0.1/", "http://0x7f.1/"),
        ("http://127.0.0.1/", "http://0177.0.0.01./"),
        ("http://user:@example.com/", "http://user@example.com/"),
    ],
)
def test_urls_that_the_url_standard_holds_equal_match(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (URL, "http://example.com/ep-5.mp3"),
        (URL, "https://example.com:80/ep-5.mp3"),
        (URL, "https://example.com/EP-5.mp3"),
        (URL, "https://example.com/ep-5.mp3/"),
        (URL, "https://example.com//ep-5.mp3"),
        (URL, "https://example.com/ep-5.mp3?"),
        (URL, "https://example.com/ep-5.mp3?a"),
        (URL, "https://user@example.com/ep-5.mp3"),
        ("https://example.com/%41", "https://example.com/A"),
        ("https://example.com/%c3", "https://example.com/%C3"),
        ("https://example.com/?a%20b", "https://example.com/?a+b"),
        ("https://straße.example/", "https://strasse.example/"),
        ("https://example.com/", "https://example.com./"),
    ],
)
def test_urls_that_the_url_standard_tells_apart_do_not_match(
    one: str, other: str
) -> None:
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize("url", ["data:,x", "nonsense", "http://[::1", "http://a:b/"])
def test_a_url_that_cannot_be_parsed_matches_only_itself(url: str) -> None:
    assert same(url, f"{url}#fragment")
    assert not same(url, URL)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "http\u017f://a/",
        "http:///",
        "http://a b/",
        "http://[::1%25eth0]/",
        "http://[1.2.3.4]/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://1.2.3.256/",
        "http://1..2/",
        "http://a:65536/",
        "http://a:8:8/",
        "http://%FF/",
        "http://xn--ä/",
        "http://a\ue000/",
    ],
)
def test_comparable_url_refuses_what_the_url_standard_cannot_parse(url: str) -> None:
    with pytest.raises(ValueError):
        comparable_url(url)


@pytest.mark.parametrize("query", ["?", "?a=1", "?a=1&b#c"])
def test_ignore_search_drops_the_query_on_either_side(query: str) -> None:
    """Behaviours 77 and 132."""
    options = MatchOptions(ignore_search=True)
    assert same(URL, URL + query, options)
    assert same(URL + query, URL, options)
    assert same(URL + query, f"{URL}?other", options)


def test_ignore_search_does_not_drop_the_path() -> None:
    assert not same(URL, "https://example.com/other?", MatchOptions(ignore_search=True))


@pytest.mark.parametrize("query", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("stored", ["GET", "PUT"])
def test_only_get_finds_only_get_unless_methods_are_ignored(
    query: str, stored: str
) -> None:
    """Behaviours 132 and 133."""
    pair = Candidate(URL, query), Candidate(URL, stored)
    assert matches(*pair, PLAIN) is (query == stored == "GET")
    assert matches(*pair, MatchOptions(ignore_method=True))


def test_the_fixture_of_the_web_platform_tests_gives_its_numbers() -> None:
    """Behaviours 131 and 132: 2, 3, 3 and 4 matches of four stored requests."""
    stored = [
        Candidate(URL),
        Candidate(URL),
        Candidate(f"{URL}?foo"),
        Candidate(URL, "PUT"),
    ]

    def found(options: MatchOptions) -> int:
        return sum(matches(Candidate(URL), one, options) for one in stored)

    assert found(PLAIN) == 2
    assert found(MatchOptions(ignore_search=True)) == 3
    assert found(MatchOptions(ignore_method=True)) == 3
    assert found(MatchOptions(ignore_search=True, ignore_method=True)) == 4


ENGLISH = (("Accept-Language", "en"),)
GERMAN = (("accept-language", "de"),)


@pytest.mark.parametrize(
    ("vary", "query", "stored", "expected"),
    [
        (None, GERMAN, ENGLISH, True),
        ("", GERMAN, ENGLISH, True),
        ("Accept-Language", GERMAN, ENGLISH, False),
        ("Accept-Language", ENGLISH, ENGLISH, True),
        ("Accept-Language", (), ENGLISH, False),
        ("Accept-Language", ENGLISH, (), False),
        ("Accept-Language", (), (), True),
        ("Origin", GERMAN, ENGLISH, True),
        ("Origin , ACCEPT-language", GERMAN, ENGLISH, False),
        ("Accept-Language", (("ACCEPT-LANGUAGE", " en "),), ENGLISH, True),
        ("A", (("a", "1"), ("A", "2")), (("a", "1, 2"),), True),
        ("A", (("a", "1"), ("A", "2")), (("a", "2, 1"),), False),
        ("A", (("a", ""),), (), False),
        ("*", ENGLISH, ENGLISH, False),
        ("Origin, *", (), (), False),
    ],
)
def test_vary_compares_the_fields_of_both_requests(
    vary: str | None,
    query: tuple[tuple[str, str], ...],
    stored: tuple[tuple[str, str], ...],
    expected: bool,
) -> None:
    pair = Candidate(URL, headers=query), Candidate(URL, headers=stored, vary=vary)
    assert matches(*pair, PLAIN) is expected
    assert matches(*pair, MatchOptions(ignore_vary=True))


def test_the_vary_of_the_query_plays_no_role() -> None:
    assert matches(Candidate(URL, vary="*"), Candidate(URL), PLAIN)


def test_options_ignore_only_what_they_name() -> None:
    query = Candidate(URL, headers=GERMAN)
    stored = Candidate(f"{URL}?a", "PUT", ENGLISH, "Accept-Language")
    for options in (
        MatchOptions(ignore_search=True, ignore_method=True),
        MatchOptions(ignore_search=True, ignore_vary=True),
        MatchOptions(ignore_method=True, ignore_vary=True),
    ):
        assert not matches(query, stored, options)
    assert matches(query, stored, MatchOptions(True, True, True))


@given(st.text(alphabet="ab./\\%2eE?#é :@[]0x", max_size=20))
def test_comparable_url_is_a_fixed_point(rest: str) -> None:
    try:
        url = comparable_url(f"http://{rest}")
    except ValueError:
        return
    assert comparable_url(url) == url


@given(st.text(max_size=30), st.text(max_size=30))
def test_matching_never_fails_and_is_symmetric(one: str, other: str) -> None:
    assert same(f"http://{one}", f"http://{other}") == same(
        f"http://{other}", f"http://{one}"
    )


@given(st.text(alphabet="a./\\%2eE", max_size=20))
def test_path_segments_hold_no_dot_segment_and_no_separator(path: str) -> None:
    for segment in path_segments(f"/{path}"):
        assert segment.lower().replace("%2e", ".") not in {".", ".."}
        assert not set(segment) & {"/", "\\"}


URLS = st.one_of(
    st.sampled_from([URL, "nonsense", "data:,x?y#z", "http://[::1", "http://a:b/?c"]),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["http://a", "HTTP://A:80", "https://a", "http:\\\\a"]),
        st.text(alphabet="/\\.%2eEaé ", max_size=6),
        st.sampled_from(["", "?", "?a", "?b#c", "?a?b"]),
        st.sampled_from(["", "#", "#?", "#a?b"]),
    ),
    st.text(max_size=12),
)
OPTIONS = st.builds(MatchOptions, st.booleans(), st.booleans(), st.booleans())
CANDIDATES = st.builds(
    Candidate,
    URLS,
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.sampled_from([(), ENGLISH, GERMAN]),
    st.sampled_from([None, "*", "Accept-Language"]),
)


@given(CANDIDATES, CANDIDATES, OPTIONS)
def test_what_matches_has_the_same_key(query, stored, options):
    """N8: an index by the key misses nothing."""
    keys = {
        url_key(one.url, ignore_search=options.ignore_search) for one in (query, stored)
    }
    if matches(query, stored, options):
        assert len(keys) == 1
    everything = MatchOptions(options.ignore_search, True, True)
    assert matches(query, stored, everything) == (len(keys) == 1)


@given(URLS, st.sampled_from(["#", "#a", "#?b"]), st.sampled_from(["?", "?c", "?c?d"]))
def test_a_key_has_no_fragment_and_no_query_when_that_is_ignored(url, fragment, query):
    blank = "".join(map(chr, range(33)))  # what the URL standard strips at an end
    whole = url.partition("#")[0].rstrip(blank)
    assert url_key(whole + fragment) == url_key(whole)
    path = whole.partition("?")[0].rstrip(blank)
    assert url_key(path + query, ignore_search=True) == url_key(
        path, ignore_search=True
    )
