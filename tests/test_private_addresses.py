"""BGFETCH_BLOCK_PRIVATE_ADDRESSES: no server-side request forgery."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from scrapy import Request
from scrapy.settings import BaseSettings

from scrapy_bgfetch.exceptions import SettingsError
from scrapy_bgfetch.settings import Settings
from tests.support.proxy import Proxy
from tests.support.raw import answer
from tests.support.resuming import SLOW, half_way
from tests.support.site import body

BLOCK = {
    "BGFETCH_BLOCK_PRIVATE_ADDRESSES": True,
    "DOWNLOAD_TIMEOUT": 5,  # Inside never answers
    "BGFETCH_RESUMPTIONS": 1,
}
BUT_SITE = {**BLOCK, "BGFETCH_ALLOWED_ADDRESSES": ["127.0.0.1"]}


class Inside:
    """A listening socket at 127.0.0.2, which nobody should come to."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.2", 0))
        self.socket.setblocking(False)

    def url(self, host: str = "127.0.0.2", path: str = "/x") -> str:
        return f"http://{host}:{self.socket.getsockname()[1]}{path}"

    def visited(self) -> bool:
        with suppress(BlockingIOError):
            self.socket.accept()[0].close()
            return True
        return False


@pytest.fixture
def inside():
    server = Inside()
    yield server
    server.socket.close()


@pytest.fixture
def proxy():
    server = Proxy().start()
    yield server
    server.stop()


@pytest.fixture
def names(monkeypatch):
    """Names, and the addresses that each look-up finds; the last ones stay."""
    table: dict[str, list[list[str]]] = {}
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if not str(host).endswith(".example"):
            return ask(host, port, *args, **kwargs)
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = table[host].pop(0) if len(table[host]) > 1 else table[host][0]
        return [answer for one in found for answer in ask(one, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


def refused(handle, url: str, address: str, caplog) -> None:
    """Assert that this URL failed for good by that address."""
    (record,) = handle.records
    assert handle.failure_reason == record.failure_reason == "fetch-error"
    assert record.error.startswith(f"{url} is refused: {address} is ")
    assert "BGFETCH_BLOCK_PRIVATE_ADDRESSES" in record.error
    assert "BGFETCH_ALLOWED_ADDRESSES" in record.error
    assert "is tried again" not in caplog.text
    assert "Traceback" not in caplog.text


def test_nothing_is_blocked_by_default():
    assert Settings.defaults().addresses is None


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]"])
async def test_no_connection_is_made_to_a_private_address(
    fetched, inside, caplog, host
):
    url = inside.url(host)
    refused(await fetched(url, **BLOCK), url, host.strip("[]"), caplog)
    assert not inside.visited()


@pytest.mark.parametrize("host", ["127.2", "2130706434", "0x7f000002", "0177.0.0.2"])
async def test_odd_forms_of_an_address_lead_nowhere(fetched, inside, host):
    handle = await fetched(inside.url(host), **BLOCK)
    assert handle.failure_reason == "fetch-error"
    assert not inside.visited()


async def test_a_name_of_a_private_address_is_refused(fetched, site):
    handle = await fetched(site.url("/file/x", host="localhost"), **BLOCK)
    assert "BGFETCH_BLOCK_PRIVATE_ADDRESSES" in handle.records[0].error
    assert site.of("/file/x") == []


async def test_the_only_address_of_a_name_is_said(fetched, inside, names, caplog):
    names["a.example"] = [["127.0.0.2"]]
    url = inside.url("a.example")
    refused(await fetched(url, **BLOCK), url, "127.0.0.2", caplog)
    assert not inside.visited()


async def test_a_name_of_many_private_addresses_is_refused_for_good(
    fetched, inside, names, caplog
):
    names["many.example"] = [["127.0.0.2", "::1", "127.0.0.3"]]
    url = inside.url("many.example")
    refused(await fetched(url, **BLOCK), url, "127.0.0.2", caplog)
    assert not inside.visited()


async def test_a_public_address_that_is_down_may_be_up_later(fetched, inside, names):
    """The other address of the name does not make the failure one for good."""
    names["down.example"] = [["127.0.0.1", "127.0.0.2"]]
    handle = await fetched(inside.url("down.example"), **BUT_SITE)
    assert "cannot connect" in handle.records[0].error
    assert not inside.visited()


async def test_what_is_allowed_is_fetched(fetched, site):
    handle = await fetched(site.url("/file/x"), **BUT_SITE)
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == body("x", 1000)


async def test_a_network_may_be_allowed(fetched, site):
    allowed = {**BLOCK, "BGFETCH_ALLOWED_ADDRESSES": "10.0.0.0/8,127.0.0.0/8"}
    assert (await fetched(site.url("/file/x"), **allowed)).result == "success"


async def test_a_redirect_to_a_private_address_is_refused(
    fetched, site, inside, caplog
):
    handle = await fetched(site.url(f"/leave?to={inside.url()}"), **BUT_SITE)
    refused(handle, inside.url(), "127.0.0.2", caplog)
    assert len(site.of("/leave")) == 1
    assert not inside.visited()


async def test_a_redirect_to_a_name_of_a_private_address_is_refused(
    fetched, site, inside, names, caplog
):
    names["b.example"] = [["127.0.0.2"]]
    url = inside.url("b.example")
    refused(
        await fetched(site.url(f"/leave?to={url}"), **BUT_SITE),
        url,
        "127.0.0.2",
        caplog,
    )
    assert not inside.visited()


async def test_redirects_to_what_is_allowed_are_followed(fetched, site):
    handle = await fetched(site.url("/to/to/file/x"), **BUT_SITE)
    assert handle.result == "success"


async def test_of_the_addresses_of_a_name_only_the_permitted_are_tried(
    fetched, site, names
):
    """The refused one comes first, and the site's port is open there."""
    with socket.create_server(("127.0.0.2", site.port)) as there:
        there.setblocking(False)
        names["both.example"] = [["127.0.0.2", "127.0.0.1"]]
        handle = await fetched(site.url("/file/x", host="both.example"), **BUT_SITE)
        assert handle.result == "success"
        with pytest.raises(BlockingIOError):
            there.accept()


async def test_what_was_checked_is_what_is_connected_to(fetched, site, names):
    """A second look-up, after the check, would find another address."""
    with socket.create_server(("127.0.0.2", site.port)) as there:
        there.setblocking(False)
        names["rebind.example"] = [["127.0.0.1"], ["127.0.0.2"]]
        handle = await fetched(site.url("/file/x", host="rebind.example"), **BUT_SITE)
        assert handle.result == "success"
        assert len(names["rebind.example"]) == 1
        with pytest.raises(BlockingIOError):
            there.accept()


async def test_a_peer_at_another_address_is_refused(fetched, site, caplog):
    """A connection to 0.0.0.0 ends at 127.0.0.1."""
    url = site.url("/slow/x?size=1000000", host="0.0.0.0")
    allowed = {**BLOCK, "BGFETCH_ALLOWED_ADDRESSES": ["0.0.0.0"]}
    handle = await fetched(url, **allowed)
    refused(handle, url, "127.0.0.1", caplog)


async def test_a_resumption_is_checked_again(process, site):
    it = process(**BUT_SITE)
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    del it.settings["BGFETCH_ALLOWED_ADDRESSES"]
    await it.run()
    assert it.ends() == [("fail", "a", "fetch-error")]
    assert len(site.of("/slow/x")) == 1


async def test_the_proxy_may_be_at_a_private_address(fetched, raw, names):
    """What it is asked for is public, as far as can be seen here."""
    names["public.example"] = [["1.1.1.1"]]
    url = "http://public.example/x"
    raw.says(url, answer(b"through the proxy"))
    meta = {"proxy": raw.says("/", b"").rstrip("/")}
    handle = await fetched(Request(url, meta=meta), **BLOCK)
    assert handle.result == "success"


async def test_a_proxy_may_know_a_name_that_is_unknown_here(fetched, raw, names):
    url = "http://unknown-here.example/x"
    raw.says(url, answer(b"through the proxy"))
    meta = {"proxy": raw.says("/", b"").rstrip("/")}
    handle = await fetched(Request(url, meta=meta), **BLOCK)
    assert handle.result == "success"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.2",
        "127.2",
        "2130706434",
        "0x7f.0.0.2",
        "127.0.0.2.",
        "127%2e0.0.2",
        "[::ffff:127.0.0.2]",
        "localhost",
        "mixed.example",
    ],
)
async def test_a_proxy_is_not_asked_for_a_private_address(
    fetched, proxy, names, caplog, host
):
    names["mixed.example"] = [["1.1.1.1", "127.0.0.2"]]
    request = Request(f"http://{host}:9/x", meta={"proxy": proxy.url()})
    handle = await fetched(request, **BLOCK)
    assert "BGFETCH_BLOCK_PRIVATE_ADDRESSES" in handle.records[0].error
    assert "is tried again" not in caplog.text
    assert proxy.seen == []


async def test_a_redirect_through_a_proxy_is_checked(
    fetched, site, proxy, inside, caplog
):
    url = site.url(f"/leave?to={inside.url()}")
    handle = await fetched(Request(url, meta={"proxy": proxy.url()}), **BUT_SITE)
    refused(handle, inside.url(), "127.0.0.2", caplog)
    assert proxy.seen == [f"GET {url} HTTP/1.1"]


@pytest.mark.parametrize("value", [["here"], ["10.0.0.1/8"], [5], 7, "10.0.0.0/33"])
def test_what_is_no_list_of_networks_is_refused(value):
    settings = BaseSettings({"BGFETCH_ALLOWED_ADDRESSES": value})
    with pytest.raises(SettingsError, match="BGFETCH_ALLOWED_ADDRESSES"):
        Settings.read(settings)
