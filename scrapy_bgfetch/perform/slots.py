"""Who is next: a limited number of slots, shared fairly.

The highest priority goes first. Within one priority the owner (a background fetch's
first host) goes first whose last turn is the longest ago, so that owners take turns
(191). Within an owner :class:`~scrapy_bgfetch.perform.lines.Owner` has the order.
Nobody waits behind one who is held back by a limit of its own.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, OrderedDict
from itertools import chain
from typing import TYPE_CHECKING

from scrapy_bgfetch.perform.extras import Extras
from scrapy_bgfetch.perform.lines import Owner, host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy_bgfetch.perform.live import Group, LiveRecord

ENDS = 4  # records that end without a slot, for each slot


class Slots:
    """Start records as slots become free.

    :param total: how many may run at once.
    :param host_limit: how many may run at once of a host, 0 for no limit.
    :param start: called with each record that got a slot; :meth:`done` gives it
        back, :meth:`vacate` before that.
    :param extras: the connections of records beyond their first, which count as
        others of their host, and make way for records.
    """

    def __init__(
        self,
        total: int,
        host_limit: Callable[[str], int],
        start: Callable[[LiveRecord], None],
        extras: Extras | None = None,
    ) -> None:
        self._total = total
        self._host_limit = host_limit
        self._start = start
        self._levels: dict[int, _Level] = {}
        self._ranks: list[int] = []
        self._running: dict[LiveRecord, int] = {}
        self._vacated: dict[LiveRecord, int] = {}
        self._hosts: Counter[str] = Counter()
        self._extras = Extras() if extras is None else extras
        self._extras.serve(self)
        self._tried = False  # whether nobody of those who wait can run
        self.open = False

    def put(self, record: LiveRecord) -> None:
        """Let a record wait for its turn, unless it waits or runs already."""
        if record.queued or record in self._running or record in self._vacated:
            return
        priority = record.group.options.priority
        level = self._level(priority)
        level.put(record)
        if not (self.open and len(self._running) < self._total):
            self._tried = False
        else:
            # All others have been tried: only its owner may have somebody new.
            found = level.take(self.has_room, whose=record.group)
            self._drop_if_empty(priority)
            if found is not None:
                self._begin(found, priority)
            else:
                self._extras.make_way()

    def vacate(self, record: LiveRecord) -> None:
        """Let another have the slot of a record that only has to end.

        ENDS times as many records as there are slots may be without theirs: the next
        one keeps it, so that ends that take long slow the transfers down. It counts
        at the limit of its background fetch until it is :meth:`done`.
        """
        if record in self._running and len(self._vacated) < ENDS * self._total:
            self._vacated[record] = self._running.pop(record)
            self.count(host_of(record.url), -1)
            self._fill(record if self._tried else None)

    def done(self, record: LiveRecord) -> None:
        """Take a slot back, unless it was vacated: the record has ended."""
        priority = self._vacated.pop(record, None)
        if priority is None:
            priority = self._running.pop(record, None)
            if priority is not None:
                self.count(host_of(record.url), -1)
        if priority is not None:
            self._levels[priority].done(record.group)
            self._drop_if_empty(priority)
        self._fill(record if self._tried else None)

    def moved(self, group: Group, before: int) -> None:
        """The priority of a background fetch is another one than it was."""
        now, level = group.options.priority, self._levels.get(before)
        found = level.remove(group) if level is not None and now != before else None
        if found is None:
            return
        records, running = found
        self._drop_if_empty(before)
        self._level(now).adopt(group, running)
        for records_of in (self._running, self._vacated):
            records_of.update((r, now) for r in records_of if r.group is group)
        for record in records:
            self._level(now).put(record)
        self._drop_if_empty(now)
        self.pump()

    def pump(self) -> None:
        """Start whatever may start."""
        self._fill()

    def count(self, host: str, more: int) -> None:
        """Count so many more connections to a host, or, below 0, fewer."""
        self._hosts[host] += more
        if not self._hosts[host]:
            del self._hosts[host]

    def has_room(self, host: str) -> bool:
        """Whether one more may run of a host."""
        limit = self._host_limit(host)
        return not limit or self._hosts[host] < limit

    def wanted(self, host: str) -> bool:
        """Whether a record waits that nothing but the room of this host holds back."""
        return any(level.wants(host) for level in self._levels.values())

    def _fill(self, after: LiveRecord | None = None) -> None:
        """Start whatever may; ``after`` the end of a record what that concerns."""
        while self.open and len(self._running) < self._total:
            found = self._next(after)
            self._tried = found is None
            if found is None:
                self._extras.make_way()
                return
            self._begin(*found)
        self._tried = False

    def _begin(self, record: LiveRecord, priority: int) -> None:
        self._running[record] = priority
        self.count(host_of(record.url), 1)
        self._start(record)

    def _level(self, priority: int) -> _Level:
        if priority not in self._levels:
            self._levels[priority] = _Level()
            insort(self._ranks, -priority)
        return self._levels[priority]

    def _next(self, after: LiveRecord | None) -> tuple[LiveRecord, int] | None:
        found, drained = None, []
        for rank in self._ranks:
            record = self._levels[-rank].take(self.has_room, after=after)
            if record is not None:
                found = record, -rank
                break
            if self._levels[-rank].empty:
                drained.append(-rank)
        for priority in drained:
            self._drop_if_empty(priority)
        return found

    def _drop_if_empty(self, priority: int) -> None:
        level = self._levels.get(priority)
        if level is not None and level.empty:
            del self._levels[priority]
            self._ranks.remove(-priority)


class _Level:
    """The owners of one priority: new ones, then the others by their last turn."""

    def __init__(self) -> None:
        self._new: OrderedDict[str, Owner] = OrderedDict()
        self._old: OrderedDict[str, Owner] = OrderedDict()

    @property
    def empty(self) -> bool:
        return not (self._new or self._old)

    def put(self, record: LiveRecord) -> None:
        self._owner(record.group).put(record, host_of(record.url))

    def wants(self, host: str) -> bool:
        owners = chain(self._new.values(), self._old.values())
        return any(owner.wants(host) for owner in owners)

    def take(
        self,
        has_room: Callable[[str], bool],
        *,
        whose: Group | None = None,
        after: LiveRecord | None = None,
    ) -> LiveRecord | None:
        """Return the next record that may run.

        :param whose: of the owner of this background fetch alone.
        :param after: of its owner, and of those who wait for its host: nobody else
            can have somebody who may run.
        """
        record, drained = None, []
        for name, owner in self._owners(has_room, whose, after):
            record = owner.take(has_room)
            if record is not None:
                break
            if not owner.groups:
                drained.append(name)
        for gone in drained:
            self._drop(gone)
        if record is not None:
            self._new.pop(name, None)
            self._old[name] = owner
            self._old.move_to_end(name)
        return record

    def done(self, group: Group) -> None:
        owner = self._owner(group)
        owner.done(group)
        if not owner.groups:
            self._drop(_name_of(group))

    def remove(self, group: Group) -> tuple[list[LiveRecord], int] | None:
        """Forget a background fetch, None when nothing of it waits or runs."""
        owner = self._find(_name_of(group))
        if owner is None or group not in owner.groups:
            return None
        gone = owner.remove(group)
        if not owner.groups:
            self._drop(_name_of(group))
        return gone

    def adopt(self, group: Group, running: int) -> None:
        self._owner(group).adopt(group, running)

    def _owners(
        self,
        has_room: Callable[[str], bool],
        whose: Group | None,
        after: LiveRecord | None,
    ) -> Iterable[tuple[str, Owner]]:
        everybody = chain(self._new.items(), self._old.items())
        group = whose if after is None else after.group
        if group is None:
            return everybody
        mine = _name_of(group)
        if after is not None and has_room(host := host_of(after.url)):
            return (
                one for one in everybody if one[0] == mine or one[1].waits_for(host)
            )
        owner = self._find(mine)
        return [] if owner is None else [(mine, owner)]

    def _find(self, name: str) -> Owner | None:
        return self._new.get(name) or self._old.get(name)

    def _owner(self, group: Group) -> Owner:
        name = _name_of(group)
        owner = self._find(name)
        if owner is None:
            owner = self._new[name] = Owner()
        return owner

    def _drop(self, name: str) -> None:
        self._new.pop(name, None)
        self._old.pop(name, None)


def _name_of(group: Group) -> str:
    return host_of(group.records[0].url)
