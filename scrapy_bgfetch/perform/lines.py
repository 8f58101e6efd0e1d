"""Who of one owner is next: the records that wait in its line."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.perform.live import Group, LiveRecord

_LEAST_ORIGIN = len("https://")  # a slash from here on is behind the host
TURN = 8  # records of one background fetch before the next of its owner


@lru_cache(maxsize=1024)
def host_of(url: str) -> str:
    """Return the host that a URL names, "" when it names none."""
    end = url.find("/", _LEAST_ORIGIN)
    return _host_of_origin(url if end < 0 else url[:end])


@lru_cache(maxsize=1024)
def _host_of_origin(url: str) -> str:
    """Return the host of a URL that has been cut where its path begins, or later."""
    return urlsplit(url).hostname or ""


@define(eq=False)
class Waiting:
    """The records of one background fetch that wait, by host.

    ``turn`` is its place among those of its owner, ``held`` the hosts whose records
    wait until one of its own has ended (``max_concurrent_records``).
    """

    group: Group
    turn: int = 0
    taken: int = 0
    running: int = 0
    hosts: dict[str, deque[tuple[int, LiveRecord]]] = field(factory=dict)
    held: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether as many of its records run as may run at once."""
        limit = self.group.options.max_concurrent_records
        return bool(limit) and self.running >= limit

    def pop(self, host: str) -> LiveRecord:
        """Return its oldest record for that host."""
        line = self.hosts[host]
        record = line.popleft()[1]
        if not line:
            del self.hosts[host]
        record.queued = False
        return record


class Owner:
    """The background fetches of one owner: first come, first served, in turns.

    A background fetch that has had TURN records started goes behind the others. All
    steps take time that grows with the logarithm of what waits, and with the number
    of hosts that have no room; never with the number of records.
    """

    def __init__(self) -> None:
        self.groups: dict[Group, Waiting] = {}
        self._numbers = count()
        self._lanes: dict[str, list[tuple[int, int, Waiting]]] = {}
        self._order: list[tuple[int, int, str]] = []
        self._ready: set[Waiting] = set()

    def put(self, record: LiveRecord, host: str) -> None:
        """Let a record wait."""
        waiting = self.groups.setdefault(record.group, Waiting(record.group))
        number = next(self._numbers)
        if not waiting.hosts:
            waiting.turn, waiting.taken = number, 0
        record.queued = True
        if host in waiting.hosts:
            waiting.hosts[host].append((number, record))
        else:
            waiting.hosts[host] = deque([(number, record)])
            if host not in waiting.held:
                self._file(waiting, host)
        self._note(waiting)

    def waits_for(self, host: str) -> bool:
        """Return whether a record for that host may be waiting."""
        return host in self._lanes

    def wants(self, host: str) -> bool:
        """Return whether a record for that host could run now."""
        return host in self._lanes and any(
            host in one.hosts and _may_run(one.hosts[host][0][1]) for one in self._ready
        )

    def take(self, has_room: Callable[[str], bool]) -> LiveRecord | None:
        """Return the next record that may run, None without one."""
        found, aside = None, []
        while self._order and self._ready and found is None:
            entry = heappop(self._order)
            host = entry[2]
            if not self._is_top(entry):
                continue
            if has_room(host):
                found = self._next_at(host)
                self._rank(host)
            else:
                aside.append(entry)
        for entry in aside:
            heappush(self._order, entry)
        return found

    def done(self, group: Group) -> None:
        """A record of that background fetch runs no more."""
        waiting = self.groups[group]
        waiting.running -= 1
        held, waiting.held = waiting.held, ()
        for host in held:
            if host in waiting.hosts:
                self._file(waiting, host)
        self._note(waiting)

    def remove(self, group: Group) -> tuple[list[LiveRecord], int]:
        """Forget a background fetch: return what waits, and how many of it run."""
        waiting = self.groups.pop(group)
        self._ready.discard(waiting)
        lines = waiting.hosts.values()
        gone = sorted((pair for line in lines for pair in line), key=itemgetter(0))
        waiting.hosts = {}
        return [record for _, record in gone], waiting.running

    def adopt(self, group: Group, running: int) -> None:
        """Let a background fetch, so many records of which run, belong here."""
        self.groups[group] = Waiting(group, running=running)

    def _file(self, waiting: Waiting, host: str) -> None:
        """Put a background fetch into the lane of a host, at its place."""
        lane = self._lanes.setdefault(host, [])
        number = waiting.hosts[host][0][0]
        heappush(lane, (waiting.turn, number, waiting))
        if lane[0][1] == number:
            self._rank(host)

    def _rank(self, host: str) -> None:
        """Give a lane its place among the lanes."""
        lane = self._lanes[host]
        if lane:
            heappush(self._order, (*lane[0][:2], host))
        else:
            del self._lanes[host]

    def _is_top(self, entry: tuple[int, int, str]) -> bool:
        lane = self._lanes.get(entry[2])
        return lane is not None and lane[0][:2] == entry[:2]

    def _next_at(self, host: str) -> LiveRecord | None:
        """Look at the first of a lane; None when it is not its turn after all."""
        lane = self._lanes[host]
        turn, number, waiting = heappop(lane)
        if host not in waiting.hosts:
            return None
        if turn != waiting.turn:
            heappush(lane, (waiting.turn, number, waiting))
            return None
        if waiting.full:
            waiting.held += (host,)
            return None
        record = waiting.pop(host)
        self._count(waiting)
        if host in waiting.hosts:
            heappush(lane, (waiting.turn, waiting.hosts[host][0][0], waiting))
        runs = _may_run(record)
        waiting.running += runs
        self._note(waiting)
        return record if runs else None

    def _count(self, waiting: Waiting) -> None:
        waiting.taken += 1
        if waiting.taken >= TURN and len(self._ready) > 1:
            waiting.turn, waiting.taken = next(self._numbers), 0

    def _note(self, waiting: Waiting) -> None:
        """Take note of what has changed: whether it is ready, or over."""
        if waiting.hosts and not waiting.full:
            self._ready.add(waiting)
        else:
            self._ready.discard(waiting)
        if not (waiting.hosts or waiting.running):
            self.groups.pop(waiting.group, None)


def _may_run(record: LiveRecord) -> bool:
    group = record.group
    return not (record.settled or group.ending or group.paused)
