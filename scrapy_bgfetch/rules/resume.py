"""What to ask for, and what to do with the answer: resume, replace, restart or end.

All offsets and lengths are in bytes of the stored body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from scrapy_bgfetch.model import FailureReason, Head
from scrapy_bgfetch.rules.backoff import parse_imf_fixdate
from scrapy_bgfetch.rules.content_range import (
    ContentRange,
    parse_content_range,
    parse_number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_ASK_AGAIN = frozenset({408, 425, 429})
_NO_CONTENT = frozenset({204, 205})


@frozen
class Stored:
    """What is stored of a record, and what its head said about it.

    ``complete_length`` is that of the whole body, once known. ``encoded`` says that
    the bytes were decoded from a content coding, so their number is no offset on
    the server (B12). ``date`` tells whether ``last_modified`` is a strong validator.
    """

    length: int = 0
    etag: str | None = None
    last_modified: str | None = None
    complete_length: int | None = None
    encoded: bool = False
    has_head: bool = False
    date: str | None = None


@frozen
class Append:
    """Write the body from offset ``at``, cutting what is stored to ``at`` first.

    ``until`` is the offset after the part's last byte: nothing may be written from
    there on. ``complete_length`` is None while it is not known.
    """

    at: int
    until: int
    complete_length: int | None


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


def stored_of(
    length: int, head: Head | None, complete_length: int | None, encoded: bool
) -> Stored:
    """Return what is stored: ``length`` bytes of the body that ``head`` announced."""
    if head is None:
        return Stored(length, complete_length=complete_length, encoded=encoded)
    return Stored(
        length,
        etag=head.get("ETag"),
        last_modified=head.get("Last-Modified"),
        complete_length=complete_length,
        encoded=encoded,
        has_head=True,
        date=head.get("Date"),
    )


def resumable(stored: Stored) -> bool:
    """Return whether a range request for the rest of the body is safe.

    It is when there are bytes, not decoded from a content coding (B12), with a
    strong validator (215, 218). All others are asked for again from zero.
    """
    validator = _strong_validator(stored)
    return stored.length > 0 and not stored.encoded and validator is not None


def range_fields(stored: Stored) -> dict[str, str]:
    """Return the request fields for the next attempt.

    Always asks for identity (42, B12). With Range goes If-Range, so that a body
    that has changed is sent whole (B11, RFC 9110 section 13.1.5). If-Range has a
    strong ETag, else a strong Last-Modified, also beside a weak ETag: the RFC would
    rather have no resume there, but a date that is strong makes it safe.
    """
    fields = {"Accept-Encoding": "identity"}
    validator = _strong_validator(stored)
    if validator is not None and resumable(stored):
        fields["Range"] = f"bytes={stored.length}-"
        fields["If-Range"] = validator
    return fields


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


def decide(stored: Stored, head: Head, *, ranged: bool) -> Decision:
    """Return what to do with an answer, given its head.

    ``ranged`` says that the request had the Range of :func:`range_fields`. Only a
    2xx may touch stored bytes (B7). A 206 is checked (61-65, RFC 9110 section
    15.3.7); what does not fit what is stored restarts, or fails as fetch-error
    when nothing is stored (B11). A 416 that confirms the stored length is success
    (B6). 408, 425, 429 and 5xx are tried again, every other status fails.
    """
    if 200 <= head.status < 300:
        if len(_content_lengths(head)) > 1:
            return Fail(FailureReason.FETCH_ERROR, "contradictory Content-Length")
        if head.status == 206:
            return _part(stored, head, ranged=ranged)
        return Replace(identity_length(head))
    if head.status == 416 and ranged and stored.length:
        return _unsatisfied(stored, head)
    if head.status in _ASK_AGAIN or 500 <= head.status < 600:
        return RetryLater(f"answered {head.status}", head.get("Retry-After"))
    kept = f", {stored.length} stored bytes are still good" if stored.length else ""
    return Fail(FailureReason.BAD_STATUS, f"answered {head.status}{kept}")


def after_body(
    stored_length: int, decision: Append | Replace, *, received: int, clean: bool
) -> Decision:
    """Return what to do when a body has ended, well or not.

    ``stored_length`` is what is stored now, ``received`` how much of it this body
    brought; ``clean`` says that the transport saw a complete message. Returns:

    - Done when the promised or the complete length is reached, or when no length
      was promised and the end was clean (53, 54);
    - RetryLater when bytes are missing; a part without a single byte too, so that
      the budget of resumptions bounds those (B5);
    - RetryLater also when a part came whole but the complete length is unknown:
      the next range request is answered by 416 with that length, or by more (B4);
    - Restart when a part was longer than its Content-Range, and Fail when another
      body was longer than its Content-Length.
    """
    if isinstance(decision, Replace):
        return _after_whole(stored_length, decision.length, clean=clean)
    if stored_length > decision.until:
        return Restart(f"the part went on after byte {decision.until - 1}")
    if stored_length == decision.complete_length:
        return Done(stored_length)
    if received == 0:
        return RetryLater("the part brought no byte")
    if stored_length < decision.until:
        missing = decision.until - stored_length
        return RetryLater(f"the part ended {missing} bytes early")
    return RetryLater("the part is complete, the body not known to be")


def discards(stored: Stored, decision: Decision) -> bool:
    """Return whether a decision throws stored bytes away: it costs a restart."""
    if isinstance(decision, Append):
        return decision.at < stored.length
    return stored.length > 0 and isinstance(decision, Replace | Restart)


def _strong_validator(stored: Stored) -> str | None:
    if _is_strong(stored.etag):
        return stored.etag
    modified = parse_imf_fixdate(stored.last_modified)
    if modified is None or stored.date is None:
        return None if modified is None else stored.last_modified
    sent = parse_imf_fixdate(stored.date)
    old_enough = sent is not None and modified + 1 <= sent  # RFC 9110 8.8.2.2
    return stored.last_modified if old_enough else None


def _is_strong(etag: str | None) -> bool:
    return etag is not None and _STRONG_ETAG.fullmatch(etag) is not None


def _content_lengths(head: Head) -> set[int | None]:
    """Return the different Content-Lengths, with None for what is no length."""
    value = head.get("Content-Length")
    if value is None or head.get("Transfer-Encoding") is not None:
        return set()
    return {parse_number(item.strip(" \t")) for item in value.split(",")}


def _part(stored: Stored, head: Head, *, ranged: bool) -> Decision:
    part = parse_content_range(head.get("Content-Range"))
    if part is None or part.first is None or part.last is None:
        return _refuse(stored, "206 without a usable Content-Range")
    before = stored if ranged else Stored()
    at, until, total = part.first, part.last + 1, part.complete_length
    why = _misfit(before, at, until, head) or _changed(before, until, total, head)
    if why:
        return _refuse(stored, why)
    return Append(at, until, before.complete_length if total is None else total)


def _refuse(stored: Stored, why: str) -> Decision:
    return Restart(why) if stored.length else Fail(FailureReason.FETCH_ERROR, why)


def _misfit(before: Stored, at: int, until: int, head: Head) -> str:
    """Return why a part cannot be appended to any body of that length, or ""."""
    kind = (head.get("Content-Type") or "").lower()
    promised = identity_length(head)
    return _first(
        (
            (kind.startswith("multipart/byteranges"), "206 in several parts"),
            (content_encoded(head), "206 with a content coding"),
            (at != before.length, f"206 from byte {at} instead of {before.length}"),
            (
                promised not in (None, until - at),
                f"206 of {until - at} bytes with Content-Length {promised}",
            ),
        )
    )


def _changed(before: Stored, until: int, total: int | None, head: Head) -> str:
    """Return what shows that a part is of another body (63, 64), or "".

    A complete length of ``*`` contradicts nothing. Last-Modified may be missing
    beside the same strong ETag: after If-Range senders should leave it out
    (RFC 9110 section 15.3.7).
    """
    known = before.complete_length
    etag, modified = head.get("ETag"), head.get("Last-Modified")
    vouched = _is_strong(before.etag)
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
        )
    )


def _unsatisfied(stored: Stored, head: Head) -> Decision:
    field, known = head.get("Content-Range"), stored.complete_length
    unconfirmed = parse_content_range(field) != ContentRange(None, None, stored.length)
    changed = _differs(stored.etag, head.get("ETag"), may_miss=True) or _differs(
        stored.last_modified, head.get("Last-Modified"), may_miss=True
    )
    if changed or unconfirmed or known not in (None, stored.length):
        return Restart(f"416 ({field}) with {stored.length} bytes stored")
    return Done(stored.length)


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
