"""What a manifest says of given rows (N3)."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.exceptions import ManifestError
from scrapy_bgfetch.model import (
    AttemptOutcome,
    AttemptRow,
    FailureReason,
    FileStatus,
    Head,
    RecordRow,
    RegistrationRow,
    Result,
    Taken,
)
from scrapy_bgfetch.rules.claims import claims_of, path_parts
from scrapy_bgfetch.rules.manifest import Looked, bare_url, logs_of, manifest_of
from tests.support.manifests import SCHEMA, valid

ROW = RegistrationRow("u", "a", "s", result=Result.SUCCESS, settled_at=1.5)
RECORD = RecordRow("u", 0, "https://example.org/a")
ATTEMPT = AttemptRow("u", 0, 1, 0.0, 1.0)


def made(*records, attempts=(), looked=None, row=ROW):
    logs = logs_of(records, attempts, 100)
    return manifest_of(row, records, logs, looked or {})


def test_every_key_that_is_written_is_required_by_the_schema_and_no_other():
    head = Head("https://example.org/a", 200)
    manifest = made(RecordRow("u", 0, "https://x", head=head), attempts=[ATTEMPT])
    (record,) = manifest["records"]
    written = {
        "manifest": manifest,
        "record": record,
        "response": record["response"],
        "attempt": record["attempts"][0],
    }
    for name, value in written.items():
        schema = SCHEMA["$defs"][name]
        assert set(value) == set(schema["properties"]) == set(schema["required"])
        assert schema["additionalProperties"] is False
    valid(manifest)


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        ("attempt", "outcome", AttemptOutcome),
        ("attempt", "taken", Taken),
    ],
)
def test_the_schema_has_every_word_of_the_code(name, key, words):
    assert SCHEMA["$defs"][name]["properties"][key]["enum"] == [*words]
    assert SCHEMA["$defs"]["reason"]["enum"] == [*FailureReason]
    assert {status.value for status in FileStatus} == {
        "ok",
        "missing",
        "changed",
        "unreadable",
        "no-digest",
        "no-file",
    }


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://example.org/a@b?c@d", "https://example.org/a@b?c@d"),
        ("https://u:p@example.org/a", "https://example.org/a"),
        ("https://u@x@example.org", "https://example.org"),
        ("https://example.org?u:p@x", "https://example.org?u:p@x"),
        ("HTTP://u@example.org#@", "HTTP://example.org#@"),
        ("data:,a@b", "data:,a@b"),
    ],
)
def test_userinfo_is_left_out_of_urls(url, bare):
    assert bare_url(url) == bare


def test_userinfo_is_left_out_of_errors():
    error = "http://u:p@x/a gave up, and so did HTTPS://v@y: write to a@b"
    (record,) = made(RecordRow("u", 0, "https://x", error=error))["records"]
    assert record["error"] == "http://x/a gave up, and so did HTTPS://y: write to a@b"


def test_times_are_those_of_rfc_3339():
    row = RegistrationRow(
        "u", "a", "s", result=Result.SUCCESS, created_at=0.25, settled_at=1e9
    )
    manifest = made(row=row)
    assert manifest["created_at"] == "1970-01-01T00:00:00.250Z"
    assert manifest["settled_at"] == "2001-09-09T01:46:40.000Z"


def test_attempts_go_to_their_records_and_dropped_ones_are_counted():
    second = RecordRow("u", 1, "https://example.org/b", attempt=103)
    others = [AttemptRow("u", 1, number, 0.0, 1.0) for number in (4, 5, 103)]
    records = made(RECORD, second, attempts=[ATTEMPT, *others])["records"]
    assert [[a["number"] for a in one["attempts"]] for one in records] == [
        [1],
        [4, 5, 103],
    ]
    assert [one["attempts_dropped"] for one in records] == [0, 3]


def test_names_of_credentials_are_left_out():
    lines = [["COOKIE", "a"], ["authorization", "b"], ["Proxy-Authorization", "c"]]
    request = {"headers": [*lines, ["X-B", "d"], ["Accept", "e"], ["x-b", "f"]]}
    (record,) = made(RecordRow("u", 0, "https://x", request=request))["records"]
    assert record["request_headers"] == ["accept", "x-b"]


ATTEMPTS = st.builds(
    AttemptRow,
    uid=st.just("u"),
    index=st.just(0),
    number=st.integers(1, 50),
    started_at=st.floats(0, 4e9),
    ended_at=st.floats(0, 4e9),
    urls=st.lists(st.text(), max_size=3).map(tuple),
    range=st.text(),
    if_range=st.text(),
    status=st.none() | st.integers(100, 999),
    content_range=st.text(),
    content_encoding=st.text(),
    etag=st.text(),
    last_modified=st.text(),
    wire=st.integers(0),
    before=st.integers(0),
    after=st.integers(0),
    taken=st.sampled_from(Taken),
    outcome=st.sampled_from(AttemptOutcome),
    error=st.text(max_size=20),
)
RECORDS = st.builds(
    RecordRow,
    uid=st.just("u"),
    index=st.just(0),
    url=st.text(),
    failure_reason=st.sampled_from(FailureReason),
    stored=st.integers(0),
    size=st.none() | st.integers(0),
    wire=st.integers(0),
    head=st.none() | st.builds(Head, url=st.text(), status=st.integers(100, 999)),
    encoded=st.booleans(),
    path=st.none() | st.sampled_from(["a", "a/b", "a.1/ö"]),
    error=st.text(),
    attempt=st.integers(0, 1000),
)
LOOKED = st.builds(
    Looked, st.none() | st.text("0123456789abcdef", min_size=64, max_size=64), st.text()
)


@given(RECORDS, st.lists(ATTEMPTS, max_size=4), LOOKED)
def test_whatever_the_rows_the_manifest_fits_the_schema_and_can_be_verified(
    record, attempts, looked
):
    manifest = valid(made(record, attempts=attempts, looked={0: looked}))
    (claim,) = claims_of(manifest)
    assert (claim.path, claim.size) == (record.path, record.size)
    assert claim.digests == ({"sha256": looked.sha256} if looked.sha256 else {})
    for attempt in manifest["records"][0]["attempts"]:
        datetime.fromisoformat(attempt["started_at"].replace("Z", "+00:00"))
    assert json.loads(json.dumps(manifest)) == manifest


@given(st.text("./\\a:C\0", max_size=12))
def test_a_path_leads_below_the_folder_or_is_refused(path):
    try:
        parts = path_parts(path, "path")
    except ManifestError:
        return
    assert parts
    assert "/".join(parts) == path
    assert not {"", ".", ".."} & set(parts)
