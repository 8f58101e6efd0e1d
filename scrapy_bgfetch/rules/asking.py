"""What to ask for, given what is stored.

All offsets and lengths are in bytes of the stored body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from scrapy_bgfetch.model import WithoutValidator
from scrapy_bgfetch.rules.backoff import parse_imf_fixdate

if TYPE_CHECKING:
    from scrapy_bgfetch.model import Head

TAIL = 64 * 1024
"""How many stored bytes ``verify-tail`` asks for again, to compare them."""

_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


@frozen
class Stored:
    """What is stored of a record, and what its head said about it.

    ``complete_length`` is that of the whole body, once known. ``encoded`` says that
    the bytes were decoded from a content coding, so their number is no offset on
    the server (B12). ``date`` tells whether ``last_modified`` is a strong validator.
    ``until`` is the offset before which the bytes end that are wanted next, as what
    follows is stored or asked for elsewhere; None when all of the rest is wanted.
    """

    length: int = 0
    etag: str | None = None
    last_modified: str | None = None
    complete_length: int | None = None
    encoded: bool = False
    date: str | None = None
    until: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is stored, before ``length`` or elsewhere."""
        return self.length == 0 and self.until is None


@frozen
class Ask:
    """The request fields of the next attempt.

    ``first`` is the first byte that their Range asks for, None without Range.
    """

    fields: dict[str, str]
    first: int | None = None


def stored_of(
    length: int,
    head: Head | None,
    complete_length: int | None,
    encoded: bool,
    until: int | None = None,
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
        date=head.get("Date"),
        until=until,
    )


def resumable(stored: Stored) -> bool:
    """Return whether the server itself can tell that the body is still the same.

    It can when there are bytes, not decoded from a content coding (B12), with a
    strong validator (215, 218).
    """
    validator = _strong_validator(stored)
    return not (stored.empty or stored.encoded) and validator is not None


def lacks_nothing(stored: Stored) -> bool:
    """Return whether the complete body is stored: there is nothing to ask for."""
    complete = stored.length == stored.complete_length
    return complete and not (stored.empty or stored.encoded)


def ask(stored: Stored, without: WithoutValidator, *, tail: int = TAIL) -> Ask:
    """Return what the next attempt asks for.

    Always asks for identity (42, B12). A resumable body is asked for from where it
    ends, and with Range goes If-Range, so that a body that has changed is sent whole
    (B11, RFC 9110 section 13.1.5). If-Range has a strong ETag, else a strong
    Last-Modified, also beside a weak ETag: the RFC would rather have no resume
    there, but a date that is strong makes it safe.

    Stored bytes without a strong validator follow ``without``: ``verify-tail`` asks
    from ``tail`` bytes before their end, or from the first where there are no more
    than those: comparing them costs no restart; ``trust`` asks from their end;
    ``restart`` for the whole. Decoded bytes always are asked for again from zero.
    """
    fields = {"Accept-Encoding": "identity"}
    resumes = resumable(stored)
    first = stored.length if resumes else _unvouched(stored, without, tail)
    if first is None:
        return Ask(fields)
    last = "" if stored.until is None else stored.until - 1
    fields["Range"] = f"bytes={first}-{last}"
    validator = _strong_validator(stored)
    if validator is not None:
        fields["If-Range"] = validator
    return Ask(fields, first)


def is_strong(etag: str | None) -> bool:
    """Return whether this is one strong entity tag (RFC 9110 section 8.8.3)."""
    return etag is not None and _STRONG_ETAG.fullmatch(etag) is not None


def _unvouched(stored: Stored, without: WithoutValidator, tail: int) -> int | None:
    """Return the first byte to ask for when no strong validator guards the rest."""
    if stored.length == 0 or stored.encoded:
        return None
    if without is WithoutValidator.TRUST:
        return stored.length
    if without is WithoutValidator.VERIFY_TAIL:
        return max(stored.length - tail, 0)
    return None


def _strong_validator(stored: Stored) -> str | None:
    if is_strong(stored.etag):
        return stored.etag
    modified, sent = map(parse_imf_fixdate, (stored.last_modified, stored.date))
    if modified is None or sent is None or sent < modified + 1:  # RFC 9110 8.8.2.2
        return None
    return stored.last_modified
