"""Background downloads on the wire: TLS, proxies, local addresses, codings."""

from __future__ import annotations

import base64
import json

import pytest
import trustme
from scrapy import Request

from tests.support.proxy import Proxy
from tests.support.site import Site, body
from tests.support.tls import server_context


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def secure(authority):
    names = ("127.0.0.1", "localhost")
    server = Site().start(server_context(*names, authority=authority))
    yield server
    server.stop()


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def proxy():
    server = Proxy().start()
    yield server
    server.stop()


@pytest.fixture
def guarded():
    server = Proxy("joe:s3cret").start()
    yield server
    server.stop()


def echoed(handle) -> dict[str, str]:
    return json.loads(handle.records[0].path.read_text())


def token(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


async def test_certificates_are_not_verified_by_default(fetched, secure):
    handle = await fetched(secure.url("/file/x"))
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == body("x", 1000)


async def test_an_untrusted_certificate_is_refused_at_once(fetched, secure, caplog):
    """Behaviour 216."""
    handle = await fetched(secure.url("/file/x"), DOWNLOAD_VERIFY_CERTIFICATES=True)
    assert handle.failure_reason == "fetch-error"
    assert "certificate verify failed" in handle.records[0].error
    assert secure.seen == []
    assert "is tried again" not in caplog.text


async def test_a_trusted_certificate_is_accepted(fetched, secure, trusted):
    handle = await fetched(secure.url("/file/x"), DOWNLOAD_VERIFY_CERTIFICATES=True)
    assert handle.result == "success"


async def test_a_certificate_of_another_name_is_refused(fetched, authority, trusted):
    server = Site().start(server_context("other.example", authority=authority))
    try:
        url = server.url("/file/x")
        handle = await fetched(url, DOWNLOAD_VERIFY_CERTIFICATES=True)
    finally:
        server.stop()
    assert handle.failure_reason == "fetch-error"
    assert "127.0.0.1" in handle.records[0].error


async def test_the_proxy_of_the_meta_key_is_used(fetched, site, proxy):
    url = site.url("/echo?a=1")
    handle = await fetched(Request(url, meta={"proxy": proxy.url()}))
    assert handle.result == "success"
    assert proxy.seen == [f"GET {url} HTTP/1.1"]
    assert "proxy-authorization" not in proxy.fields[0]


async def test_credentials_of_a_proxy_go_to_the_proxy_alone(fetched, site, guarded):
    request = Request(site.url("/echo"), meta={"proxy": guarded.url("joe:s3cret")})
    handle = await fetched(request)
    assert guarded.fields[0]["proxy-authorization"] == token("joe:s3cret")
    headers = {name.lower() for name in echoed(handle)["headers"]}
    assert "proxy-authorization" not in headers


async def test_tls_goes_through_a_tunnel(fetched, secure, trusted, guarded):
    meta = {"proxy": guarded.url("joe:s3cret")}
    request = Request(secure.url("/echo"), meta=meta)
    handle = await fetched(request, DOWNLOAD_VERIFY_CERTIFICATES=True)
    assert handle.result == "success"
    assert guarded.seen == [f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1"]
    assert guarded.fields[0]["proxy-authorization"] == token("joe:s3cret")
    headers = {name.lower() for name in echoed(handle)["headers"]}
    assert "proxy-authorization" not in headers


async def test_a_proxy_that_refuses_is_said(fetched, site, guarded):
    request = Request(site.url("/echo"), meta={"proxy": guarded.url("joe:wrong")})
    handle = await fetched(request)
    assert handle.failure_reason == "bad-status"
    assert handle.records[0].status == 407
    assert len(guarded.seen) == 1


async def test_a_tunnel_that_is_refused_is_said_at_once(fetched, secure, guarded):
    request = Request(secure.url("/echo"), meta={"proxy": guarded.url("joe:wrong")})
    handle = await fetched(request, BGFETCH_RESUMPTIONS=2)
    assert handle.failure_reason == "fetch-error"
    assert "407" in handle.records[0].error
    assert len(guarded.seen) == 1


async def test_the_proxy_of_the_environment_is_used(fetched, site, proxy, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url())
    handle = await fetched(site.url("/echo"))
    assert handle.result == "success"
    assert f"GET {site.url('/echo')} HTTP/1.1" in proxy.seen


async def test_a_proxy_that_is_not_http_is_refused_at_once(fetched, site, caplog):
    request = Request(site.url("/file/x"), meta={"proxy": "socks5://127.0.0.1:1"})
    handle = await fetched(request)
    assert handle.failure_reason == "fetch-error"
    assert "'socks5' is not supported" in handle.records[0].error
    assert "use an http:// or https:// proxy" in handle.records[0].error
    assert "is tried again" not in caplog.text


async def test_the_local_address_of_the_settings_is_used(fetched, site):
    handle = await fetched(site.url("/echo"), DOWNLOAD_BIND_ADDRESS="127.0.0.2")
    assert echoed(handle)["peer"] == "127.0.0.2"


@pytest.mark.parametrize("address", ["127.0.0.3", ("127.0.0.3", 0)])
async def test_the_local_address_of_the_meta_key_comes_first(fetched, site, address):
    request = Request(site.url("/echo"), meta={"bindaddress": address})
    handle = await fetched(request, DOWNLOAD_BIND_ADDRESS="127.0.0.2")
    assert echoed(handle)["peer"] == "127.0.0.3"


async def test_a_coding_that_was_not_asked_for_is_decoded_and_counted_decoded(
    fetched, site
):
    """Behaviours 49, 50."""
    handle = await fetched(
        site.url("/gzip/x?repeat=100"), options={"download_total": 100_000}
    )
    record = handle.records[0]
    assert (handle.result, handle.downloaded) == ("success", 100_000)
    assert (record.downloaded, record.size) == (100_000, 100_000)
    assert record.path.read_bytes() == body("x", 1000) * 100
    assert site.of("/gzip/x")[0].headers["Accept-Encoding"] == "identity"


async def test_a_decoded_body_over_the_budget_is_stopped(fetched, site):
    """Behaviour 50."""
    handle = await fetched(
        site.url("/gzip/x?size=10&repeat=1000000"), options={"download_total": 99_999}
    )
    assert handle.failure_reason == "download-total-exceeded"
    assert handle.downloaded <= 99_999


async def test_the_wire_is_counted_apart(probe, site):
    async def go(spider, response):
        await spider.background_fetch.fetch("a", site.url("/gzip/x?repeat=100"))

    stats = (await probe(go)).crawler.stats
    assert stats.get_value("bgfetch/downloaded_bytes") == 100_000
    assert 0 < stats.get_value("bgfetch/wire_bytes") < 10_000


async def test_heads_share_the_texts_that_they_have_in_common(fetched, site):
    handle = await fetched([site.url("/file/x"), site.url("/file/y")])
    one, other = (
        {id(text) for line in r._live.head.headers for text in line}
        for r in handle.records
    )
    names = [name for name, _ in handle.records[0]._live.head.headers]
    assert len(one & other) >= len(names) > 3


@pytest.mark.parametrize("status", [503, 500, 429])
async def test_a_server_that_is_busy_is_asked_again(fetched, site, status):
    handle = await fetched(site.url(f"/once/{status}/x?times=2"), RETRY_TIMES=7)
    assert handle.result == "success"
    assert len(site.of(f"/once/{status}/x")) == 3


async def test_retry_after_is_honoured(fetched, site):
    await fetched(site.url("/once/503/x?after=1"))
    first, second = (site.at(request) for request in site.of("/once/503/x"))
    assert 1 <= second - first < 5


async def test_our_retries_and_scrapys_do_not_multiply(fetched, site):
    handle = await fetched(
        site.url("/status/503"), BGFETCH_RESUMPTIONS=2, RETRY_TIMES=7
    )
    assert handle.failure_reason == "bad-status"
    assert len(site.of("/status/503")) == 3
