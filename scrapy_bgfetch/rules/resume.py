"""What to do with an answer: append, replace, restart, try again or end.

All offsets and lengths are in bytes of the stored body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from scrapy_bgfetch.model import FailureReason, Head
from scrapy_bgfetch.rules.asking import Stored, is_strong
from scrapy_bgfetch.rules.content_range import (
    ContentRange,
    parse_content_range,
    parse_number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy_bgfetch.rules.asking import Ask

_ASK_AGAIN = frozenset({408, 425, 429})
_NO_CONTENT = frozenset({204, 205})


@frozen
class Append:
    """Write the body from offset ``at``, cutting what is stored to ``at`` first.

    The body's first ``verify`` bytes repeat the last ``verify`` stored bytes: they
    are compared, not written; see :func:`tail_differs`. ``until`` is the offset
    after the part's last byte: nothing may be written from there on. With
    ``verify`` it may lie before ``at``: the part then ends within those bytes.
    ``complete_length`` is None while it is not known.
    """

    at: int
    until: int
    complete_length: int | None
    verify: int = 0


@frozen
class Replace:
    """Drop what is stored and write the body from offset 0.

    ``length`` is the promised length; None when none was promised, or when it is
    that of an encoded body.
    """

    length: int | None


@frozen
class Done:
    """The stored bytes are the complete body, ``length`` of them."""

    length: int


@frozen
class RetryLater:
    """Keep what is stored and ask again after a while.

    ``after`` is the Retry-After field as it came.
    """

    why: str
    after: str | None = None


@frozen
class Restart:
    """Drop what is stored and ask again, from zero."""

    why: str


@frozen
class Fail:
    """The record has failed. What to do with stored bytes is the caller's choice."""

    reason: FailureReason
    why: str


Decision: TypeAlias = Append | Replace | Done | RetryLater | Restart | Fail


def content_encoded(head: Head) -> bool:
    """Return whether the body has a content coding other than identity."""
    codings = (head.get("Content-Encoding") or "").lower().split(",")
    return any(coding.strip(" \t") not in ("", "identity") for coding in codings)


def identity_length(head: Head) -> int | None:
    """Return the length promised for a body that has no content coding.

    0 for 204 and 205. None without Content-Length, beside Transfer-Encoding, and
    for values that are no length or contradict each other (RFC 9112 section 6.3).
    """
    if head.status in _NO_CONTENT:
        return 0
    lengths = _content_lengths(head)
    if len(lengths) != 1 or content_encoded(head):
        return None
    return next(iter(lengths))


def decide(stored: Stored, head: Head, ask: Ask) -> Decision:
    """Return what to do with an answer, given its head.

    ``ask`` is what :func:`~scrapy_bgfetch.rules.asking.ask` said to ``stored``. Only
    a 2xx may touch stored bytes (B7). A 206 is checked (61-65, RFC 9110 section
    15.3.7); what does not fit what is stored restarts, or fails as fetch-error
    when nothing is stored (B11). A 416 is success when it confirms the stored
    length (B6), but not when stored bytes were asked for: those it denies. 408,
    425, 429 and 5xx are tried again, every other status fails.
    """
    if 200 <= head.status < 300:
        if len(_content_lengths(head)) > 1:
            return Fail(FailureReason.FETCH_ERROR, "contradictory Content-Length")
        if head.status == 206:
            return _part(stored, head, ask)
        return Replace(identity_length(head))
    if head.status == 416 and ask.first is not None:
        return _unsatisfied(stored, head, ask.first)
    if head.status in _ASK_AGAIN or 500 <= head.status < 600:
        return RetryLater(f"answered {head.status}", head.get("Retry-After"))
    return Fail(FailureReason.BAD_STATUS, f"answered {head.status}")


def after_body(
    stored_length: int,
    decision: Append | Replace,
    *,
    received: int,
    clean: bool,
    compared: int = 0,
) -> Decision:
    """Return what to do when a body has ended, well or not.

    ``stored_length`` is what is stored now, ``received`` how much of it this body
    brought; ``clean`` says that the transport saw a complete message. ``compared``
    counts the bytes that were the same of those to ``verify``; it need not be
    given when new bytes followed them. Returns:

    - Done when the promised or the complete length is reached, or when no length
      was promised and the end was clean (53, 54);
    - Done too when the complete length is unknown, and a part that was compared
      ends, cleanly, where the stored bytes end (B4);
    - RetryLater when bytes are missing; a part without a new byte too, so that
      the budget of resumptions bounds those (B5), and one that ended before all
      bytes to ``verify`` were compared;
    - RetryLater also when a part came whole but the complete length is unknown:
      the next range request is answered by 416 with that length, or by more (B4);
    - Restart when a part was longer than its Content-Range, and Fail when another
      body was longer than its Content-Length.
    """
    if isinstance(decision, Replace):
        return _after_whole(stored_length, decision.length, clean=clean)
    if received:
        return _after_new_bytes(stored_length, decision)
    if compared < decision.verify:
        missing = decision.verify - compared
        return RetryLater(f"{missing} of {decision.verify} bytes were not compared")
    end = decision.complete_length
    if end is None and clean:
        end = decision.until
    if stored_length == end:
        return Done(stored_length)
    return RetryLater("the part brought no new byte")


def tail_differs(decision: Append) -> Restart:
    """Return what to do when the bytes to ``verify`` are not the stored ones."""
    return Restart(
        f"the body has changed: the last {decision.verify} stored bytes were compared "
        "with what the server has there now, and differ"
    )


def discards(stored: Stored, decision: Decision) -> bool:
    """Return whether a decision throws stored bytes away: it costs a restart."""
    if isinstance(decision, Append):
        return decision.at < stored.length
    return not stored.empty and isinstance(decision, Replace | Restart)


def _content_lengths(head: Head) -> set[int | None]:
    """Return the different Content-Lengths, with None for what is no length."""
    value = head.get("Content-Length")
    if value is None or head.get("Transfer-Encoding") is not None:
        return set()
    return {parse_number(item.strip(" \t")) for item in value.split(",")}


def _part(stored: Stored, head: Head, ask: Ask) -> Decision:
    part = parse_content_range(head.get("Content-Range"))
    if part is None or part.first is None or part.last is None:
        return _refuse(stored, "206 without a usable Content-Range")
    before, first = (Stored(), 0) if ask.first is None else (stored, ask.first)
    until, total = part.last + 1, part.complete_length
    why = _misfit(first, part.first, until, head) or _changed(
        before, until, total, head
    )
    if why:
        return _refuse(stored, why)
    known = before.complete_length if total is None else total
    return Append(before.length, until, known, verify=before.length - first)


def _refuse(stored: Stored, why: str) -> Decision:
    return Fail(FailureReason.FETCH_ERROR, why) if stored.empty else Restart(why)


def _misfit(asked: int, first: int, until: int, head: Head) -> str:
    """Return why a part is not what was asked for, from byte ``asked`` on, or ""."""
    kind = (head.get("Content-Type") or "").lower()
    promised = identity_length(head)
    return _first(
        (
            (kind.startswith("multipart/byteranges"), "206 in several parts"),
            (content_encoded(head), "206 with a content coding"),
            (first != asked, f"206 from byte {first} instead of {asked}"),
            (
                promised not in (None, until - first),
                f"206 of {until - first} bytes with Content-Length {promised}",
            ),
        )
    )


def _changed(before: Stored, until: int, total: int | None, head: Head) -> str:
    """Return what shows that a part is of another body (63, 64), or "".

    A complete length of ``*`` contradicts nothing. Last-Modified may be missing
    beside the same strong ETag: after If-Range senders should leave it out. A
    missing weak validator shows a change: without If-Range a 206 must have all
    that a 200 would have (RFC 9110 section 15.3.7).
    """
    known = before.complete_length
    etag, modified = head.get("ETag"), head.get("Last-Modified")
    vouched = is_strong(before.etag)
    return _first(
        (
            (_differs(before.etag, etag), "the ETag has changed"),
            (
                _differs(before.last_modified, modified, may_miss=vouched),
                "the Last-Modified has changed",
            ),
            (
                known is not None and total not in (None, known),
                f"the complete length was {known} and is {total}",
            ),
            (
                known is not None and until > known,
                f"206 goes past the complete length {known}",
            ),
            (
                total is not None and total < before.length,
                f"the complete length is {total}, with {before.length} bytes stored",
            ),
        )
    )


def _unsatisfied(stored: Stored, head: Head, asked: int) -> Decision:
    field, known = head.get("Content-Range"), stored.complete_length
    unconfirmed = parse_content_range(field) != ContentRange(None, None, stored.length)
    changed = _differs(stored.etag, head.get("ETag"), may_miss=True) or _differs(
        stored.last_modified, head.get("Last-Modified"), may_miss=True
    )
    denied = asked < stored.length
    if denied or changed or unconfirmed or known not in (None, stored.length):
        return Restart(f"416 ({field}) with {stored.length} bytes stored")
    return Done(stored.length)


def _after_new_bytes(stored_length: int, decision: Append) -> Decision:
    if stored_length > decision.until:
        return Restart(f"the part went on after byte {decision.until - 1}")
    if stored_length == decision.complete_length:
        return Done(stored_length)
    if stored_length < decision.until:
        missing = decision.until - stored_length
        return RetryLater(f"the part ended {missing} bytes early")
    return RetryLater("the part is complete, the body not known to be")


def _after_whole(stored_length: int, promised: int | None, *, clean: bool) -> Decision:
    if (promised is None and clean) or stored_length == promised:
        return Done(stored_length)
    if promised is None:
        return RetryLater("the body ended early")
    if stored_length < promised:
        return RetryLater(f"the body ended {promised - stored_length} bytes early")
    excess = stored_length - promised
    why = f"the body went on for {excess} bytes after its Content-Length"
    return Fail(FailureReason.FETCH_ERROR, why)


def _differs(before: str | None, now: str | None, *, may_miss: bool = False) -> bool:
    if before is None or (now is None and may_miss):
        return False
    return before != now


def _first(faults: Iterable[tuple[bool, str]]) -> str:
    return next((why for holds, why in faults if holds), "")
