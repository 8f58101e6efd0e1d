"""What an attempt can come to."""

from __future__ import annotations

import errno
from typing import TypeAlias

from attrs import frozen
from scrapy.exceptions import IgnoreRequest

from scrapy_bgfetch.bodies.decoding import CorruptBody, UnsupportedEncoding
from scrapy_bgfetch.exceptions import NotAllowedError
from scrapy_bgfetch.model import FailureReason, Head
from scrapy_bgfetch.rules.resume import Decision, Done, Fail, Restart, RetryLater

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@frozen
class Failed:
    """The record has failed: why, and with which answer."""

    reason: FailureReason
    why: str
    head: Head | None = None
    body: bytes = b""


@frozen
class Again:
    """The record should be tried again; ``last`` is what it is when it may not."""

    decision: RetryLater | Restart
    last: Failed


Outcome: TypeAlias = Done | Failed | Again


class OverBudget(Exception):  # noqa: N818
    """The next bytes would take the group over its download_total."""


def outcome_of(decision: Decision, head: Head, body: bytes) -> Outcome:
    if isinstance(decision, Done):
        return decision
    if isinstance(decision, Fail):
        return Failed(decision.reason, decision.why, head, body)
    assert isinstance(decision, (RetryLater, Restart))
    bad = not 200 <= head.status < 300
    reason = FailureReason.BAD_STATUS if bad else FailureReason.FETCH_ERROR
    return Again(decision, Failed(reason, decision.why, head, body))


REFUSALS = (
    OverBudget,
    IgnoreRequest,
    NotAllowedError,
    UnsupportedEncoding,
    CorruptBody,
    OSError,
)


def refused(error: Exception) -> Failed:
    """Return what the record has failed with, for good."""
    said = str(error) or type(error).__name__
    if isinstance(error, OverBudget):
        return Failed(FailureReason.DOWNLOAD_TOTAL_EXCEEDED, said)
    if isinstance(error, OSError):
        return disk_failure(error)
    if isinstance(error, IgnoreRequest):
        said = f"It was not downloaded: {said}."
    return Failed(FailureReason.FETCH_ERROR, said)


def disk_failure(error: OSError) -> Failed:
    """Return what an error of the file system makes of a record."""
    if error.errno in _FULL:
        why = f"The disk is full ({error.strerror}): free some space and start again."
        return Failed(FailureReason.QUOTA_EXCEEDED, why)
    return Failed(FailureReason.FETCH_ERROR, f"The file cannot be written: {error}.")
