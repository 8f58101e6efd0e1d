"""Why a background fetch failed: one reason for many records (DESIGN, "The reason")."""

from __future__ import annotations

from scrapy_bgfetch.model import FailureReason, Result


def first_of(
    current: FailureReason, new: FailureReason, *, settled: bool
) -> FailureReason:
    """Return the reason of a registration after one more record or event.

    The first failure wins (B1, 33). ``aborted`` stands for an ``abort()`` that
    returned True: it overrides what was there (33, B8, 203), except
    download-total-exceeded, which has ended the group at once, so that any abort
    after it is its own doing (32, B2). ``settled`` is True from the moment the
    outcome is decided, also while the records of a group that ended early are
    being stopped: from then on nothing changes.
    """
    if settled or new is FailureReason.NONE:
        return current
    if current is FailureReason.DOWNLOAD_TOTAL_EXCEEDED:
        return current
    if current is FailureReason.NONE or new is FailureReason.ABORTED:
        return new
    return current


def result_of(reason: FailureReason) -> Result:
    """Return the result of a registration that settles for this reason (34)."""
    return Result.SUCCESS if reason is FailureReason.NONE else Result.FAILURE


def why_aborted(reason: FailureReason) -> str:
    """Return why a record was aborted whose background fetch ended for a reason."""
    if reason is FailureReason.ABORTED:
        return "The background fetch was aborted."
    return f"The background fetch ended with {reason}."
