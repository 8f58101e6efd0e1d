"""The group's byte budget, ``download_total`` (behaviour 50)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.rules.resume import Append, Decision, Replace, identity_length

if TYPE_CHECKING:
    from scrapy_bgfetch.model import Head


def would_exceed(download_total: int, stored: int, more: int) -> bool:
    """Return whether ``more`` bytes on top of ``stored`` break the budget.

    ``stored`` counts all records of the group. Strictly more fails, equality
    passes; a ``download_total`` of 0 is no limit (behaviours 2, 50).
    """
    return download_total > 0 and stored + more > download_total


def announced_excess(
    download_total: int, others: int, head: Head, decision: Decision
) -> int | None:
    """Return by how many bytes an answer announces to break the budget.

    ``others`` is what the group has stored without this record; ``decision`` is
    what :func:`~scrapy_bgfetch.rules.resume.decide` said to ``head``. Looks at an
    identity Content-Length and at Content-Range. None means that nothing is
    announced to break it: not that it will hold, so every write is still checked.
    """
    length = announced_length(head, decision)
    if length is None or not would_exceed(download_total, others, length):
        return None
    return others + length - download_total


def announced_length(head: Head, decision: Decision) -> int | None:
    """Return the length that an answer announces for the whole body, if any."""
    if isinstance(decision, Append):
        known = decision.complete_length
        return decision.until if known is None else known
    return identity_length(head) if isinstance(decision, Replace) else None
