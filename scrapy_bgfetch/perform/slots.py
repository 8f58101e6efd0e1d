"""Who is next: a limited number of slots, shared fairly.

Round robin between owners (an owner is a background fetch's first host), first
come first served within one, and no more of one host than its limit (191).
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy_bgfetch.perform.live import LiveRecord

_Queue = dict[str, "deque[tuple[int, LiveRecord]]"]


def host_of(url: str) -> str:
    """Return the host that a URL names, "" when it names none."""
    return urlsplit(url).hostname or ""


class Slots:
    """Start records as slots become free.

    :param total: how many may run at once.
    :param host_limit: how many may run at once of a host, 0 for no limit.
    :param start: called with each record that got a slot; :meth:`done` gives it
        back.
    """

    def __init__(
        self,
        total: int,
        host_limit: Callable[[str], int],
        start: Callable[[LiveRecord], None],
    ) -> None:
        self._total = total
        self._host_limit = host_limit
        self._start = start
        self._owners: OrderedDict[str, _Queue] = OrderedDict()
        self._count = 0
        self._running: set[LiveRecord] = set()
        self._hosts: Counter[str] = Counter()
        self.open = False

    def put(self, record: LiveRecord) -> None:
        """Let a record wait for its turn, unless it waits or runs already."""
        if record.queued or record in self._running:
            return
        record.queued = True
        self._count += 1
        owner = host_of(record.group.records[0].url)
        queue = self._owners.setdefault(owner, {})
        queue.setdefault(host_of(record.url), deque()).append((self._count, record))
        self.pump()

    def done(self, record: LiveRecord) -> None:
        """Take a slot back."""
        if record in self._running:
            self._running.remove(record)
            host = host_of(record.url)
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
        self.pump()

    def pump(self) -> None:
        """Start whatever may start."""
        while self.open and len(self._running) < self._total:
            record = self._next()
            if record is None:
                return
            self._running.add(record)
            self._hosts[host_of(record.url)] += 1
            self._start(record)

    def _next(self) -> LiveRecord | None:
        for owner in list(self._owners):
            queue = self._owners[owner]
            record = self._take(queue)
            if not queue:
                del self._owners[owner]
            if record is not None:
                if owner in self._owners:
                    self._owners.move_to_end(owner)
                return record
        return None

    def _take(self, queue: _Queue) -> LiveRecord | None:
        """Return the oldest record of the queue that still waits and may run."""
        while True:
            free = [host for host in queue if self._has_room(host)]
            if not free:
                return None
            host = min(free, key=lambda name: queue[name][0][0])
            record = queue[host].popleft()[1]
            if not queue[host]:
                del queue[host]
            record.queued = False
            if not (record.settled or record.group.ending or record.group.paused):
                return record

    def _has_room(self, host: str) -> bool:
        limit = self._host_limit(host)
        return not limit or self._hosts[host] < limit
