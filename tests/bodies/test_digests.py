from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrapy_bgfetch.bodies.digests import BLOCK, Digests
from scrapy_bgfetch.rules.integrity import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Iterator

HUGE = 1 << 36  # bytes of a sparse file: most of a minute of hashing
SOON = 10.0  # seconds


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.part"


def digest_of(data: bytes, *names: str) -> dict[str, str]:
    return {name: hashlib.new(name, data).hexdigest() for name in names or ["sha256"]}


def some(length: int) -> bytes:
    return os.urandom(length)


def make_huge(path: Path) -> int:
    with path.open("wb") as file:
        file.truncate(HUGE)
    return HUGE


@contextmanager
def held(pool: ThreadPoolExecutor, threads: int = 2) -> Iterator[None]:
    """Let nothing run in the pool meanwhile."""
    gate = Event()
    started = [Event() for _ in range(threads)]
    for event in started:
        pool.submit(lambda event=event: event.set() or gate.wait())
    assert all(event.wait(SOON) for event in started)
    try:
        yield
    finally:
        gate.set()


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_hashes_a_whole_file(path, pool):
    data = some(3 * BLOCK + 7)
    path.write_bytes(data)
    assert await Digests(path, ["sha256"], pool).finish(len(data)) == digest_of(data)


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
async def test_it_hashes_the_bytes_up_to_the_length_and_no_more(path, pool, length):
    data = some(3 * BLOCK)
    path.write_bytes(data)
    found = await Digests(path, ["sha256"], pool).finish(length)
    assert found == digest_of(data[:length])


async def test_it_computes_every_algorithm_in_one_go(path, pool):
    data = some(BLOCK + 5)
    path.write_bytes(data)
    found = await Digests(path, ALGORITHMS, pool).finish(len(data))
    assert found == digest_of(data, *ALGORITHMS)


async def test_it_follows_a_file_that_grows(path, pool):
    data = some(9 * BLOCK + 11)
    digests = Digests(path, ["sha256", "md5"], pool)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(data), 100_003):
            file.write(data[start : start + 100_003])
            digests.follow(file.tell())
            await asyncio.sleep(0)
    found = await digests.finish(len(data))
    assert found == digest_of(data, "sha256", "md5")


async def test_what_was_followed_is_not_read_again(path, pool):
    data = some(2 * BLOCK + 9)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    digests.follow(2 * BLOCK)
    assert await digests.finish(2 * BLOCK) == digest_of(data[: 2 * BLOCK])
    path.write_bytes(b"\0" * 2 * BLOCK + data[2 * BLOCK :])
    assert await digests.finish(len(data)) == digest_of(data)


async def test_following_alone_hashes_in_the_background(path, pool):
    data = some(2 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    digests.follow(len(data))
    while digests._position < len(data):
        await asyncio.sleep(0.001)
    path.write_bytes(b"")
    assert await digests.finish(len(data)) == digest_of(data)


async def test_it_does_not_follow_less_than_a_block(path, pool):
    data = some(BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        digests.follow(BLOCK - 1)
        assert pool._work_queue.qsize() == 0
        digests.follow(BLOCK)
        assert pool._work_queue.qsize() == 1
    assert await digests.finish(len(data)) == digest_of(data)


async def test_following_starts_one_job_at_a_time(path, pool):
    data = some(5 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        for length in range(0, 5 * BLOCK, 1000):
            digests.follow(length)
        assert pool._work_queue.qsize() == 1
    assert await digests.finish(len(data)) == digest_of(data)


async def test_a_job_goes_on_to_what_has_come_meanwhile(path, pool):
    data = some(5 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        digests.follow(2 * BLOCK)
        digests.follow(len(data))
    while digests._position < len(data):
        await asyncio.sleep(0.001)
    assert await digests.finish(len(data)) == digest_of(data)


async def test_what_comes_while_it_finishes_is_not_hashed_with_it(path, pool):
    data = some(3 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        finishing = asyncio.ensure_future(digests.finish(2 * BLOCK))
        await turns()
        digests.follow(len(data))
    found = await asyncio.wait_for(finishing, SOON)
    assert found == digest_of(data[: 2 * BLOCK])


async def test_a_small_file_does_not_wait_for_all_of_a_big_one(
    path, tmp_path, monkeypatch
):
    monkeypatch.setattr("scrapy_bgfetch.bodies.digests._SLICE", BLOCK)
    big, small = some(8 * BLOCK), b"small"
    path.write_bytes(big)
    (tmp_path / "small").write_bytes(small)
    with ThreadPoolExecutor(1) as one_thread:
        hashing = asyncio.ensure_future(
            Digests(path, ["sha256"], one_thread).finish(len(big))
        )
        await asyncio.sleep(0)  # it is in the queue
        quick = Digests(tmp_path / "small", ["sha256"], one_thread)
        assert await quick.finish(len(small)) == digest_of(small)
        assert not hashing.done()
        assert await hashing == digest_of(big)


async def test_a_prefix_of_an_earlier_process_is_hashed_too(path, pool):
    prefix, rest = some(2 * BLOCK + 1), some(BLOCK)
    path.write_bytes(prefix)
    digests = Digests(path, ["sha256"], pool)
    digests.follow(len(prefix))
    with path.open("ab") as file:
        file.write(rest)
    assert await digests.finish(len(prefix + rest)) == digest_of(prefix + rest)


async def test_nothing_is_hashed_outside_of_the_pool(path, pool):
    data = some(3 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        digests.follow(len(data))
        finishing = asyncio.ensure_future(digests.finish(len(data)))
        await turns()
        assert not finishing.done()
        assert digests._position == 0
    assert await finishing == digest_of(data)


@pytest.mark.slow  # by the clock
async def test_hashing_64_mib_does_not_block_the_loop(path, pool):
    data = some(BLOCK) * 64
    path.write_bytes(data)
    names = ["sha256", "sha3_512", "sha3_384", "md5"]
    started = last = time.monotonic()
    gap = 0.0
    finishing = asyncio.ensure_future(Digests(path, names, pool).finish(len(data)))
    while not finishing.done():
        await asyncio.sleep(0.001)
        gap, last = max(gap, time.monotonic() - last), time.monotonic()
    assert gap < (last - started) / 2
    assert finishing.result() == digest_of(data, *names)


async def test_finish_waits_for_the_job_that_follows(path, pool):
    data = some(4 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        digests.follow(2 * BLOCK)
        finishing = asyncio.ensure_future(digests.finish(len(data)))
        await turns()
        assert pool._work_queue.qsize() == 1
    assert await finishing == digest_of(data)


async def test_two_that_finish_at_once_get_their_own_answers(path, pool):
    data = some(4 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    lengths = [BLOCK, 4 * BLOCK, 3 * BLOCK]
    found = await asyncio.gather(*(digests.finish(length) for length in lengths))
    assert found == [digest_of(data[:length]) for length in lengths]


async def test_finish_can_go_on_and_go_back(path, pool):
    data = some(3 * BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    for length in (BLOCK, BLOCK, 3 * BLOCK, 5):
        assert await digests.finish(length) == digest_of(data[:length])


@pytest.mark.parametrize("have", [0, 5, BLOCK, BLOCK + 5])
async def test_a_file_that_is_shorter_is_an_error(path, pool, have):
    path.write_bytes(some(have))
    length = 2 * BLOCK
    with pytest.raises(OSError, match=f"ends after {have} of {length} bytes") as caught:
        await Digests(path, ["sha256"], pool).finish(length)
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == str(path)


async def test_a_file_that_is_missing_is_an_error(path, pool):
    with pytest.raises(FileNotFoundError):
        await Digests(path, ["sha256"], pool).finish(1)


async def test_an_error_while_following_is_met_by_finish(path, pool):
    digests = Digests(path, ["sha256"], pool)
    digests.follow(BLOCK)
    with pytest.raises(FileNotFoundError):
        await digests.finish(BLOCK)


async def test_an_error_while_following_is_overcome_by_finish(path, pool):
    data = some(BLOCK + 5)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        digests.follow(2 * BLOCK)  # more than there is
        finishing = asyncio.ensure_future(digests.finish(len(data)))
        await turns()
    assert await finishing == digest_of(data)


async def test_finish_can_be_tried_again_after_an_error(path, pool):
    data = some(2 * BLOCK + 5)
    path.write_bytes(data[:BLOCK])
    digests = Digests(path, ["sha256"], pool)
    with pytest.raises(OSError, match="ends after"):
        await digests.finish(len(data))
    path.write_bytes(data)
    assert await digests.finish(len(data)) == digest_of(data)


async def test_following_does_not_try_again_after_an_error(path, pool):
    digests = Digests(path, ["sha256"], pool)
    digests.follow(BLOCK)
    with pytest.raises(FileNotFoundError):
        await digests.finish(BLOCK)
    with held(pool):
        digests.follow(2 * BLOCK)
        assert pool._work_queue.qsize() == 0


async def test_an_error_that_nobody_meets_is_not_logged(path, pool, caplog):
    digests = Digests(path, ["sha256"], pool)
    digests.follow(BLOCK)
    pool.shutdown()
    del digests
    await turns()
    assert not caplog.records


async def test_an_error_met_by_two_that_finish_is_not_logged(path, pool, caplog):
    digests = Digests(path, ["sha256"], pool)
    both = (digests.finish(BLOCK) for _ in range(2))
    found = await asyncio.gather(*both, return_exceptions=True)
    assert [type(error) for error in found] == [FileNotFoundError] * 2
    await turns()
    assert not caplog.records


async def test_following_in_a_closed_pool_does_nothing(path, pool):
    digests = Digests(path, ["sha256"], pool)
    pool.shutdown()
    digests.follow(BLOCK)
    with pytest.raises(RuntimeError, match="shutdown"):
        await digests.finish(BLOCK)


def test_following_needs_no_running_loop(path, pool):
    data = some(BLOCK)
    path.write_bytes(data)
    digests = Digests(path, ["sha256"], pool)
    digests.follow(BLOCK)
    assert asyncio.run(digests.finish(BLOCK)) == digest_of(data)


async def hashing_has_begun(digests: Digests) -> None:
    while digests._position == 0:
        await asyncio.sleep(0.001)


async def test_stop_ends_a_job_that_follows(path, pool):
    digests = Digests(path, ["sha256"], pool)
    started = time.monotonic()
    digests.follow(make_huge(path))
    await hashing_has_begun(digests)
    digests.stop()
    digests.stop()
    pool.shutdown()
    assert time.monotonic() - started < SOON


async def test_stop_ends_finish_with_an_error(path, pool):
    digests = Digests(path, ["sha256"], pool)
    finishing = asyncio.ensure_future(digests.finish(make_huge(path)))
    await hashing_has_begun(digests)
    digests.stop()
    with pytest.raises(OSError, match="hashing was stopped") as caught:
        await asyncio.wait_for(finishing, SOON)
    assert caught.value.errno == errno.ECANCELED


async def test_stop_does_not_wait_for_its_job(path, pool):
    digests = Digests(path, ["sha256"], pool)
    with held(pool):
        digests.follow(make_huge(path))
        digests.stop()  # before the job can begin
    pool.shutdown()
    assert digests._position == 0


async def test_nothing_is_followed_after_stop(path, pool):
    path.write_bytes(some(BLOCK))
    digests = Digests(path, ["sha256"], pool)
    digests.stop()
    with held(pool):
        digests.follow(BLOCK)
        assert pool._work_queue.qsize() == 0
    with pytest.raises(OSError, match="hashing was stopped"):
        await digests.finish(BLOCK)


@pytest.mark.parametrize("followed", [False, True], ids=["finish", "follow"])
async def test_cancelling_finish_stops_its_job(path, pool, followed):
    digests = Digests(path, ["sha256"], pool)
    length = make_huge(path)
    started = time.monotonic()
    if followed:
        digests.follow(length)
    finishing = asyncio.ensure_future(digests.finish(length))
    await turns()  # it has begun to wait
    await hashing_has_begun(digests)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    pool.shutdown()
    assert time.monotonic() - started < SOON


def test_a_loop_that_ends_with_finish_under_way_stops_it(path, pool, caplog):
    digests = Digests(path, ["sha256"], pool)
    started = time.monotonic()

    async def begin() -> None:
        begin.task = asyncio.ensure_future(digests.finish(make_huge(path)))
        await hashing_has_begun(digests)

    asyncio.run(begin())
    pool.shutdown()
    assert time.monotonic() - started < SOON
    assert not caplog.records


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
async def test_no_file_stays_open(path, pool):
    def open_files() -> list[str]:
        links = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
        return [link for link in links if link == str(path.resolve())]

    path.write_bytes(some(2 * BLOCK))
    digests = Digests(path, ["sha256"], pool)
    digests.follow(BLOCK)
    await digests.finish(2 * BLOCK)
    with pytest.raises(OSError):
        await digests.finish(3 * BLOCK)
    assert open_files() == []


def test_an_unknown_algorithm_is_refused(path, pool):
    with pytest.raises(ValueError):
        Digests(path, ["sha257"], pool)


SIZES = st.sampled_from([0, 1, 65_536, BLOCK - 1, BLOCK, BLOCK + 1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SIZES, st.booleans(), st.booleans()), max_size=8))
def test_however_it_is_written_and_followed_the_digest_is_that_of_the_bytes(writes):
    async def write(path: Path, pool: ThreadPoolExecutor) -> dict[str, str]:
        digests = Digests(path, ["sha1", "blake2b"], pool)
        with path.open("wb", buffering=0) as file:
            for size, followed, rested in writes:
                file.write(some(size))
                if followed:
                    digests.follow(file.tell())
                if rested:
                    await asyncio.sleep(0.001)
            return await digests.finish(file.tell())

    with TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        path = Path(folder, "a.part")
        found = asyncio.run(write(path, pool))
        assert found == digest_of(path.read_bytes(), "sha1", "blake2b")
