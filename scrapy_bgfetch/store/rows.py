"""The rows of the model as SQLite keeps them: JSON text, integers, plain text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import asdict

from scrapy_bgfetch.model import (
    FailureReason,
    Head,
    RecordRow,
    RecordState,
    RegistrationRow,
    Result,
)

if TYPE_CHECKING:
    import sqlite3


def registration_values(row: RegistrationRow) -> dict[str, Any]:
    """Return the columns of a registration by their names.

    :raises TypeError, ValueError: ``icons`` or ``options`` is not JSON.
    """
    values = asdict(row, recurse=False)
    values["active"] = row.result is Result.UNSETTLED
    values["icons"] = to_json(row.icons)
    values["options"] = to_json(row.options)
    return values


def registration_row(found: sqlite3.Row) -> RegistrationRow:
    """Return the registration that these columns (all but ``active``) hold."""
    values = dict(found)
    values["icons"] = tuple(json.loads(values["icons"]))
    values["options"] = json.loads(values["options"])
    values["paused"] = bool(values["paused"])
    values["delivered"] = bool(values["delivered"])
    values["result"] = Result(values["result"])
    values["failure_reason"] = FailureReason(values["failure_reason"])
    return RegistrationRow(**values)


def record_values(row: RecordRow) -> dict[str, Any]:
    """Return the columns of a record by their names.

    :raises TypeError, ValueError: ``request`` is not JSON.
    """
    values = asdict(row, recurse=False)
    values["request"] = to_json(row.request)
    values["head"] = head_json(row.head)
    return values


def record_row(found: sqlite3.Row) -> RecordRow:
    """Return the record that these columns hold."""
    values = dict(found)
    values["request"] = json.loads(values["request"])
    values["state"] = RecordState(values["state"])
    values["failure_reason"] = FailureReason(values["failure_reason"])
    values["head"] = _head(values["head"])
    values["encoded"] = bool(values["encoded"])
    values["announced"] = bool(values["announced"])
    return RecordRow(**values)


def head_json(head: Head | None) -> str | None:
    """Return the JSON text of a head, None for none."""
    return None if head is None else to_json(asdict(head))


def to_json(value: object) -> str:
    """Return the JSON text of a value.

    :raises TypeError, ValueError: it is not JSON (NaN and infinity are not).
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    kept = json.loads(text)
    headers = tuple((name, value) for name, value in kept["headers"])
    return Head(url=kept["url"], status=kept["status"], headers=headers)
