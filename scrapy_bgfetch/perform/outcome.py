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
        why = f"{decision.why}.{_advice(head.status)}"
        return Failed(decision.reason, why, head, body)
    assert isinstance(decision, (RetryLater, Restart))
    bad = not 200 <= head.status < 300
    reason = FailureReason.BAD_STATUS if bad else FailureReason.FETCH_ERROR
    return Again(decision, Failed(reason, f"{decision.why}.", head, body))


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
        said = (
            f"It was not downloaded: {said}. A downloader middleware refused it: see "
            "robots.txt, allowed_domains (the meta key allow_offsite lets a request "
            "through), and the number of redirects."
        )
    return Failed(FailureReason.FETCH_ERROR, said)


def disk_failure(error: OSError) -> Failed:
    """Return what an error of the file system makes of a record."""
    if error.errno in _FULL:
        why = f"The disk is full ({error.strerror}): free some space and start again."
        return Failed(FailureReason.QUOTA_EXCEEDED, why)
    return Failed(FailureReason.FETCH_ERROR, f"The file cannot be written: {error}.")
