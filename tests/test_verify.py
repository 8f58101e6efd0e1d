"""``verify``: files compared with a manifest, which may come from anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch import verify
from scrapy_bgfetch.exceptions import BackgroundFetchError, ManifestError

DATA = b"what was fetched"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def record(**changes):
    values = {
        "index": 0,
        "url": "https://example.org/a",
        "path": "a.1/a",
        "size": len(DATA),
        "sha256": sha256(DATA),
        "checksums": {},
    }
    return {**values, **changes}


def manifest(*records, **changes):
    values = {"format": "scrapy-bgfetch manifest", "version": 1}
    return {**values, "records": list(records or [record()]), **changes}


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    (folder / "a.1").mkdir(parents=True)
    (folder / "a.1" / "a").write_bytes(DATA)
    return folder


def status(found):
    (check,) = found.checks
    assert found.ok == check.ok == (found.problems == ())
    return check.status


def test_files_that_are_the_same_are_ok(files):
    found = verify(manifest(), files)
    assert found.ok
    assert status(found) == "ok"
    assert found.checks[0].path == "a.1/a"


def test_the_manifest_may_be_the_path_of_a_json_file(files, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest()))
    assert verify(path, files).ok
    assert verify(str(path), str(files)).ok


def test_a_file_that_is_gone_is_missing(files):
    (files / "a.1" / "a").unlink()
    assert status(verify(manifest(), files)) == "missing"
    (files / "a.1").rmdir()
    assert status(verify(manifest(), files)) == "missing"
    (files / "a.1").write_bytes(b"a file now")
    assert status(verify(manifest(), files)) == "missing"


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"!", DATA.upper(), b""])
def test_another_length_or_other_bytes_are_a_change(files, data):
    (files / "a.1" / "a").write_bytes(data)
    found = verify(manifest(), files)
    assert status(found) == "changed"
    known = sha256(data) if len(data) == len(DATA) else f"{len(data)} bytes"
    assert known in found.problems[0].problem


def test_without_a_sha256_the_other_digests_count(files):
    right = {"md5": hashlib.md5(DATA).hexdigest()}
    wrong = {"md5": hashlib.md5(b"?").hexdigest()}
    assert status(verify(manifest(record(sha256=None, checksums=right)), files)) == "ok"
    found = verify(manifest(record(sha256=None, checksums=wrong)), files)
    assert status(found) == "changed"


def test_a_file_of_which_no_digest_is_known_is_not_ok(files):
    assert status(verify(manifest(record(sha256=None)), files)) == "no-digest"


def test_a_record_without_a_file_is_ok(files):
    left_none = record(path=None, sha256=None, size=None)
    assert status(verify(manifest(left_none), files)) == "no-file"


def test_one_bad_file_of_several_is_named(files):
    found = verify(manifest(record(), record(index=1, path="a.1/b")), files)
    assert not found.ok
    assert [(one.index, one.status) for one in found.problems] == [(1, "missing")]


def test_a_file_that_cannot_be_opened_is_said(files):
    too_long = record(path="a.1/" + "a" * 5000)
    assert status(verify(manifest(too_long), files)) == "unreadable"


def test_a_folder_or_a_pipe_in_place_of_a_file_is_a_change(files):
    (files / "a.1" / "a").unlink()
    (files / "a.1" / "a").mkdir()
    assert status(verify(manifest(), files)) == "changed"
    (files / "a.1" / "a").rmdir()
    os.mkfifo(files / "a.1" / "a")
    assert status(verify(manifest(), files)) == "changed"


def test_memory_does_not_grow_with_the_file(files):
    size = 64 * 1024 * 1024
    with (files / "a.1" / "a").open("wb") as file:
        file.truncate(size)
    claimed = record(size=size, sha256="0" * 64)
    tracemalloc.start()
    try:
        assert status(verify(manifest(claimed), files)) == "changed"
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


# -- hostile manifests -------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../secret",
        "a.1/../../secret",
        "a.1/./a",
        "a.1//a",
        "a.1/",
        "./a",
        "a\0b",
        "a\\..\\b",
        "C:/secret",
        "\ud800",
    ],
)
def test_a_path_that_may_leave_the_folder_is_refused(files, path):
    (files.parent / "secret").write_bytes(DATA)
    with pytest.raises(ManifestError, match="below the folder"):
        verify(manifest(record(path=path)), files)


@pytest.mark.parametrize("inside", [True, False])
def test_a_symbolic_link_is_not_followed(files, inside):
    target = files / "a.1" / "b" if inside else files.parent / "secret"
    target.write_bytes(DATA)
    (files / "a.1" / "a").unlink()
    (files / "a.1" / "a").symlink_to(target)
    with pytest.raises(ManifestError, match="symbolic link"):
        verify(manifest(), files)


def test_a_symbolic_link_in_place_of_a_folder_is_not_followed(files):
    outside = files.parent / "outside"
    (files / "a.1").rename(outside)
    (files / "a.1").symlink_to(outside)
    with pytest.raises(ManifestError, match="symbolic link"):
        verify(manifest(), files)


def test_the_folder_itself_may_be_a_symbolic_link(files):
    link = files.parent / "link"
    link.symlink_to(files)
    assert verify(manifest(), link).ok


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "another"},
        {"version": 2},
        {"version": "1"},
        {"version": True},
        {"version": None},
        {"records": None},
        {"records": {}},
        {"records": ["a"]},
    ],
)
def test_what_is_no_manifest_of_this_version_is_refused(files, changes):
    with pytest.raises(ManifestError):
        verify(manifest(**changes), files)


@pytest.mark.parametrize(
    "changes",
    [
        {"index": None},
        {"index": -1},
        {"index": True},
        {"url": 5},
        {"path": 5},
        {"path": ["a"]},
        {"size": "16"},
        {"size": -1},
        {"size": 16.0},
        {"sha256": 5},
        {"sha256": "abc"},
        {"sha256": "g" * 64},
        {"sha256": sha256(DATA).upper()},
        {"checksums": None},
        {"sha256": None, "checksums": {"crc32": "00"}},
        {"sha256": None, "checksums": {"shake_128": "00"}},
        {"sha256": None, "checksums": {"md5": 5}},
        {"sha256": None, "checksums": {"md5": "00"}},
    ],
)
def test_a_value_of_a_wrong_type_is_refused(files, changes):
    with pytest.raises(ManifestError):
        verify(manifest(record(**changes)), files)


@pytest.mark.parametrize("key", sorted(record()))
def test_a_key_that_is_missing_is_refused(files, key):
    bad = record()
    del bad[key]
    with pytest.raises(ManifestError, match=f"{key} of the manifest is missing"):
        verify(manifest(bad), files)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"5", b"\xff", b'"' + b"x" * 100, b"[" * 100_000]
)
def test_a_file_that_is_no_manifest_is_refused(files, tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_bytes(text)
    with pytest.raises(ManifestError):
        verify(path, files)


def test_a_manifest_or_a_folder_that_is_not_there_is_said(files, tmp_path):
    for bad, folder in [
        (tmp_path / "none.json", files),
        (tmp_path, files),
        (5, files),
        (manifest(), tmp_path / "none"),
    ]:
        with pytest.raises(ManifestError):
            verify(bad, folder)
    assert issubclass(ManifestError, BackgroundFetchError)


ODD = [None, True, 0, -1, 5, 1.5, float("nan"), "", "a", "../a", "a\0b", "é", []]
ODD += [["a"], {}, {"md5": 5}, {"md5": "00"}, {5: 5}, {"": ""}, b"a", 10**30, object()]
KEYS = sorted(record())


@given(
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(ODD)),
    st.sampled_from([None, *KEYS]),
)
def test_whatever_it_says_there_is_a_report_or_a_manifest_error(
    tmp_path_factory, changes, dropped
):
    hostile = record(**changes)
    hostile.pop(dropped, None)
    try:
        found = verify(manifest(hostile), tmp_path_factory.getbasetemp())
    except ManifestError:
        return
    assert found.checks[0].status in {"missing", "no-file", "changed"}
