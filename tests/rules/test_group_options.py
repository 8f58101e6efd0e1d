from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.group_options import (
    GroupOptions,
    merge,
    parse_group_options,
)

ICON = {"src": "/ep-5-icon.png", "sizes": "300x300"}
FULL = GroupOptions("ep-5", 2, 1024, "Episode 5", (ICON,), 4096)


def test_a_string_is_an_id() -> None:
    assert parse_group_options("ep-5") == GroupOptions("ep-5")


def test_every_option_is_read() -> None:
    value = {
        "id": "ep-5",
        "requests": 2,
        "download_total": 1024,
        "title": "Episode 5",
        "icons": [ICON],
        "rate_limit": 4096,
    }
    assert parse_group_options(value) == FULL


def test_what_went_through_json_means_the_same() -> None:
    value = {"id": "ep-5", "icons": [{"src": "a", "sizes": ("1x1", "2x2")}]}
    again = json.loads(json.dumps(value))
    assert parse_group_options(again) == parse_group_options(value)


def test_none_is_nothing_said() -> None:
    value = {"id": "a", "requests": None, "title": None, "icons": None}
    assert parse_group_options(value) == GroupOptions("a")


def test_falsy_values_are_something_said() -> None:
    value = {"id": "a", "download_total": 0, "title": "", "icons": []}
    assert parse_group_options(value) == GroupOptions("a", None, 0, "", ())


@pytest.mark.parametrize("value", [None, True, 5, b"a", ["a"], {"a"}, object()])
def test_another_shape_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(BadRequestError, match=r"must be an id or a dict.*For example"):
        parse_group_options(value)


@pytest.mark.parametrize("value", [{}, {"title": "a"}, {"id": None}])
def test_a_missing_id_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(BadRequestError, match=r'must say the "id".*For example'):
        parse_group_options(value)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("download_totl", "download_total"),
        ("downloadTotal", "download_total"),
        ("request", "requests"),
        ("icon", "icons"),
        ("rateLimit", "rate_limit"),
        ("Title", "title"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    key: str, meant: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_group_options({"id": "a", key: 1})
    message = str(caught.value)
    assert f"unknown key '{key}'" in message
    assert f'Did you mean "{meant}"?' in message
    assert "id, requests, download_total, title, icons, rate_limit" in message
    assert "For example" in message


@pytest.mark.parametrize("key", ["zzz", 5, None, ("a",)])
def test_a_key_like_no_other_is_refused_without_a_guess(key: object) -> None:
    with pytest.raises(BadRequestError, match=r"unknown key") as caught:
        parse_group_options({"id": "a", key: 1})
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", ""),
        ("id", 5),
        ("requests", 0),
        ("requests", "2"),
        ("requests", True),
        ("download_total", -1),
        ("download_total", 1.5),
        ("title", 5),
        ("icons", "a.png"),
        ("icons", [{"src": "a", "x": object()}]),
        ("rate_limit", -1),
        ("rate_limit", 1.5),
    ],
)
def test_a_bad_value_is_refused_under_its_key(key: str, value: object) -> None:
    with pytest.raises(BadRequestError, match=rf'^meta\["bgfetch"\]\["{key}"\]'):
        parse_group_options({"id": "a", key: value})


def test_an_empty_string_is_no_id() -> None:
    with pytest.raises(BadRequestError, match=r"is empty"):
        parse_group_options("")


def test_a_later_request_may_only_name_the_group() -> None:
    assert merge(FULL, GroupOptions("ep-5")) == FULL


def test_a_later_request_may_repeat_everything() -> None:
    assert merge(FULL, FULL) == FULL


def test_a_later_request_may_say_what_nobody_has_said() -> None:
    assert merge(GroupOptions("ep-5"), FULL) == FULL
    assert merge(GroupOptions("ep-5", title="Episode 5"), FULL) == FULL


@pytest.mark.parametrize(
    ("key", "first", "later"),
    [
        ("id", "ep-5", "ep-6"),
        ("requests", 2, 3),
        ("download_total", 1024, 0),
        ("title", "Episode 5", ""),
        ("icons", (ICON,), ()),
        ("rate_limit", 4096, 0),
    ],
)
def test_a_contradiction_is_refused_with_the_key_and_both_values(
    key: str, first: object, later: object
) -> None:
    changes: dict[str, Any] = {key: later}
    with pytest.raises(BadRequestError) as caught:
        merge(FULL, evolve(FULL, **changes))
    message = str(caught.value)
    assert f'["{key}"]' in message
    assert repr(first) in message
    assert repr(later) in message


@pytest.mark.parametrize(("key", "said"), [("download_total", 0), ("title", "")])
def test_a_falsy_value_that_was_said_can_be_contradicted(
    key: str, said: object
) -> None:
    changes: dict[str, Any] = {key: said}
    first = evolve(FULL, **changes)
    with pytest.raises(BadRequestError):
        merge(first, FULL)
    assert merge(first, first) == first
