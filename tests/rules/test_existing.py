"""The rules of ``if_exists`` and ``skip_if_fresh``."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.existing import (
    IfExists,
    check_if_exists,
    check_skip_if_fresh,
    is_fresh,
)


@pytest.mark.parametrize("word", ["error", "keep", "replace", "append"])
def test_the_four_words_are_known_as_text_and_as_members(word):
    assert check_if_exists(word) == check_if_exists(IfExists(word)) == word


@pytest.mark.parametrize("said", ["KEEP", "kept", b"keep", None, 0, {}, []])
def test_anything_else_is_refused(said):
    with pytest.raises(BadRequestError, match='"error", "keep", "replace", "append"'):
        check_if_exists(said)


def test_a_timedelta_becomes_seconds_and_none_is_none():
    assert check_skip_if_fresh(timedelta(minutes=1.5)) == 90
    assert check_skip_if_fresh(timedelta(0)) == 0
    assert check_skip_if_fresh(None) is None


@pytest.mark.parametrize("said", [60, "60", False, timedelta(seconds=-1)])
def test_what_is_no_timedelta_or_negative_is_refused(said):
    with pytest.raises(BadRequestError, match="skip_if_fresh"):
        check_skip_if_fresh(said)


@pytest.mark.parametrize(
    ("settled_at", "fresh"),
    [
        (None, False),
        (89.9, False),
        (90, False),
        (90.1, True),
        (100, True),
        (101, False),
    ],
)
def test_what_is_younger_than_its_lifetime_is_fresh(settled_at, fresh):
    assert is_fresh(settled_at, now=100, lifetime=10) is fresh
