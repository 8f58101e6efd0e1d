"""The connections that BGFETCH_BLOCK_PRIVATE_ADDRESSES allows."""

from __future__ import annotations

import asyncio
import re
import socket
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.rules.addresses import AddressRule

# The last label has another character than digits: no odd form of an IPv4 address.
_NAME = re.compile(r"([a-z0-9_-]+\.)*[a-z0-9_-]*[a-z_-][a-z0-9_-]*\.?", re.IGNORECASE)


class BlockedAddressError(OSError):
    """The rule does not permit an address."""

    def __init__(self, address: str, kind: str) -> None:
        super().__init__(
            f"{address} is {kind}, which BGFETCH_BLOCK_PRIVATE_ADDRESSES does not "
            "allow. If it is meant to be used, add it to BGFETCH_ALLOWED_ADDRESSES"
        )


class Guard:
    """Lets connections be made to the addresses that the rule permits only.

    Make it where a loop runs.
    """

    def __init__(self, rule: AddressRule) -> None:
        self._rule = rule
        self._resolver = _Resolver(rule)

    def connector(
        self,
        local: tuple[str, int] | None,
        make_socket: Callable[[aiohttp.AddrInfoType], socket.socket],
    ) -> aiohttp.TCPConnector:
        """Return a connector without limits that makes no other connection.

        Each address is judged in the very step that makes its socket: no name is
        resolved after that, and literal addresses come there too.
        """
        return aiohttp.TCPConnector(
            limit=0,
            local_addr=local,
            resolver=self._resolver,
            socket_factory=partial(self._socket, make_socket),
        )

    def check(self, address: str) -> None:
        """Do nothing for an address that the rule permits.

        :raises BlockedAddressError: for any other.
        """
        _check(self._rule, address)

    async def check_host(self, host: str) -> None:
        """Check all addresses of a host that a proxy is asked for.

        A name that is unknown here passes: the proxy may know it.

        :raises BlockedAddressError: one of them is not permitted, or the host is
            neither a name nor an address.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror:
            if not _NAME.fullmatch(host):
                self.check(host)
            return
        for *_, address in found:
            self.check(str(address[0]))

    async def close(self) -> None:
        """End name resolution."""
        await self._resolver.close()

    def _socket(
        self,
        make_socket: Callable[[aiohttp.AddrInfoType], socket.socket],
        info: aiohttp.AddrInfoType,
    ) -> socket.socket:
        self.check(str(info[4][0]))
        return make_socket(info)


class _Resolver(AbstractResolver):
    """Leaves out the addresses of a name that the rule does not permit."""

    def __init__(self, rule: AddressRule) -> None:
        self._rule = rule
        self._resolver = aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses.

        :raises BlockedAddressError: the name has others only.
        """
        found = await self._resolver.resolve(host, port, family)
        permitted = [one for one in found if not self._rule.refusal(one["host"])]
        if found and not permitted:
            _check(self._rule, found[0]["host"])
        return permitted

    async def close(self) -> None:
        """Close the resolver that does the work."""
        await self._resolver.close()


def _check(rule: AddressRule, address: str) -> None:
    if kind := rule.refusal(address):
        raise BlockedAddressError(address, kind)
