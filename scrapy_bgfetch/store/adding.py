"""How registrations and records are added, each function inside one transaction."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from scrapy_bgfetch.rules.uploads import upload_size
from scrapy_bgfetch.store.base import IdActive, Verdict
from scrapy_bgfetch.store.rows import record_values, registration_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy_bgfetch.model import RecordRow, RegistrationRow

INSERT_REGISTRATION = """
    INSERT INTO registrations (
        uid, scope, id, active, delivered, paused, expected, downloaded,
        download_total, uploaded, upload_total, result, failure_reason,
        created_at, settled_at, title, base_url, icons, options
    ) VALUES (
        :uid, :scope, :id, :active, :delivered, :paused, :expected, :downloaded,
        :download_total, :uploaded, :upload_total, :result, :failure_reason,
        :created_at, :settled_at, :title, :base_url, :icons, :options
    )
"""
INSERT_RECORD = """
    INSERT INTO records (
        uid, idx, state, attempt, stored, size, wire, encoded, announced,
        failure_reason, method, url, path, error, head, request, checksums,
        uploaded, not_modified, segments
    ) VALUES (
        :uid, :index, :state, :attempt, :stored, :size, :wire, :encoded, :announced,
        :failure_reason, :method, :url, :path, :error, :head, :request, :checksums,
        :uploaded, :not_modified, :segments
    )
"""
ID_ACTIVE = "SELECT 1 FROM registrations WHERE scope = ? AND id = ? AND active = 1"
UID_ACTIVE = "SELECT 1 FROM registrations WHERE uid = ? AND active = 1"
ADD_STORED = """
    UPDATE registrations SET downloaded = downloaded + :stored
    WHERE uid = :uid
        AND (download_total = 0 OR downloaded + :stored <= download_total)
"""
GROW = """
    UPDATE registrations SET expected = expected + :count,
        upload_total = upload_total + :upload
    WHERE uid = :uid AND active = 1
"""
ADOPT = """
    UPDATE records SET stored = 0, segments = NULL
    WHERE uid = ? AND idx = ? AND failure_reason != '' AND stored > 0
"""


def register(
    con: sqlite3.Connection,
    registration: RegistrationRow,
    records: Sequence[RecordRow],
    adopted: Sequence[tuple[str, int]] = (),
) -> None:
    if any(record.uid != registration.uid for record in records):
        raise ValueError(f"a record is not of registration {registration.uid}")
    if registration.downloaded != sum(record.stored for record in records):
        raise ValueError("downloaded is not the sum of what the records have stored")
    try:
        con.execute(INSERT_REGISTRATION, registration_values(registration))
    except sqlite3.IntegrityError:
        if con.execute(ID_ACTIVE, (registration.scope, registration.id)).fetchone():
            raise IdActive(registration.id) from None
        raise
    con.executemany(INSERT_RECORD, map(record_values, records))
    con.executemany(ADOPT, adopted)


def extend(
    con: sqlite3.Connection,
    uid: str,
    records: Sequence[RecordRow],
    adopted: Sequence[tuple[str, int]] = (),
    *,
    grows: bool = True,
) -> Verdict:
    if any(record.uid != uid for record in records):
        raise ValueError(f"a record is not of registration {uid}")
    upload = sum(upload_size(record.request) for record in records)
    count = len(records) if grows else 0
    grown = {"uid": uid, "count": count, "upload": upload}
    stored = {"uid": uid, "stored": sum(record.stored for record in records)}
    if con.execute(UID_ACTIVE, (uid,)).fetchone() is None:
        return Verdict.STALE
    if stored["stored"] and not con.execute(ADD_STORED, stored).rowcount:
        return Verdict.OVER_BUDGET
    con.execute(GROW, grown)
    con.executemany(INSERT_RECORD, map(record_values, records))
    con.executemany(ADOPT, adopted)
    return Verdict.KEPT
