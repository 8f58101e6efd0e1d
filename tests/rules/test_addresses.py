"""Which IP addresses are public, by IANA's special-purpose registries."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scrapy_bgfetch.rules.addresses import AddressRule

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2606:4700:4700::1111%eth0",
]
REFUSED = {
    "an unspecified address": ["0.0.0.0", "0.1.2.3", "::"],
    "a loopback address": ["127.0.0.1", "127.255.255.255", "::1", "::1%lo"],
    "a private address": [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "fc00::",
        "fdff:ffff::1",
        "fec0::1",
    ],
    "a link-local address": [
        "169.254.0.0",
        "169.254.169.254",
        "169.254.255.255",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
    ],
    "a shared address": ["100.64.0.0", "100.127.255.255"],
    "a documentation address": [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.255",
        "2001:db8::1",
        "3fff:fff::1",
    ],
    "a multicast address": ["224.0.0.0", "239.255.255.255", "ff02::1", "ff0e::1"],
    "a reserved address": [
        "192.0.0.8",
        "192.88.99.1",
        "198.18.0.0",
        "198.19.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::2",
        "::7f00:1",  # IPv4-compatible, deprecated
        "::ffff:0:127.0.0.1",  # IPv4-translated
        "64:ff9b:1::1",  # NAT64 of a local network
        "100::1",
        "2001:2::1",
        "2001:10::1",
        "4000::1",
        "5f00::1",
        "fe00::1",
    ],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_permitted(address):
    assert AddressRule().refusal(address) is None


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, one) for kind, ones in REFUSED.items() for one in ones]
)
def test_any_other_address_is_refused_by_its_kind(kind, address):
    assert AddressRule().refusal(address) == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.1%lo",
        "1.1.1.1 ",
        "1.1.1.1:80",
        "[::1]",
        "fe80::1%",
        "1.1.1.1\n",
    ],
)
def test_what_is_no_address_in_its_usual_form_is_refused(text):
    assert AddressRule().refusal(text) == "no IP address in its usual form"


CARRIERS = {
    "mapped": lambda ip: IPv6Address((0xFFFF << 32) | int(ip)),
    "NAT64": lambda ip: IPv6Address((0x0064FF9B << 96) | int(ip)),
    "6to4": lambda ip: IPv6Address((0x2002 << 112) | (int(ip) << 80) | 1),
    "Teredo server": lambda ip: teredo(ip, IPv4Address("1.1.1.1")),
    "Teredo client": lambda ip: teredo(IPv4Address("1.1.1.1"), ip),
}


def teredo(server: IPv4Address, client: IPv4Address) -> IPv6Address:
    """RFC 4380, section 4: the client's address is there with its bits inverted."""
    hidden = int(client) ^ 0xFFFF_FFFF
    return IPv6Address((0x20010000 << 96) | (int(server) << 64) | hidden)


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
@given(ip=st.ip_addresses(v=4))
@example(ip=IPv4Address("127.0.0.1"))
@example(ip=IPv4Address("169.254.169.254"))
@example(ip=IPv4Address("0.0.0.0"))
@example(ip=IPv4Address("8.8.8.8"))
def test_an_ipv6_address_that_carries_an_ipv4_one_is_judged_by_it(carrier, ip):
    rule = AddressRule()
    assert rule.refusal(str(carrier(ip))) == rule.refusal(str(ip))


@given(ip=st.ip_addresses(v=4))
def test_what_python_calls_private_is_refused(ip):
    if ip.is_private or ip.is_reserved or ip.is_multicast:
        assert AddressRule().refusal(str(ip))


@given(ip=st.ip_addresses(v=6))
def test_ipv6_outside_of_global_unicast_is_refused_unless_it_carries_ipv4(ip):
    carries = ip.ipv4_mapped or ip in ip_network("64:ff9b::/96")
    if not carries and int(ip) >> 125 != 0b001:
        assert AddressRule().refusal(str(ip))


@given(ip=st.ip_addresses())
def test_an_allowed_address_is_permitted_whatever_it_is(ip):
    assert AddressRule((ip_network(str(ip)),)).refusal(str(ip)) is None


def test_an_allowed_network_permits_its_own_addresses_only():
    rule = AddressRule((ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    assert rule.refusal("10.1.255.255") is None
    assert rule.refusal("::ffff:10.1.0.1") is None
    assert rule.refusal("fd00::1") is None
    assert rule.refusal("10.2.0.0") == "a private address"
    assert rule.refusal("::ffff:10.2.0.0") == "a private address"
    assert rule.refusal("fd00:0:0:1::1") == "a private address"
