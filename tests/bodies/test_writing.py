"""Writes to a slow disk: the loop goes on, and no byte is counted that is not there."""

from __future__ import annotations

import asyncio
import errno
import os
import threading

import pytest

from scrapy_bgfetch.bodies.local import PartFile
from scrapy_bgfetch.bodies.writing import Writing


class Gate:
    """A disk that takes bytes when the test lets it."""

    def __init__(self, path) -> None:
        self.part = PartFile(path, 0)
        self.reached, self.open = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []

    def write(self, data: bytes) -> None:
        self.threads.append(threading.current_thread())
        self.reached.set()
        assert self.open.wait(60)
        self.part.write(data)


@pytest.fixture
def gate(tmp_path):
    gate = Gate(tmp_path / "x.part")
    yield gate
    gate.open.set()
    gate.part.close()


class Clock:
    """Each write takes ``step`` seconds."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


async def reached(gate) -> None:
    assert await asyncio.to_thread(gate.reached.wait, 60)


async def test_a_quick_disk_is_never_left_to_threads(gate):
    gate.open.set()
    writing = Writing(Clock(0.0001))
    for _ in range(100):
        assert not writing.slow
        writing.write(gate, b"abc")
    assert set(gate.threads) == {threading.main_thread()}
    assert gate.part.length == 300


async def test_a_slow_write_leaves_the_next_ones_to_threads(gate):
    gate.open.set()
    writing = Writing(Clock(0.2))
    writing.write(gate, b"abc")
    assert writing.slow
    await writing.write_slowly(gate, b"def")
    assert gate.threads[1] is not threading.main_thread()
    assert gate.part.tail(6) == b"abcdef"


async def test_the_loop_goes_on_while_a_thread_writes(gate):
    """It could not open the gate otherwise."""
    writing = asyncio.ensure_future(Writing().write_slowly(gate, b"abc"))
    await reached(gate)
    assert not writing.done()
    gate.open.set()
    await writing
    assert gate.part.length == 3


async def test_who_is_cancelled_is_so_when_the_bytes_are_there(gate):
    writing = asyncio.ensure_future(Writing().write_slowly(gate, b"abc"))
    await reached(gate)
    for _ in range(3):  # whoever is impatient
        writing.cancel()
        await asyncio.sleep(0)
        assert not writing.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert gate.part.length == 3


async def test_an_error_of_the_disk_is_raised(gate):
    def full(data):
        raise OSError(errno.ENOSPC, "full")

    gate.write = full
    with pytest.raises(OSError, match="full"):
        await Writing().write_slowly(gate, b"abc")


@pytest.mark.parametrize(
    ("have", "length", "cuts"), [(0, 0, []), (5, 5, []), (5, 3, [3])]
)
def test_a_part_file_is_cut_only_when_it_has_more(
    tmp_path, monkeypatch, have, length, cuts
):
    """After a cut to 0, ext4 writes all of it to the disk when it is closed."""
    path, seen, cut = tmp_path / "x.part", [], os.ftruncate
    path.write_bytes(b"x" * have)

    def noted(fd, size):
        seen.append(size)
        cut(fd, size)

    monkeypatch.setattr(os, "ftruncate", noted)
    part = PartFile(path, length)
    part.close()
    assert seen == cuts
    assert path.stat().st_size == part.length == length
