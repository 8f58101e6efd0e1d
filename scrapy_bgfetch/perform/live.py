"""Background fetches and records while a crawl works on them.

These objects belong to the event loop's thread. What must outlive the process is
in the store; what is here is rebuilt from there.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field

from scrapy_bgfetch.model import (
    FailureReason,
    Head,
    RecordRow,
    RecordState,
    RegistrationRow,
    Result,
)
from scrapy_bgfetch.rules.file_names import (
    collision_key,
    folder_name,
    part_name,
    unique_name,
)

if TYPE_CHECKING:
    from scrapy import Request

    from scrapy_bgfetch.rules.backoff import Budgets


class Delegate(Protocol):
    """Whom a background fetch tells what happens, and asks what plug-ins decide."""

    def released(self) -> None:
        """The id is free from now on (behaviours 28, 72)."""

    def updated(self) -> None:
        """The outcome is there, and its numbers are final (behaviour 35)."""

    async def progress(self) -> None:
        """The numbers have changed."""

    async def response_started(self, record: LiveRecord) -> None:
        """A body is about to be read; raising refuses it."""

    async def file_name(self, record: LiveRecord) -> str:
        """Return the safe relative path for the file of a record."""

    async def refresh_request(self, record: LiveRecord, why: str) -> Request | None:
        """Return a new request for a record that was refused, None without one."""

    async def record_settled(self, record: LiveRecord) -> None:
        """One record has ended."""

    async def clicked(self) -> None:
        """A person has clicked on it (behaviour 88)."""

    async def settled(self) -> None:
        """The background fetch has ended; returns when all handlers have."""


@define(eq=False)
class LiveRecord:
    """One record of a background fetch; its fields are those of its row."""

    group: Group = field(repr=False)
    row: RecordRow
    request: Request | None = field(default=None, repr=False)
    budgets: Budgets | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    attempt_task: asyncio.Task[Any] | None = field(default=None, repr=False)
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    state: RecordState = field(init=False)
    failure_reason: FailureReason = field(init=False)
    attempt: int = field(init=False)
    stored: int = field(init=False)
    size: int | None = field(init=False)
    wire: int = field(init=False)
    head: Head | None = field(init=False)
    encoded: bool = field(init=False)
    path: str | None = field(init=False)
    error: str = field(init=False)
    announced: bool = field(init=False)
    marked: int = field(init=False)
    marked_wire: int = field(init=False)
    queued: bool = False
    over_budget: bool = False
    returnable: bool = True
    generation: int = 0
    sent: bool = False
    head_kept: bool = True
    _waiters: list[asyncio.Future[None]] = field(factory=list, repr=False)

    def __attrs_post_init__(self) -> None:
        row = self.row
        self.state, self.failure_reason = row.state, row.failure_reason
        self.attempt, self.stored, self.size = row.attempt, row.stored, row.size
        self.wire, self.head, self.encoded = row.wire, row.head, row.encoded
        self.path, self.error, self.announced = row.path, row.error, row.announced
        self.marked, self.marked_wire = row.stored, row.wire

    @property
    def index(self) -> int:
        """Its number in the background fetch, from 0."""
        return self.row.index

    @property
    def url(self) -> str:
        """The URL it was registered with (behaviour 59)."""
        return self.row.url

    @property
    def settled(self) -> bool:
        """Whether it has ended."""
        return self.state is RecordState.SETTLED

    @property
    def part(self) -> str:
        """The name of its part file."""
        return part_name(self.row.uid, self.row.index)

    @property
    def waited_for(self) -> bool:
        """Whether anybody waits for its next change."""
        return bool(self._waiters)

    async def changed(self) -> None:
        """Wait for the next change of its state, head or bytes."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        """Tell those who wait in :meth:`changed`."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def interrupt(self) -> None:
        """Stop its attempt, and any wait for a next one, at once."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.attempt_task is not None:
            self.attempt_task.cancel()

    def drop_bytes(self) -> None:
        """Count its bytes as gone (behaviour 49)."""
        if self.stored:
            self.generation += 1
        self.group.downloaded -= self.stored
        self.stored = 0

    def settle(self, reason: FailureReason, error: str = "") -> None:
        """Let it end, once and for all."""
        self.state = RecordState.SETTLED
        self.failure_reason = reason
        self.error = error
        self.wake()


@define(eq=False)
class Group:
    """One background fetch: its numbers, its records, its outcome."""

    row: RegistrationRow
    records: list[LiveRecord] = field(factory=list, repr=False)
    delegate: Delegate | None = field(default=None, repr=False)
    title: str = field(init=False)
    icons: tuple[dict[str, Any], ...] = field(init=False)
    download_total: int = field(init=False)
    expected: int | None = field(init=False)
    paused: bool = field(init=False)
    downloaded: int = field(init=False)
    uploaded: int = field(init=False)
    result: Result = field(init=False)
    failure_reason: FailureReason = field(init=False)
    settled_at: float | None = field(init=False)
    first_failure: FailureReason = FailureReason.NONE
    outcome: FailureReason = FailureReason.NONE
    ending: bool = False
    records_available: bool = True
    suspended: bool = False
    unannounced: int = 0
    to_announce: list[int] = field(factory=list, repr=False)
    reported: int = -1
    names: set[str] = field(factory=set, repr=False)
    folders: set[str] = field(factory=set, repr=False)
    freed: asyncio.Future[None] | None = field(default=None, repr=False)
    finished: asyncio.Future[None] | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        row = self.row
        self.title, self.icons = row.title, row.icons
        self.download_total, self.expected = row.download_total, row.expected
        self.paused, self.uploaded = row.paused, row.uploaded
        self.downloaded, self.result = row.downloaded, row.result
        self.failure_reason, self.settled_at = row.failure_reason, row.settled_at
        self.ending = bool(row.result)
        self.records_available = not row.delivered

    @property
    def uid(self) -> str:
        """Its unique id, never used again (behaviour 184)."""
        return self.row.uid

    @property
    def folder(self) -> str:
        """The name of its folder in the file store."""
        return folder_name(self.row.id, self.row.uid)

    @property
    def complete(self) -> bool:
        """Whether all the records that it waits for are there."""
        return self.expected is not None and len(self.records) >= self.expected

    def add(self, record: LiveRecord) -> None:
        """Take a record in."""
        self.records.append(record)
        self.unannounced += not record.announced
        if record.path is not None:
            self.reserve(record.path)

    def reserve(self, name: str) -> str:
        """Return a path for a file of that name which no other record has.

        A name whose folder is a file already loses its folders.
        """
        path = PurePosixPath(name)
        if self.names & {collision_key(str(folder)) for folder in path.parents}:
            path = PurePosixPath(self.folder, path.name)
        taken = self.names | self.folders
        free = unique_name(str(path), lambda other: collision_key(other) in taken)
        self.names.add(collision_key(free))
        parents = PurePosixPath(free).parents
        self.folders |= {collision_key(str(folder)) for folder in parents}
        return free

    def active(self) -> list[LiveRecord]:
        """Return the records that an attempt works on."""
        return [r for r in self.records if r.state is RecordState.ACTIVE]
