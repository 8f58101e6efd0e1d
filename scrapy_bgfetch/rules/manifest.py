"""The manifest of a background fetch: what it says, and what one may believe (N3)."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from scrapy_bgfetch.rules.fetch_options import GROUP
from scrapy_bgfetch.rules.record_options import INTEGRITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrapy_bgfetch.model import AttemptRow, Head, RecordRow, RegistrationRow

FORMAT = "scrapy-bgfetch manifest"
VERSION = 1
SHA256 = "sha256"
CREDENTIAL_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization"})

_USERINFO = re.compile(r"([a-z][a-z0-9+.-]*://)[^/?#\\\s]*@", re.IGNORECASE)


@frozen
class Looked:
    """What a look at a record's file has shown: its sha256, and what is wrong."""

    sha256: str | None = None
    problem: str = ""


@frozen
class Log:
    """The attempts at one record that are known, and how many were dropped."""

    attempts: Sequence[AttemptRow] = field(factory=list)
    dropped: int = 0


def bare_url(url: str) -> str:
    """Return a URL without its userinfo."""
    found = _USERINFO.match(url)
    return found[1] + url[found.end() :] if found else url


def bare_text(text: str) -> str:
    """Return a text with the userinfo of all URLs left out."""
    return _USERINFO.sub(r"\1", text)


def logs_of(
    records: Iterable[RecordRow], attempts: Iterable[AttemptRow], kept: int
) -> dict[int, Log]:
    """Return the log of each record by its index.

    :param kept: how many of a record's attempt numbers the state keeps.
    """
    found: dict[int, list[AttemptRow]] = {}
    for attempt in attempts:
        found.setdefault(attempt.index, []).append(attempt)
    return {
        record.index: Log(found.get(record.index, []), max(record.attempt - kept, 0))
        for record in records
    }


def manifest_of(
    row: RegistrationRow,
    records: Iterable[RecordRow],
    logs: Mapping[int, Log],
    looked: Mapping[int, Looked],
) -> dict[str, Any]:
    """Return the manifest of a settled background fetch: JSON values only.

    :param logs: the log of each record, by its index.
    :param looked: what its file is, for each record that has one.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": row.id,
        "uid": row.uid,
        "spider": row.scope,
        "title": row.title,
        "created_at": _time(row.created_at),
        "settled_at": None if row.settled_at is None else _time(row.settled_at),
        "result": str(row.result),
        "failure_reason": str(row.failure_reason),
        "download_total": row.download_total,
        "downloaded": row.downloaded,
        "upload_total": row.upload_total,
        "uploaded": row.uploaded,
        "options": _options(row.options),
        "records": [
            _record(record, logs[record.index], looked.get(record.index, Looked()))
            for record in records
        ],
    }


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without the icons of a group: their URLs may have secrets."""
    said = options.get(GROUP)
    if said is None:
        return dict(options)
    return {GROUP: {key: said[key] for key in said if key != "icons"}}


def _record(row: RecordRow, log: Log, looked: Looked) -> dict[str, Any]:
    return {
        "index": row.index,
        "method": row.method,
        "url": bare_url(row.url),
        "request_headers": _names(row.request.get("headers", ())),
        "failure_reason": str(row.failure_reason),
        "error": bare_text(row.error),
        "response": None if row.head is None else _response(row.head),
        "not_modified": row.not_modified,
        "uploaded": row.uploaded,
        "downloaded": row.stored,
        "wire": row.wire,
        "size": row.size,
        "decoded": row.encoded,
        "path": row.path,
        "sha256": looked.sha256,
        "checksums": row.checksums,
        "integrity": row.request.get(INTEGRITY) or {},
        "problem": looked.problem,
        "attempts_made": row.attempt,
        "attempts_dropped": log.dropped,
        "attempts": [_attempt(attempt) for attempt in log.attempts],
    }


def _response(head: Head) -> dict[str, Any]:
    return {
        "url": bare_url(head.url),
        "status": head.status,
        "etag": head.get("ETag"),
        "last_modified": head.get("Last-Modified"),
        "content_type": head.get("Content-Type"),
        "content_encoding": head.get("Content-Encoding"),
    }


def _attempt(row: AttemptRow) -> dict[str, Any]:
    return {
        "number": row.number,
        "started_at": _time(row.started_at),
        "ended_at": _time(row.ended_at),
        "urls": list(row.urls),
        "range": row.range or None,
        "if_range": row.if_range or None,
        "status": row.status,
        "content_range": row.content_range or None,
        "content_encoding": row.content_encoding or None,
        "etag": row.etag or None,
        "last_modified": row.last_modified or None,
        "connections": row.connections,
        "wire": row.wire,
        "stored_before": row.before,
        "stored_after": row.after,
        "taken": str(row.taken),
        "outcome": str(row.outcome),
        "error": row.error,
    }


def _names(lines: Iterable[Sequence[str]]) -> list[str]:
    """Return the names of the request's own fields, without those of credentials."""
    return sorted({line[0].lower() for line in lines} - CREDENTIAL_FIELDS)


def _time(seconds: float) -> str:
    """Return a time as in RFC 3339, in UTC."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
