"""The Content-Range grammar (RFC 9110 section 14.4, B10)."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scrapy_bgfetch.rules.content_range import (
    LARGEST,
    ContentRange,
    parse_content_range,
    parse_number,
)

NUMBERS = st.integers(0, LARGEST)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-99/200", ContentRange(0, 99, 200)),
        ("bytes 100-199/200", ContentRange(100, 199, 200)),
        ("bytes 0-0/1", ContentRange(0, 0, 1)),
        ("bytes 0-99/*", ContentRange(0, 99, None)),
        ("bytes */200", ContentRange(None, None, 200)),
        ("bytes */0", ContentRange(None, None, 0)),
        ("BYTES 0-99/200", ContentRange(0, 99, 200)),
        ("Bytes */200", ContentRange(None, None, 200)),
        ("bytes 007-008/0100", ContentRange(7, 8, 100)),
        (f"bytes 0-{LARGEST - 1}/{LARGEST}", ContentRange(0, LARGEST - 1, LARGEST)),
        (f"bytes 0-{LARGEST - 1}/*", ContentRange(0, LARGEST - 1, None)),
        (f"bytes */{LARGEST}", ContentRange(None, None, LARGEST)),
        ("bytes 0-99/" + "0" * 5000 + "200", ContentRange(0, 99, 200)),
    ],
)
def test_a_well_formed_field_is_read(value: str, expected: ContentRange) -> None:
    assert parse_content_range(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "bytes",
        "bytes ",
        "bytes=0-99/200",  # B10, the specification's own mistake
        "bytes: 0-99/200",
        "bytes  0-99/200",
        "bytes\t0-99/200",
        "bytes 0 -99/200",
        "bytes 0- 99/200",
        "bytes 0-99 /200",
        "bytes 0-99/ 200",
        " bytes 0-99/200",
        "bytes 0-99/200 ",
        "bytes 0-99/200\n",
        "bytes0-99/200",
        "bytes 0-99",
        "bytes 0-/200",
        "bytes -99/200",
        "bytes 0-99/",
        "bytes */*",
        "bytes *",
        "bytes *-99/200",
        "bytes 0-*/200",
        "bytes 99-98/200",
        "bytes 99-98/*",
        "bytes 0-200/200",
        "bytes 0-0/0",
        "bytes -1-99/200",
        "bytes +0-99/200",
        "bytes 0-+99/200",
        "bytes 0-99/-200",
        "bytes */-1",
        "bytes 0x0-0x9/0x20",
        "bytes 0-99/2e2",
        "bytes 0-9_9/200",
        "bytes 0-99/200.0",
        "bytes \u0660-\u0669/\u0661\u0660",
        "bytes 0-9\u00b2/200",
        "items 0-99/200",
        "none 0-99/200",
        "bytes 0-49/200, bytes 0-49/200",
        "bytes 0-49/200, bytes 50-99/200",
        "bytes 0-49,60-99/200",
        f"bytes 0-99/{LARGEST + 1}",
        f"bytes */{LARGEST + 1}",
        f"bytes 0-{LARGEST + 1}/*",
        f"bytes 0-{LARGEST}/*",  # a body of 2**63 bytes
        f"bytes {LARGEST + 1}-{LARGEST + 2}/*",
        "bytes */" + "9" * 5000,
    ],
)
def test_anything_malformed_is_no_content_range(value: str | None) -> None:
    assert parse_content_range(value) is None


@given(NUMBERS, NUMBERS, st.none() | NUMBERS)
def test_numbers_are_accepted_exactly_when_they_agree(
    first: int, last: int, length: int | None
) -> None:
    end = LARGEST if length is None else length
    agree = first <= last < end
    value = f"bytes {first}-{last}/{'*' if length is None else length}"
    expected = ContentRange(first, last, length) if agree else None
    assert parse_content_range(value) == expected


@given(st.text())
def test_no_text_can_make_it_raise(value: str) -> None:
    for text in (value, f"bytes {value}", f"bytes 0-9/{value}", f"bytes */{value}"):
        found = parse_content_range(text)
        assert found is None or isinstance(found, ContentRange)


@given(st.text())
def test_only_ascii_digits_are_a_number(text: str) -> None:
    assume(not (text.isascii() and text.isdigit()))
    assert parse_number(text) is None


@given(st.integers(0, 2**70))
def test_a_number_is_read_up_to_the_largest(number: int) -> None:
    assert parse_number(str(number)) == (number if number < 2**63 else None)
