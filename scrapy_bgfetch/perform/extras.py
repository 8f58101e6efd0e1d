"""Connections of records beyond their first: only where nobody else wants the room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Hosts(Protocol):
    """Who counts what runs of each host."""

    def count(self, host: str, more: int) -> None: ...

    def has_room(self, host: str) -> bool: ...

    def wanted(self, host: str) -> bool: ...

    def pump(self) -> None: ...


class Extras:
    """Counts them among what runs of their hosts, and stops them for records."""

    def __init__(self) -> None:
        self._hosts: Hosts | None = None
        self._stops: dict[str, list[Callable[[], None]]] = {}
        self._stopping: set[str] = set()

    def serve(self, hosts: Hosts) -> None:
        """Take room from these hosts."""
        self._hosts = hosts

    def may_take(self, host: str) -> bool:
        """Whether there is room for a connection, and no record waits for it."""
        hosts = self._hosts
        return hosts is not None and hosts.has_room(host) and not hosts.wanted(host)

    def take(self, host: str, stop: Callable[[], None]) -> None:
        """Take room for a connection.

        :param stop: called when it must go; :meth:`give_back` follows, in any case.
        """
        assert self._hosts is not None
        self._hosts.count(host, 1)
        self._stops.setdefault(host, []).append(stop)

    def give_back(self, host: str, stop: Callable[[], None]) -> None:
        """A connection is closed: others may have its room."""
        assert self._hosts is not None
        self._stops[host].remove(stop)
        if not self._stops[host]:
            del self._stops[host]
        self._stopping.discard(host)
        self._hosts.count(host, -1)
        self._hosts.pump()

    def make_way(self) -> None:
        """Stop one connection of each host that a record waits for in vain."""
        hosts = self._hosts
        for host, stops in list(self._stops.items()):
            if host in self._stopping or hosts is None or hosts.has_room(host):
                continue
            if hosts.wanted(host):
                self._stopping.add(host)
                stops[-1]()
