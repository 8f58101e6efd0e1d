"""What to ask for, and what a head promises (42, 215, 218, B11, B12)."""

from __future__ import annotations

import pytest

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.rules.resume import (
    Stored,
    content_encoded,
    identity_length,
    range_fields,
    resumable,
    stored_of,
)

EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
OBSOLETE = "Sunday, 06-Nov-94 08:49:37 GMT"

IDENTITY = {"Accept-Encoding": "identity"}


def head(status: int, *lines: str) -> Head:
    pairs = [line.split(": ", 1) for line in lines]
    return Head("http://example/f", status, tuple((k, v) for k, v in pairs))


def test_what_is_stored_takes_its_validators_from_the_head() -> None:
    answer = head(200, 'etag: "a"', f"last-modified: {MODIFIED}", f"date: {LATER}")
    assert stored_of(10, answer, 30, False) == Stored(
        10, '"a"', MODIFIED, 30, encoded=False, has_head=True, date=LATER
    )


def test_without_a_head_nothing_is_known_of_what_is_stored() -> None:
    assert stored_of(0, None, None, False) == Stored()


@pytest.mark.parametrize(
    ("validators", "if_range"),
    [
        ({"etag": '"a"'}, '"a"'),
        ({"etag": '""'}, '""'),
        ({"etag": '"a"', "last_modified": MODIFIED}, '"a"'),
        ({"last_modified": MODIFIED}, MODIFIED),
        ({"last_modified": MODIFIED, "date": LATER}, MODIFIED),
        ({"etag": 'W/"a"', "last_modified": MODIFIED, "date": LATER}, MODIFIED),
        ({"etag": "a", "last_modified": MODIFIED, "date": LATER}, MODIFIED),
    ],
)
def test_the_rest_is_asked_for_with_a_strong_validator(
    validators: dict[str, str], if_range: str
) -> None:
    stored = Stored(10, **validators)  # type: ignore[arg-type]
    asked = {"Range": "bytes=10-", "If-Range": if_range}
    assert resumable(stored)
    assert range_fields(stored) == IDENTITY | asked  # B11, 218


@pytest.mark.parametrize(
    "stored",
    [
        Stored(),
        Stored(0, etag='"a"'),  # 42
        Stored(10),
        Stored(10, etag='W/"a"'),
        Stored(10, etag="a"),
        Stored(10, etag='"a", "b"'),
        Stored(10, etag='"a b"'),
        Stored(10, etag='w/"a"'),
        Stored(10, etag='"a"', encoded=True),  # B12
        Stored(10, last_modified=MODIFIED, date=MODIFIED),  # RFC 9110 8.8.2.2
        Stored(10, last_modified=MODIFIED, date=EARLIER),
        Stored(10, last_modified=MODIFIED, date="yesterday"),
        Stored(10, last_modified=OBSOLETE),  # a form that may not be sent
        Stored(10, last_modified="yesterday"),
        Stored(10, etag='W/"a"', last_modified=MODIFIED, date=MODIFIED),
    ],
)
def test_without_bytes_or_a_strong_validator_all_is_asked_for(stored: Stored) -> None:
    assert not resumable(stored)
    assert range_fields(stored) == IDENTITY


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), False),
        (("Content-Encoding: identity",), False),
        (("Content-Encoding: Identity",), False),
        (("Content-Encoding: ",), False),
        (("Content-Encoding: gzip",), True),
        (("Content-Encoding: Identity, BR",), True),
        (("Content-Encoding: identity", "Content-Encoding: x"), True),
    ],
)
def test_a_content_coding_is_seen(lines: tuple[str, ...], expected: bool) -> None:
    assert content_encoded(head(200, *lines)) is expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), None),
        (("Content-Length: 30",), 30),
        (("content-length: 0",), 0),
        (("Content-Length: 30", "Content-Length: 30"), 30),
        (("Content-Length: 30, 030",), 30),
        (("Content-Length: 9223372036854775807",), 2**63 - 1),
        (("Content-Length: 9223372036854775808",), None),
        (("Content-Length: " + "9" * 5000,), None),
        (("Content-Length: -1",), None),
        (("Content-Length: +30",), None),
        (("Content-Length: 3e1",), None),
        (("Content-Length: ",), None),
        (("Content-Length: 30, 31",), None),
        (("Content-Length: 30", "Content-Encoding: gzip"), None),
        (("Content-Length: 30", "Content-Encoding: identity"), 30),
        (("Content-Length: 30", "Transfer-Encoding: chunked"), None),
    ],
)
def test_a_length_is_promised_only_by_a_sound_identity_content_length(
    lines: tuple[str, ...], expected: int | None
) -> None:
    assert identity_length(head(200, *lines)) == expected


@pytest.mark.parametrize("status", [204, 205])
def test_an_answer_without_content_promises_0_bytes(status: int) -> None:
    assert identity_length(head(status, "Content-Length: 30")) == 0
