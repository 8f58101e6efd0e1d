"""Background fetches and records while a crawl works on them.

These objects belong to the event loop's thread. What must outlive the process is
in the store; what is here is rebuilt from there.
"""

from __future__ import annotations

import asyncio
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
from scrapy_bgfetch.perform.pacing import RateLimit
from scrapy_bgfetch.rules.fetch_options import KeptOptions, kept_in
from scrapy_bgfetch.rules.file_names import (
    collision_key,
    folder_name,
    folders_of,
    part_name,
    unique_name,
)
from scrapy_bgfetch.rules.pace import rate_limit_of
from scrapy_bgfetch.rules.record_options import INTEGRITY
from scrapy_bgfetch.rules.revalidation import PREVIOUS, Previous
from scrapy_bgfetch.rules.segments import Segments, front_of
from scrapy_bgfetch.rules.uploads import UPLOAD, may_repeat, upload_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request

    from scrapy_bgfetch.bodies.digests import Digests
    from scrapy_bgfetch.perform.attempt_log import AttemptLog
    from scrapy_bgfetch.rules.backoff import Budgets
    from scrapy_bgfetch.rules.segments import Stretches


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

    async def body_complete(self, record: LiveRecord) -> None:
        """A body is complete, and not published; raising refuses it."""

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
    _request: Request | None = field(default=None, repr=False)
    _restore: Callable[[LiveRecord], Request] | None = field(default=None, repr=False)
    budgets: Budgets | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    attempt_task: asyncio.Task[Any] | None = field(default=None, repr=False)
    claim: asyncio.Task[bool] | None = field(default=None, repr=False)
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
    checksums: dict[str, str] = field(init=False)
    not_modified: bool = field(init=False)
    previous: Previous | None = field(init=False, repr=False)
    marked: int = field(init=False)
    uploaded: int = field(init=False)
    upload_size: int = field(init=False)
    marked_upload: int = field(init=False)
    queued: bool = False
    over_budget: bool = False
    returnable: bool = True
    has_callback: bool = True
    generation: int = 0
    not_before: float = 0.0
    begun: bool = False
    head_kept: bool = True
    segments: Segments | None = field(init=False, repr=False)
    digests: Digests | None = field(default=None, repr=False)
    log: AttemptLog | None = field(default=None, repr=False)
    _waiters: tuple[asyncio.Future[None], ...] = field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        row = self.row
        self.state, self.failure_reason = row.state, row.failure_reason
        self.attempt, self.stored, self.size = row.attempt, row.stored, row.size
        self.wire, self.head, self.encoded = row.wire, row.head, row.encoded
        self.path, self.error, self.announced = row.path, row.error, row.announced
        self.checksums = dict(row.checksums)
        self.not_modified = row.not_modified
        earlier = row.request.get(PREVIOUS)
        self.previous = Previous.from_json(earlier) if earlier else None
        self.marked = row.stored
        self.segments = _segments(row)
        self.uploaded = self.marked_upload = row.uploaded
        self.upload_size = upload_size(row.request)

    @property
    def request(self) -> Request | None:
        """Its request, None when nobody needs it any more.

        That of an earlier run is made again when it is first asked for.
        """
        if self._restore is not None:
            self.request = self._restore(self)
        return self._request

    @request.setter
    def request(self, request: Request | None) -> None:
        self._request, self._restore = request, None

    @property
    def index(self) -> int:
        """Its number in the background fetch, from 0."""
        return self.row.index

    @property
    def url(self) -> str:
        """The URL it was registered with (behaviour 59)."""
        return self.row.url

    @property
    def integrity(self) -> dict[str, list[str]]:
        """The digests that its body must have, by algorithm; {} for any."""
        return self.row.request.get(INTEGRITY) or {}

    @property
    def upload(self) -> dict[str, Any] | None:
        """The kept form of the file that its body is in, None without one."""
        return self.row.request.get(UPLOAD)

    @property
    def repeatable(self) -> bool:
        """Whether its request may be sent again (43)."""
        return may_repeat(
            self.row.method, retry_uploads=self.group.options.retry_uploads
        )

    @property
    def cut_off(self) -> bool:
        """Whether an earlier run had begun to send what must not be repeated (219)."""
        return self.row.state is RecordState.ACTIVE and not self.repeatable

    @property
    def settled(self) -> bool:
        """Whether it has ended."""
        return self.state is RecordState.SETTLED

    @property
    def part(self) -> str:
        """The name of its part file."""
        return part_name(self.row.uid, self.row.index)

    @property
    def stretches(self) -> Stretches:
        """Where its bytes are; () when they are one stretch from its first on."""
        found = self.segments.stretches if self.segments is not None else ()
        return () if front_of(self.stored, found) == self.stored else found

    @property
    def front(self) -> int:
        """How many bytes are stored before the first that is not."""
        return self.stored if self.segments is None else self.segments.front

    @property
    def waited_for(self) -> bool:
        """Whether anybody waits for its next change."""
        return bool(self._waiters)

    async def changed(self) -> None:
        """Wait for the next change of its state, head or bytes."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters += (waiter,)
        await waiter

    def wake(self) -> None:
        """Tell those who wait in :meth:`changed`."""
        waiters, self._waiters = self._waiters, ()
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

    def count_upload(self, sent: int) -> None:
        """Count the bytes of its body that one attempt has sent so far (58, B25)."""
        more = min(sent, self.upload_size) - self.uploaded
        if more > 0:
            self.uploaded += more
            self.group.uploaded += more

    def drop_bytes(self) -> None:
        """Count its bytes as gone (behaviour 49)."""
        if self.stored:
            self.generation += 1
        self.stop_digests()
        self.group.downloaded -= self.stored
        self.stored, self.segments = 0, None

    def stop_digests(self) -> None:
        """Compute no digests of its bytes any more."""
        if self.digests is not None:
            self.digests.stop()
            self.digests = None

    def settle(self, reason: FailureReason, error: str = "") -> None:
        """Let it end, once and for all."""
        self.stop_digests()
        self.state = RecordState.SETTLED
        self.failure_reason = reason
        self.error = error
        self.wake()


@define(eq=False)
class Group:
    """One background fetch: its numbers, its records, its outcome.

    Of many thousands, Python looks at each object again and again to find garbage: what
    is rarely needed is made when it is.
    """

    row: RegistrationRow
    records: list[LiveRecord] = field(factory=list, repr=False)
    delegate: Delegate | None = field(default=None, repr=False)
    title: str = field(init=False)
    folder: str = field(init=False)
    icons: tuple[dict[str, Any], ...] = field(init=False)
    download_total: int = field(init=False)
    upload_total: int = field(init=False)
    limit: RateLimit = field(init=False, repr=False)
    options: KeptOptions = field(init=False, repr=False)
    expected: int | None = field(init=False)
    paused: bool = field(init=False)
    downloaded: int = field(init=False)
    uploaded: int = field(init=False)
    result: Result = field(init=False)
    failure_reason: FailureReason = field(init=False)
    settled_at: float | None = field(init=False)
    first_failure: FailureReason = field(init=False)
    outcome: FailureReason = FailureReason.NONE
    ending: bool = False
    records_available: bool = True
    suspended: bool = False
    unannounced: int = 0
    to_announce: list[int] | None = field(default=None, repr=False)
    reported: tuple[int, int] = (-1, -1)
    _names: dict[str, bool] = field(factory=dict, repr=False)
    freed: asyncio.Future[None] | None = field(default=None, repr=False)
    finished: asyncio.Future[None] | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        row = self.row
        self.title, self.icons = row.title, row.icons
        self.folder = folder_name(row.id, row.uid)
        self.download_total, self.expected = row.download_total, row.expected
        self.upload_total = row.upload_total
        self.limit = RateLimit(rate_limit_of(row.options))
        self.options = kept_in(row.options)
        self.paused, self.uploaded = row.paused, row.uploaded
        self.downloaded, self.result = row.downloaded, row.result
        self.settled_at, self.ending = row.settled_at, bool(row.result)
        self.first_failure = row.failure_reason
        self.failure_reason = row.failure_reason if row.result else FailureReason.NONE
        self.records_available = not row.delivered

    @property
    def uid(self) -> str:
        """Its unique id, never used again (behaviour 184)."""
        return self.row.uid

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

    def announced(self, record: LiveRecord) -> None:
        """Take note that the end of a record was told, which is to be written down."""
        record.announced = True
        self.unannounced -= 1
        if self.to_announce is None:
            self.to_announce = []
        self.to_announce.append(record.index)

    def reserve(self, name: str) -> str:
        """Return a path for a file of that name which no other record has.

        A name whose folder is a file already loses its folders. ``_names`` has both,
        and says of each whether it is a file.
        """
        folders = [collision_key(folder) for folder in folders_of(name)]
        if any(map(self._names.get, folders)):
            name = f"{self.folder}/{name.rpartition('/')[2]}"
            folders = [collision_key(self.folder)]
        free = unique_name(name, self._is_taken)
        self._names |= dict.fromkeys(folders, False)
        self._names[collision_key(free)] = True
        return free

    def give_back(self, path: str) -> None:
        """Let others have a path that was reserved."""
        self._names.pop(collision_key(path), None)

    def _is_taken(self, path: str) -> bool:
        return collision_key(path) in self._names

    def active(self) -> list[LiveRecord]:
        """Return the records that an attempt works on."""
        return [r for r in self.records if r.state is RecordState.ACTIVE]


def _segments(row: RecordRow) -> Segments | None:
    """Return where its bytes are, None when they are one stretch from its first on."""
    if not row.segments:
        return None
    return Segments(row.size or row.segments[-1][1], row.segments)
