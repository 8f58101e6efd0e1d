from __future__ import annotations

import pytest

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.fetch_options import KeptOptions, kept_in, kept_options
from scrapy_bgfetch.rules.hosts import allows, check_allowed_hosts

ALLOWED = [
    ("example.com", "http://example.com/x"),
    ("example.com", "https://example.com:8080/x"),
    ("example.com", "http://cdn.example.com/x"),
    ("example.com", "http://a.b.EXAMPLE.com./x"),
    ("Example.COM.", "http://example.com/x"),
    ("bücher.example", "http://xn--bcher-kva.example/x"),
    ("xn--bcher-kva.example", "http://BÜCHER.example/x"),
    ("127.0.0.1", "http://127.0.0.1:81/x"),
    ("127.0.0.1", "http://0x7f.1/x"),
    ("localhost", "http://localhost:81/x"),
    ("::1", "http://[::1]:81/x"),
    ("[0:0::1]", "http://[::1]/x"),
]
OTHER = [
    ("example.com", "http://example.org/x"),
    ("example.com", "http://badexample.com/x"),
    ("cdn.example.com", "http://example.com/x"),
    ("example.com", "http://example.com@evil.example/x"),
    ("example.com", "http://evil.example/?example.com"),
    ("example.com", "http://evil.example#.example.com"),
    ("127.0.0.1", "http://127.0.0.2/x"),
    ("127.0.0.1", "http://localhost/x"),
    ("0.0.1", "http://127.0.0.1/x"),
    ("::1", "http://[::2]/x"),
    ("example.com", "http:///x"),
    ("example.com", "http://[oops/x"),
    ("example.com", "http://evil.example\\@example.com/x"),
    ("example.com", "http://evil.example\\.example.com/x"),
]


@pytest.mark.parametrize(("host", "url"), ALLOWED)
def test_a_host_and_its_subdomains_are_allowed(host: str, url: str) -> None:
    hosts = check_allowed_hosts(["other.example", host])
    assert hosts is not None
    assert allows(hosts, url)


@pytest.mark.parametrize(("host", "url"), OTHER)
def test_other_hosts_are_not_allowed(host: str, url: str) -> None:
    hosts = check_allowed_hosts([host])
    assert hosts is not None
    assert not allows(hosts, url)


@pytest.mark.parametrize(
    "value",
    [
        "example.com",
        b"example.com",
        [],
        (),
        5,
        True,
        {"example.com": 1},
        [None],
        [b"example.com"],
        [""],
        ["http://example.com"],
        ["example.com/x"],
        ["example.com:80"],
        ["*.example.com"],
        [".example.com"],
        ["user@example.com"],
        ["a b"],
        ["a..b"],
        ["[::1"],
        ["[::1]:80"],
        ["1.2.3.400"],
        ["x" * 64 + ".example"],
    ],
)
def test_what_is_no_list_of_hosts_is_refused(value: object) -> None:
    with pytest.raises(BadRequestError, match=r"^allowed_hosts "):
        check_allowed_hosts(value)


def test_their_order_and_repetitions_mean_nothing() -> None:
    one = check_allowed_hosts(["b.example", "A.example", "b.example."])
    assert one == check_allowed_hosts({"a.example", "b.example"})
    assert one == ["a.example", "b.example"]


def test_options_are_read_back_from_both_shapes() -> None:
    said = {
        "fail_fast": True,
        "priority": -3,
        "max_concurrent_records": 2,
        "allowed_hosts": ["Example.com"],
        "rate_limit": 5,
    }
    kept = kept_options(**said)
    same = KeptOptions(
        fail_fast=True,
        priority=-3,
        max_concurrent_records=2,
        allowed_hosts=("example.com",),
    )
    assert kept_in(kept) == kept_in({"group": {**kept, "requests": 2}}) == same


@pytest.mark.parametrize(
    "options", [{}, {"group": {}}, {"fail_fast": True}, {"group": {"title": "a"}}]
)
def test_what_older_versions_kept_is_understood(options: dict) -> None:
    assert kept_in(options) == KeptOptions(fail_fast="fail_fast" in options)


def test_what_says_nothing_is_not_kept() -> None:
    assert kept_options(priority=0, max_concurrent_records=0, allowed_hosts=None) == {}
