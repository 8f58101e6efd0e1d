"""What to ask for, and what a head promises (42, 215, 218, B11, B12)."""

from __future__ import annotations

import pytest

from scrapy_bgfetch.model import Head, WithoutValidator
from scrapy_bgfetch.rules.asking import (
    TAIL,
    Ask,
    Stored,
    ask,
    lacks_nothing,
    resumable,
    stored_of,
)
from scrapy_bgfetch.rules.resume import content_encoded, identity_length

EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
MODIFIED = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
OBSOLETE = "Sunday, 06-Nov-94 08:49:37 GMT"

IDENTITY = {"Accept-Encoding": "identity"}

VERIFY_TAIL = WithoutValidator.VERIFY_TAIL
RESTART = WithoutValidator.RESTART
TRUST = WithoutValidator.TRUST
POLICIES = list(WithoutValidator)


def head(status: int, *lines: str) -> Head:
    pairs = [line.split(": ", 1) for line in lines]
    return Head("http://example/f", status, tuple((k, v) for k, v in pairs))


def test_what_is_stored_takes_its_validators_from_the_head() -> None:
    answer = head(200, 'etag: "a"', f"last-modified: {MODIFIED}", f"date: {LATER}")
    assert stored_of(10, answer, 30, False) == Stored(
        10, '"a"', MODIFIED, 30, encoded=False, date=LATER
    )


def test_without_a_head_nothing_is_known_of_what_is_stored() -> None:
    assert stored_of(0, None, None, False) == Stored()


@pytest.mark.parametrize("without", POLICIES)
@pytest.mark.parametrize(
    ("validators", "if_range"),
    [
        ({"etag": '"a"'}, '"a"'),
        ({"etag": '""'}, '""'),
        ({"etag": '"a"', "last_modified": MODIFIED}, '"a"'),
        ({"last_modified": MODIFIED, "date": LATER}, MODIFIED),
        ({"etag": 'W/"a"', "last_modified": MODIFIED, "date": LATER}, MODIFIED),
        ({"etag": "a", "last_modified": MODIFIED, "date": LATER}, MODIFIED),
    ],
)
def test_the_rest_is_asked_for_with_a_strong_validator(
    validators: dict[str, str], if_range: str, without: WithoutValidator
) -> None:
    """Behaviours 42, 66, B11."""
    stored = Stored(TAIL + 10, **validators)  # type: ignore[arg-type]
    fields = {"Range": f"bytes={TAIL + 10}-", "If-Range": if_range}
    assert resumable(stored)
    assert ask(stored, without) == Ask(IDENTITY | fields, TAIL + 10)  # B11, 218


@pytest.mark.parametrize("without", POLICIES)
@pytest.mark.parametrize(
    "stored",
    [
        Stored(),
        Stored(0, etag='"a"'),  # 42
        Stored(10, encoded=True),  # B12
        Stored(10, etag='"a"', encoded=True),
        Stored(TAIL + 1, encoded=True),
        Stored(TAIL + 1, 'W/"a"', encoded=True),
    ],
)
def test_without_bytes_of_the_body_itself_all_is_asked_for(
    stored: Stored, without: WithoutValidator
) -> None:
    assert not resumable(stored)
    assert ask(stored, without) == Ask(IDENTITY, None)


@pytest.mark.parametrize(
    "validators",
    [
        {},
        {"etag": 'W/"a"'},
        {"etag": "a"},
        {"etag": '"a", "b"'},
        {"etag": '"a b"'},
        {"etag": 'w/"a"'},
        {"last_modified": MODIFIED},  # RFC 9110 8.8.2.2
        {"last_modified": MODIFIED, "date": MODIFIED},
        {"last_modified": MODIFIED, "date": EARLIER},
        {"last_modified": MODIFIED, "date": "yesterday"},
        {"last_modified": OBSOLETE},  # a form that may not be sent
        {"last_modified": "yesterday"},
        {"etag": 'W/"a"', "last_modified": MODIFIED, "date": MODIFIED},
    ],
)
@pytest.mark.parametrize(
    ("length", "without", "first"),
    [
        (1, VERIFY_TAIL, 0),
        (TAIL, VERIFY_TAIL, 0),
        (TAIL + 1, VERIFY_TAIL, 1),
        (10 * TAIL, VERIFY_TAIL, 9 * TAIL),
        (1, RESTART, None),
        (10 * TAIL, RESTART, None),
        (1, TRUST, 1),
        (10 * TAIL, TRUST, 10 * TAIL),
    ],
)
@pytest.mark.parametrize("complete", [None, 10 * TAIL])
def test_without_a_strong_validator_the_policy_says_what_is_asked_for(
    validators: dict[str, str],
    length: int,
    without: WithoutValidator,
    first: int | None,
    complete: int | None,
) -> None:
    stored = Stored(length, complete_length=complete, **validators)  # type: ignore[arg-type]
    fields = {} if first is None else {"Range": f"bytes={first}-"}
    assert not resumable(stored)
    assert ask(stored, without) == Ask(IDENTITY | fields, first)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (Stored(10, complete_length=10), True),
        (Stored(10, '"a"', complete_length=10), True),
        (Stored(10, complete_length=11), False),
        (Stored(10), False),
        (Stored(0, complete_length=0), False),
        (Stored(10, complete_length=10, encoded=True), False),
        (Stored(4, complete_length=10, until=10), False),
    ],
)
def test_a_complete_body_lacks_nothing(stored: Stored, expected: bool) -> None:
    assert lacks_nothing(stored) is expected


def test_a_tail_of_another_length_can_be_asked_for() -> None:
    asked = ask(Stored(10), VERIFY_TAIL, tail=4)
    assert asked == Ask(IDENTITY | {"Range": "bytes=6-"}, 6)


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
