"""What an attempt can come to."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen
from scrapy.exceptions import IgnoreRequest

from scrapy_bgfetch.bodies.decoding import CorruptBody, UnsupportedEncoding
from scrapy_bgfetch.bodies.uploads import UploadChanged
from scrapy_bgfetch.exceptions import NotAllowedError
from scrapy_bgfetch.model import FailureReason, Head
from scrapy_bgfetch.perform.space import LEAST, NoRoom, Room
from scrapy_bgfetch.rules.backoff import parse_imf_fixdate, parse_retry_after
from scrapy_bgfetch.rules.resume import Decision, Done, Fail, Restart, RetryLater

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy_bgfetch.rules.revalidation import Previous

_TOO_MUCH = {
    errno.EDQUOT: "the disk quota of this user is used up: have it raised",
    errno.EFBIG: "the file is larger than the file system, or the limit of this "
    "process (ulimit -f), lets it be: raise that",
}


@frozen
class Failed:
    """The record has failed: why, and with which answer.

    ``keeps`` says that its bytes are still good: a later background fetch of the
    same id and URL goes on with them.
    """

    reason: FailureReason
    why: str
    head: Head | None = None
    body: bytes = b""
    keeps: bool = False


@frozen
class Full:
    """There was no room for the next bytes; ``need`` of them must be free."""

    why: str
    need: int = LEAST


@frozen
class Again:
    """The record should be tried again; ``last`` is what it is when it may not."""

    decision: RetryLater | Restart
    last: Failed


@frozen
class NotModified:
    """The server says that an earlier file is the same still; ``head`` is its head."""

    previous: Previous
    head: Head


@frozen
class Unconfirmed:
    """A 304 is not about the earlier file, which is not asked about any more."""

    why: str


Outcome: TypeAlias = Done | Failed | Full | Again | NotModified | Unconfirmed


class OverBudget(Exception):  # noqa: N818
    """The next bytes would take the group over its download_total."""


class TooLarge(Exception):  # noqa: N818
    """The body is longer than BGFETCH_RECORD_MAXSIZE."""


def outcome_of(decision: Decision, head: Head, body: bytes) -> Outcome:
    if isinstance(decision, Done):
        return decision
    if isinstance(decision, Fail):
        why = f"{decision.why.rstrip('.')}.{_advice(head.status)}"
        return Failed(decision.reason, why, head, body)
    assert isinstance(decision, (RetryLater, Restart))
    bad = not 200 <= head.status < 300
    reason = FailureReason.BAD_STATUS if bad else FailureReason.FETCH_ERROR
    why = f"{decision.why.rstrip('.')}."
    return Again(decision, Failed(reason, why, head, body))


def _advice(status: int) -> str:
    """Return what to do about a status, "" when nothing is known to help."""
    if status in {401, 403, 407}:
        return (
            " It wants credentials, or new ones: set them on the request or by a "
            "downloader middleware, or renew them with bgfetch_refresh_request."
        )
    if status in {404, 410}:
        return (
            " Check the URL; one that has expired can be renewed with the hook "
            "bgfetch_refresh_request."
        )
    if 300 <= status < 400:
        return " It redirects to where Scrapy does not follow: check the URL."
    return ""


def asked_to_wait(
    decision: RetryLater, head: Head | None, *, cap: float
) -> float | None:
    """Return for how many seconds a server asks to wait, by its own clock.

    Never more than ``cap``; None when it does not ask.
    """
    sent = head.get("Date") if head is not None else None
    now = parse_imf_fixdate(sent) or time.time()
    return parse_retry_after(decision.after, now=now, cap=cap)


REFUSALS = (
    OverBudget,
    TooLarge,
    NoRoom,
    IgnoreRequest,
    NotAllowedError,
    UnsupportedEncoding,
    CorruptBody,
    UploadChanged,
    OSError,
)


def refused(error: Exception) -> Failed | Full:
    """Return what became of a record whose attempt raised one of REFUSALS."""
    said = str(error) or type(error).__name__
    if isinstance(error, NoRoom):
        return Full(said, error.need)
    if isinstance(error, OSError):
        return disk_failure(error)
    if isinstance(error, IgnoreRequest):
        said = (
            f"It was not downloaded: {said}. A downloader middleware refused it: see "
            "robots.txt, allowed_domains (the meta key allow_offsite lets a request "
            "through), and the number of redirects."
        )
    return Failed(_REASONS.get(type(error), FailureReason.FETCH_ERROR), said)


_REASONS: Mapping[type[Exception], FailureReason] = {
    OverBudget: FailureReason.DOWNLOAD_TOTAL_EXCEEDED,
    TooLarge: FailureReason.QUOTA_EXCEEDED,
}


def disk_failure(error: OSError) -> Failed | Full:
    """Return what an error of the file system makes of a record."""
    if error.errno == errno.ENOSPC:
        return Full(f"The disk is full ({error.strerror})")
    if error.errno in _TOO_MUCH:  # free bytes would not help
        why = f"The next bytes cannot be written: {_TOO_MUCH[error.errno]}."
        return Failed(FailureReason.QUOTA_EXCEEDED, why, keeps=True)
    return Failed(FailureReason.FETCH_ERROR, f"The file cannot be written: {error}.")


def quota_exceeded(full: Full, room: Room) -> Failed:
    """Return the failure of a record that found no room."""
    why = f"{full.why}: {room}, then fetch it again."
    return Failed(FailureReason.QUOTA_EXCEEDED, why, keeps=True)
