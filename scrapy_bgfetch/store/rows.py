"""The rows of the model as SQLite keeps them: JSON text, integers, plain text."""

from __future__ import annotations

import json
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from attrs import fields

from scrapy_bgfetch.model import (
    AttemptOutcome,
    AttemptRow,
    FailureReason,
    Head,
    RecordRow,
    RecordState,
    RegistrationRow,
    Result,
    Taken,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from attrs import AttrsInstance

# Of each row, many thousand are read at a time: what an enumeration and `json.loads` do
# besides looking up and decoding would be most of it.
_RESULTS = {one.value: one for one in Result}
_REASONS = {one.value: one for one in FailureReason}
_STATES = {one.value: one for one in RecordState}
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def values_of(row: AttrsInstance) -> dict[str, Any]:
    """Return the attributes of a row by their names.

    For each row ``attrs.asdict`` looks at the class anew, in the time of a statement.
    """
    names, read = _reader_of(type(row))
    return dict(zip(names, read(row), strict=True))


@cache
def _reader_of(
    cls: type[AttrsInstance],
) -> tuple[tuple[str, ...], Callable[[AttrsInstance], tuple[Any, ...]]]:
    names = tuple(field.name for field in fields(cls))
    return names, attrgetter(*names)


def registration_values(row: RegistrationRow) -> dict[str, Any]:
    """Return the columns of a registration by their names, all but ``forgotten``.

    :raises TypeError, ValueError: ``icons`` or ``options`` is not JSON.
    """
    values = values_of(row)
    values["active"] = row.result is Result.UNSETTLED
    values["icons"] = to_json(row.icons)
    values["options"] = to_json(row.options)
    return values


def registration_row(found: sqlite3.Row) -> RegistrationRow:
    """Return the registration that these columns hold."""
    values = _by_name(found)
    values["icons"] = tuple(_from_json(values["icons"]))
    values["options"] = _from_json(values["options"])
    values["paused"] = bool(values["paused"])
    values["delivered"] = bool(values["delivered"])
    values["result"] = _RESULTS[values["result"]]
    values["failure_reason"] = _REASONS[values["failure_reason"]]
    return RegistrationRow(**values)


def record_values(row: RecordRow) -> dict[str, Any]:
    """Return the columns of a record by their names.

    :raises TypeError, ValueError: ``request`` is not JSON.
    """
    values = values_of(row)
    values["request"] = to_json(row.request)
    values["head"] = head_json(row.head)
    values["checksums"] = to_json(row.checksums)
    values["segments"] = segments_json(row.segments)
    return values


def record_row(found: sqlite3.Row) -> RecordRow:
    """Return the record that these columns hold."""
    values = _by_name(found)
    values["request"] = _from_json(values["request"])
    values["state"] = _STATES[values["state"]]
    values["failure_reason"] = _REASONS[values["failure_reason"]]
    values["head"] = _head(values["head"])
    values["encoded"] = bool(values["encoded"])
    values["announced"] = bool(values["announced"])
    values["checksums"] = _from_json(values["checksums"])
    values["not_modified"] = bool(values["not_modified"])
    values["segments"] = _segments(values["segments"])
    return RecordRow(**values)


def attempt_values(row: AttemptRow) -> dict[str, Any]:
    """Return the columns of an attempt by their names."""
    return {**values_of(row), "urls": to_json(row.urls)}


def attempt_row(found: sqlite3.Row) -> AttemptRow:
    """Return the attempt that these columns hold."""
    values = _by_name(found)
    values["urls"] = tuple(_from_json(values["urls"]))
    values["taken"] = Taken(values["taken"])
    values["outcome"] = AttemptOutcome(values["outcome"])
    return AttemptRow(**values)


def head_json(head: Head | None) -> str | None:
    """Return the JSON text of a head, None for none."""
    if head is None:
        return None
    return to_json({"url": head.url, "status": head.status, "headers": head.headers})


def segments_json(segments: tuple[tuple[int, int], ...]) -> str | None:
    """Return the JSON text of what ``segments`` of a record says, None for nothing."""
    return to_json(segments) if segments else None


def to_json(value: object) -> str:
    """Return the JSON text of a value.

    :raises TypeError, ValueError: it is not JSON (NaN and infinity are not).
    """
    return _encode(value)


def _segments(text: str | None) -> tuple[tuple[int, int], ...]:
    return tuple((first, end) for first, end in json.loads(text)) if text else ()


def _from_json(text: str) -> Any:
    """Return what :func:`to_json` was given."""
    return {} if text == "{}" else _decode(text)[0]


def _by_name(found: sqlite3.Row) -> dict[str, Any]:
    """Return the columns by their names: ``dict`` would look for each by its name."""
    return dict(zip(found.keys(), found, strict=True))


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    kept = _from_json(text)
    headers = tuple((name, value) for name, value in kept["headers"])
    return Head(url=kept["url"], status=kept["status"], headers=headers)
