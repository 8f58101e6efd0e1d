"""The group's byte budget, ``download_total`` (behaviour 50)."""

from __future__ import annotations

from scrapy_bgfetch.rules.resume import Append, Decision, Replace


def would_exceed(download_total: int, stored: int, more: int) -> bool:
    """Return whether ``more`` bytes on top of ``stored`` break the budget.

    ``stored`` counts all records of the group. Strictly more fails, equality
    passes; a ``download_total`` of 0 is no limit (behaviours 2, 50).
    """
    return download_total > 0 and stored + more > download_total


def announced_excess(
    download_total: int, others: int, decision: Decision
) -> int | None:
    """Return by how many bytes an answer announces to break the budget.

    ``others`` is what the group has stored without this record; ``decision`` is
    what :func:`~scrapy_bgfetch.rules.resume.decide` said to the answer's head: it has
    an identity Content-Length, or what a Content-Range says. None means that nothing is
    announced to break it: not that it will hold, so every write is still checked.
    """
    length = announced_length(decision)
    if length is None or not would_exceed(download_total, others, length):
        return None
    return others + length - download_total


def announced_length(decision: Decision) -> int | None:
    """Return the length that an answer announces for the whole body, if any."""
    if isinstance(decision, Append):
        known = decision.complete_length
        return decision.until if known is None else known
    return decision.length if isinstance(decision, Replace) else None
