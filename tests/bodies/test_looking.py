"""A look at settled files."""

from __future__ import annotations

import hashlib

import pytest

from scrapy_bgfetch.bodies.looking import FileProblem, Stopped, look

DATA = b"\x01" * 3_000_000


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    return tmp_path


def test_all_digests_come_from_one_look(folder):
    found = look(folder, ["a"], len(DATA), ["sha256", "md5"])
    assert found["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert found["md5"] == hashlib.md5(DATA).hexdigest()


def test_without_algorithms_only_the_length_is_compared(folder):
    assert look(folder, ["a"], None, []) == {}
    with pytest.raises(FileProblem, match="3000000 bytes, and had 5"):
        look(folder, ["a"], 5, [])


def test_it_stops_within_a_block_when_nobody_waits_any_more(folder):
    answers = iter([False, True])
    with pytest.raises(Stopped):
        look(folder, ["a"], None, ["md5"], stopped=lambda: next(answers))
