"""The words that every floor of the house shares: plain values, no behaviour."""

from __future__ import annotations

from enum import Enum
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
        wanted = name.lower()
        values = [value for key, value in self.headers if key.lower() == wanted]
        return ", ".join(values) if values else None


@frozen
class RegistrationRow:
    """What is kept of one background fetch (behaviour 2).

    ``uid`` is unique for ever, ``id`` is the caller's and unique only among the
    active ones of a ``scope`` (behaviours 1, 22, 184). ``expected`` is the number
    of records after which it settles, None while requests may still join it.
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
    the file store. ``announced`` says that its hooks have ended.
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
