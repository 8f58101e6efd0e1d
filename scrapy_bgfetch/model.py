"""The words that every floor of the house shares: plain values, no behaviour."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any

from attrs import field, frozen


class StrEnum(str, Enum):
    """An enum whose members are, print as and compare to their string."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class Result(StrEnum):
    """How a background fetch ended (behaviour 4)."""

    UNSETTLED = ""
    SUCCESS = "success"
    FAILURE = "failure"


class FailureReason(StrEnum):
    """Why a background fetch, or one of its records, failed (behaviour 4)."""

    NONE = ""
    ABORTED = "aborted"
    BAD_STATUS = "bad-status"
    FETCH_ERROR = "fetch-error"
    QUOTA_EXCEEDED = "quota-exceeded"
    DOWNLOAD_TOTAL_EXCEEDED = "download-total-exceeded"


class RecordState(StrEnum):
    """Where a record is in its life.

    ``pending``: waits for a slot, a retry, or the end of a pause.
    ``active``: an attempt is under way.
    ``settled``: ended; its ``failure_reason`` is empty when it succeeded.
    """

    PENDING = "pending"
    ACTIVE = "active"
    SETTLED = "settled"


class WithoutValidator(StrEnum):
    """What a resume does when the stored bytes have no strong validator.

    ``verify-tail``: the last stored bytes are fetched again and compared, and the
    rest is appended only when they are the same.
    ``restart``: the body is fetched again from its first byte.
    ``trust``: the rest is appended, unless the answer itself shows a change.
    """

    VERIFY_TAIL = "verify-tail"
    RESTART = "restart"
    TRUST = "trust"


class AttemptOutcome(StrEnum):
    """What an attempt at a record came to.

    ``complete``: the body is complete.
    ``retry``: it is tried again, with what is stored.
    ``restart``: it is tried again from the first byte.
    ``no-room``: the next bytes did not fit the disk or the quota.
    ``interrupted``: a pause, an abort, or the end of the crawl.
    ``failed``: the record has failed.
    """

    COMPLETE = "complete"
    RETRY = "retry"
    RESTART = "restart"
    NO_ROOM = "no-room"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class Taken(StrEnum):
    """What an attempt did with the body of its answer.

    ``append``: it follows the stored bytes. ``replace``: it takes their place.
    """

    NOTHING = ""
    APPEND = "append"
    REPLACE = "replace"


class FileStatus(StrEnum):
    """What a look at the file of a record has shown.

    ``ok``: it has the length and the digest that it had.
    ``missing``: it is not there.
    ``changed``: its length or its digest differs, or it is no regular file.
    ``unreadable``: it cannot be opened or read.
    ``no-digest``: it is there with its length, but nobody knows what it was.
    ``no-file``: the record has left no file.
    """

    OK = "ok"
    MISSING = "missing"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    NO_DIGEST = "no-digest"
    NO_FILE = "no-file"


@frozen
class Head:
    """The head of a response: the status line and the header fields as they came.

    ``url`` is the address that answered, after redirects. Names and values are
    text in latin-1, one pair for each field line, in their order.
    """

    url: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """Return the combined value of a field (RFC 9110 section 5.3), or None."""
        return _combined(self.headers).get(name.lower())


@lru_cache(maxsize=64)  # an answer is asked for many fields, and soon for none
def _combined(lines: tuple[tuple[str, str], ...]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in lines:
        key = name.lower()
        fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return fields


@frozen
class RegistrationRow:
    """What is kept of one background fetch (behaviour 2).

    ``uid`` is unique for ever, ``id`` is the caller's and unique only among the
    active ones of a ``scope`` (behaviours 1, 22, 184). ``expected`` is the number
    of records after which it settles, None while requests may still join it.
    While it is active, ``failure_reason`` is that of the first record that failed.
    Sizes are in bytes, times in seconds since the epoch, ``icons`` and
    ``options`` hold JSON values only.
    """

    uid: str
    id: str
    scope: str
    title: str = ""
    icons: tuple[dict[str, Any], ...] = ()
    base_url: str | None = None
    download_total: int = 0
    upload_total: int = 0
    expected: int | None = None
    options: dict[str, Any] = field(factory=dict)
    paused: bool = False
    uploaded: int = 0
    downloaded: int = 0
    result: Result = Result.UNSETTLED
    failure_reason: FailureReason = FailureReason.NONE
    delivered: bool = False
    created_at: float = 0.0
    settled_at: float | None = None


@frozen
class RecordRow:
    """What is kept of one record (behaviour 5).

    ``request`` is the JSON form of its request. ``attempt`` fences: a statement
    that comes with an older number changes nothing. ``stored`` is the absolute
    number of body bytes now in its part file, ``size`` the complete length once
    it is known. ``wire`` counts the bytes that came over the network for it, all
    attempts together. ``encoded`` says that the stored bytes were decoded from a
    content coding, so that they cannot be resumed (B12). ``path`` is relative to
    the file store. ``announced`` says that its hooks have ended. ``checksums`` are
    the digests of the settled file: lower-case hex by the algorithm's name.
    ``uploaded`` is how many bytes of its request's body were sent (58).
    ``not_modified`` says that the server has confirmed the file of an earlier
    background fetch: ``path`` is that file, nothing of it is ``stored`` here.
    ``segments`` are the stretches of its body that are stored, as (first, end), when
    they are not one stretch from its first byte on; otherwise ().
    """

    uid: str
    index: int
    url: str
    method: str = "GET"
    request: dict[str, Any] = field(factory=dict)
    state: RecordState = RecordState.PENDING
    failure_reason: FailureReason = FailureReason.NONE
    attempt: int = 0
    stored: int = 0
    size: int | None = None
    wire: int = 0
    head: Head | None = None
    encoded: bool = False
    path: str | None = None
    error: str = ""
    announced: bool = False
    checksums: dict[str, str] = field(factory=dict)
    uploaded: int = 0
    not_modified: bool = False
    segments: tuple[tuple[int, int], ...] = ()


@frozen
class AttemptRow:
    """What is kept of one attempt at a record that has ended (N3).

    Times are in seconds since the epoch. ``range`` and ``if_range`` are the request's
    fields, ``urls`` all that were asked in this attempt, without userinfo: the last
    one answered (221). ``status`` is None when nothing answered; the fields after it
    are those of the answer, "" when it had none. ``wire`` counts the bytes of its body
    that came over the network, ``before`` and ``after`` say how many were stored.
    ``connections`` is how many brought bytes of it, at once or one after another; what
    is said of a request and an answer is that of the first.
    """

    uid: str
    index: int
    number: int
    started_at: float
    ended_at: float
    urls: tuple[str, ...] = ()
    range: str = ""
    if_range: str = ""
    status: int | None = None
    content_range: str = ""
    content_encoding: str = ""
    etag: str = ""
    last_modified: str = ""
    wire: int = 0
    before: int = 0
    after: int = 0
    taken: Taken = Taken.NOTHING
    outcome: AttemptOutcome = AttemptOutcome.INTERRUPTED
    error: str = ""
    connections: int = 1
