"""Flushes are shared: who shares one, who hears of an error, and who does not."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.perform.flushing import Flusher

GOES = 4
PATIENCE = 60  # seconds


class Watched(LocalBodies):
    """Real flushes, written down when they begin; they wait while a gate is shut."""

    durable = True

    def __init__(self, folder):
        super().__init__(folder / "parts", folder / "files")
        self.goes, self.folders, self.renames = [], [], []
        self.gate, self.folder_gate = threading.Event(), threading.Event()
        self.open_gates()

    def open_gates(self):
        self.gate.set()
        self.folder_gate.set()

    def flush_parts(self, names):
        self.goes.append(list(names))
        assert self.gate.wait(PATIENCE)
        return super().flush_parts(names)

    def flush_names(self):
        self.folders.append({path.name for path in self.parts.iterdir()})
        assert self.folder_gate.wait(PATIENCE)
        super().flush_names()

    def flush_renames(self, paths):
        self.renames.append(list(paths))
        assert self.gate.wait(PATIENCE)
        return super().flush_renames(paths)


@pytest.fixture
def bodies(tmp_path):
    bodies = Watched(tmp_path)
    bodies.prepare()
    yield bodies
    bodies.open_gates()


@pytest.fixture
def flusher(bodies):
    return Flusher(bodies)


def new_part(bodies, name):
    part = bodies.open_part(name, 0)
    part.write(b"bytes")
    part.close()
    return name


def new_parts(bodies, count, name="part"):
    return [new_part(bodies, f"{name}{number}") for number in range(count)]


def broken_part(bodies, name="broken"):
    """Make a part file that no system can flush."""
    (bodies.parts / name).symlink_to("/dev/null")
    return name


async def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def started(*coroutines):
    """Start them; return them when each has come to where it waits."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


async def busy(bodies, flusher):
    """Let all goes begin, and end when the gate opens."""
    bodies.gate.clear()
    tasks = await started(*map(flusher.flush, new_parts(bodies, GOES, "busy")))
    await until(lambda: len(bodies.goes) == GOES)
    return tasks


async def test_files_are_flushed_a_few_at_a_time(bodies, flusher):
    tasks = await busy(bodies, flusher)
    tasks += await started(flusher.flush(new_part(bodies, "late")))
    assert [names for go in bodies.goes for names in go].count("late") == 0
    bodies.open_gates()
    await asyncio.gather(*tasks)
    assert bodies.goes[GOES:] == [["late"]]


async def test_files_that_wait_share_the_next_goes(bodies, flusher):
    tasks = await busy(bodies, flusher)
    names = new_parts(bodies, 40)
    tasks += await started(*map(flusher.flush, names))
    bodies.open_gates()
    await asyncio.gather(*tasks)
    shared = bodies.goes[GOES:]
    assert sorted(name for go in shared for name in go) == sorted(names)
    assert [len(go) for go in shared[:2]] == [10, 8]
    assert len(shared) <= 12


async def test_the_folder_of_files_that_wait_is_flushed_once(bodies, flusher):
    bodies.folder_gate.clear()
    tasks = await started(flusher.flush(new_part(bodies, "first")))
    await until(lambda: len(bodies.folders) == 1)
    others = asyncio.all_tasks()
    names = new_parts(bodies, 20)
    tasks += await started(*map(flusher.flush, names))
    await until(lambda: sum(map(len, bodies.goes)) == 1 + len(names))
    await until(lambda: asyncio.all_tasks() <= {*others, *tasks})
    bodies.open_gates()
    await asyncio.gather(*tasks)
    assert len(bodies.folders) == 2
    assert bodies.folders[1] >= set(names)


async def test_the_folder_is_flushed_once_in_the_life_of_a_name(bodies, flusher):
    name = new_part(bodies, "part")
    for _ in range(3):
        await flusher.flush(name)
        bodies.open_part(name, 3).close()
    assert len(bodies.goes) == 3
    assert len(bodies.folders) == 1


@pytest.mark.parametrize("again", ["discarded", "published"])
async def test_the_folder_is_flushed_again_for_a_name_that_was_made_again(
    bodies, flusher, again
):
    name = new_part(bodies, "part")
    await flusher.flush(name)
    if again == "discarded":
        bodies.discard(name)
    else:
        bodies.publish(name, "a/file")
    await flusher.flush(new_part(bodies, name))
    assert len(bodies.folders) == 2


async def test_the_folder_is_flushed_for_a_name_of_an_earlier_run(bodies, flusher):
    """That run may have been one without flushes."""
    (bodies.parts / "part").write_bytes(b"bytes")
    bodies.open_part("part", 5).close()
    await flusher.flush("part")
    assert len(bodies.folders) == 1


async def test_an_error_is_heard_by_those_whose_file_it_is(bodies, flusher):
    tasks = await busy(bodies, flusher)
    names = [*new_parts(bodies, 6), broken_part(bodies), *new_parts(bodies, 6, "more")]
    tasks += await started(*map(flusher.flush, names))
    bodies.open_gates()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [end for end in ends if end is not None]
    assert [type(end) for end in failed] == [OSError]
    assert ends.index(failed[0]) == GOES + names.index("broken")


async def test_what_failed_once_fails_until_it_begins_anew(bodies, flusher):
    """A system may call the same bytes flushed the next time; they never were."""
    name = broken_part(bodies, "part")
    with pytest.raises(OSError, match="Invalid argument"):
        await flusher.flush(name)
    bodies.discard(name)
    new_part(bodies, name)
    with pytest.raises(OSError, match="Invalid argument"):
        await flusher.flush(name)
    assert len(bodies.goes) == 1
    flusher.forget(name)
    await flusher.flush(name)


async def test_a_part_file_that_is_gone_needs_no_flush(bodies, flusher):
    name = new_part(bodies, "part")
    bodies.discard(name)
    await flusher.flush(name)


async def test_an_error_of_the_folder_is_heard_by_all_that_wait_for_it(bodies, flusher):
    names = new_parts(bodies, 3)
    bodies.parts.rename(bodies.parts.with_name("elsewhere"))
    ends = await asyncio.gather(*map(flusher.flush, names), return_exceptions=True)
    assert [type(end) for end in ends] == [FileNotFoundError] * 3


async def test_an_unforeseen_error_is_heard_by_all_of_the_go(bodies):
    def fail(_names):
        raise RuntimeError("unforeseen")

    bodies.flush_parts = fail
    with pytest.raises(RuntimeError, match="unforeseen"):
        await Flusher(bodies).flush(new_part(bodies, "part"))


async def test_a_waiter_that_is_cancelled_stops_nobody_else(bodies, flusher):
    running = await busy(bodies, flusher)
    waiting = await started(*map(flusher.flush, new_parts(bodies, 8)))
    cancelled = [running[0], waiting[0]]
    for task in cancelled:
        task.cancel()
    await asyncio.wait(cancelled)
    bodies.open_gates()
    await asyncio.gather(*running[1:], *waiting[1:])
    assert all(task.cancelled() for task in cancelled)


async def test_renames_that_wait_share_the_next_flush(bodies, flusher):
    paths = [f"{number % 3}/{number}" for number in range(12)]
    for path in paths:
        bodies.publish(new_part(bodies, path.replace("/", "-")), path)
    bodies.gate.clear()
    tasks = await started(flusher.flush_renames(paths[:2]))
    await until(lambda: bodies.renames)
    tasks += await started(*(flusher.flush_renames([path]) for path in paths[2:]))
    bodies.open_gates()
    await asyncio.gather(*tasks)
    assert bodies.renames == [paths[:2], paths[2:]]


async def test_an_error_of_a_folder_is_heard_by_those_with_names_in_it(bodies, flusher):
    bodies.publish(new_part(bodies, "part"), "good/file")
    (bodies.files / "broken").symlink_to("/dev/null")
    paths = [["good/file"], ["good/file", "broken/file"], ["broken/one/two"]]
    ends = await asyncio.gather(
        *map(flusher.flush_renames, paths), return_exceptions=True
    )
    assert ends[0] is None
    assert [type(end) for end in ends[1:]] == [OSError, OSError]
