"""Part files that are written in several places."""

from __future__ import annotations

import pytest

from scrapy_bgfetch.bodies.local import LocalBodies

MiB = 1024 * 1024


@pytest.fixture
def bodies(tmp_path):
    bodies = LocalBodies(tmp_path / "parts", tmp_path / "files")
    bodies.prepare()
    return bodies


def test_bytes_go_where_they_belong(bodies):
    part = bodies.open_part("a.part", 0)
    part.write_at(memoryview(b"world"), 5)
    part.write_at(memoryview(b"hello"), 0)
    part.close()
    assert (bodies.parts / "a.part").read_bytes() == b"helloworld"


def test_what_was_written_behind_the_last_known_byte_is_cut_off(bodies):
    part = bodies.open_part("a.part", 0)
    part.write_at(memoryview(b"x" * 100), 900)
    part.close()
    part = bodies.open_part("a.part", 950)
    part.close()
    assert part.length == bodies.part_length("a.part") == 950


def test_holes_of_part_files_do_not_count_as_used(bodies):
    part = bodies.open_part("a.part", 0)
    part.write_at(memoryview(b"x" * MiB), 100 * MiB)
    part.close()
    if (bodies.parts / "a.part").stat().st_blocks * 512 > 50 * MiB:
        pytest.skip("this file system has no holes")
    assert MiB <= bodies.used_bytes() < 2 * MiB


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_files_without_holes_count_by_their_length(bodies, size):
    part = bodies.open_part("a.part", 0)
    part.write(b"x" * size)
    part.close()
    (bodies.files / "b").write_bytes(b"y" * 7)
    assert bodies.used_bytes() == size + 7
