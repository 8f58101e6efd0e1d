"""The Content-Range field (RFC 9110 section 14.4)."""

from __future__ import annotations

import re

from attrs import frozen

LARGEST = 2**63 - 1
"""The largest number of bytes that is believed: what files and SQLite can hold."""

_DIGITS = re.compile(r"[0-9]+")
_BYTES = re.compile(
    r"bytes (?:(?P<first>[0-9]+)-(?P<last>[0-9]+)/(?P<length>[0-9]+|\*)"
    r"|\*/(?P<whole>[0-9]+))",
    re.IGNORECASE,
)


@frozen
class ContentRange:
    """What a Content-Range field says, in bytes.

    ``first`` and ``last`` are positions, both included; both are None in the
    form of an unsatisfied range (``bytes */200``). ``complete_length`` is None
    when the sender does not know it (``bytes 0-99/*``).
    """

    first: int | None
    last: int | None
    complete_length: int | None


def parse_number(text: str) -> int | None:
    """Return the value of ASCII digits, None for anything else or over 2**63-1."""
    if not _DIGITS.fullmatch(text):
        return None
    digits = text.lstrip("0") or "0"
    number = int(digits) if len(digits) <= len(str(LARGEST)) else LARGEST + 1
    return number if number <= LARGEST else None


def parse_content_range(value: str | None) -> ContentRange | None:
    """Return what the combined value of a Content-Range field says.

    None when there is no field, when it breaks the grammar, when its numbers
    contradict each other or are over 2**63-1, and when it was sent more than
    once (B10). The range unit is ``bytes`` in any case.
    """
    match = _BYTES.fullmatch(value or "")
    if match is None:
        return None
    named = {k: v for k, v in match.groupdict().items() if v not in (None, "*")}
    numbers = {name: parse_number(digits) for name, digits in named.items()}
    if None in numbers.values():
        return None
    first, last = numbers.get("first"), numbers.get("last")
    length = numbers.get("whole", numbers.get("length"))
    if first is not None and last is not None:
        end = LARGEST if length is None else length
        if not first <= last < end:
            return None
    return ContentRange(first, last, length)
