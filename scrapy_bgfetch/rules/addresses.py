"""Which IP addresses are public (RFC 6890 and IANA's special-purpose registries)."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from attrs import frozen

_KINDS = {
    "an unspecified address": ("0.0.0.0/8", "::/128"),
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "a private address": (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
        "fc00::/7",
        "fec0::/10",  # site-local, RFC 3879
    ),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "a shared address": ("100.64.0.0/10",),  # carrier-grade NAT, RFC 6598
    "a documentation address": (
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
        "2001:db8::/32", "3fff::/20",
    ),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    "a reserved address": (
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.88.99.0/24",  # relays of 6to4, RFC 7526
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "240.0.0.0/4",
        "2001::/23",  # protocol assignments, RFC 2928
    ),
}  # fmt: skip
_NETWORKS = tuple((ip_network(n), kind) for kind, ns in _KINDS.items() for n in ns)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@frozen
class AddressRule:
    """Permits public addresses, and those of the ``allowed`` networks."""

    allowed: tuple[IPv4Network | IPv6Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Return what a refused address is, "a loopback address", or None.

        An IPv6 address that stands for IPv4 ones is judged by these: mapped
        (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056) and Teredo (RFC 4380, server
        and client). A zone, as in ``fe80::1%eth0``, does not count. What is no IP
        address in its usual form, such as ``127.1``, is refused.
        """
        try:
            parsed = ip_address(address)
        except ValueError:
            return "no IP address in its usual form"
        return self._refusal(parsed)

    def _refusal(self, address: IPv4Address | IPv6Address) -> str | None:
        if any(address in network for network in self.allowed):
            return None
        if embedded := _embedded(address):
            return next(filter(None, map(self._refusal, embedded)), None)
        for network, kind in _NETWORKS:
            if address in network:
                return kind
        if address.version == 4 or address in _GLOBAL_UNICAST:
            return None
        return "a reserved address"


def _embedded(address: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, IPv4Address):
        return ()
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    single = address.ipv4_mapped or address.sixtofour
    return (single,) if single else address.teredo or ()
