"""A full disk, for real: nothing is harmed, and the end of things is written down."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from attrs import evolve
from store_samples import KEPT, NONE, end, records, registration

from scrapy_bgfetch.exceptions import StoreError, StoreFull
from scrapy_bgfetch.model import Result
from scrapy_bgfetch.store import faults, reserve
from scrapy_bgfetch.store.sqlite import SQLiteStore
from tests.support.full_disk import fill, small_disk

ROOT = Path(__file__).parents[2]
MIB = 2**20


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "4m") as folder:
        yield folder


@pytest.fixture
def path(disk):
    return disk / "state.sqlite"


@pytest.fixture
def ballast(disk):
    return disk / "state.reserve"


@pytest.fixture
async def store(path):
    store = SQLiteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def patient(path):
    store = SQLiteStore(path, patient=True)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def bare(ballast, store):
    """Return a store on a disk that is full, reserve included."""
    ballast.unlink()
    ballast.mkdir()  # it cannot be had again
    return store


def big(uid):
    return registration(uid, id=uid, title="x" * 5 * MIB)


def integrity(path):
    with closing(sqlite3.connect(path)) as con:
        broken = con.execute("PRAGMA foreign_key_check").fetchall()
        return con.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and (
            not broken
        )


# -- the reserve -------------------------------------------------------------------


async def test_a_reserve_is_really_allocated_and_for_the_owner_only(store, ballast):
    found = ballast.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_size == MIB
    assert found.st_blocks * 512 >= MIB


async def test_the_end_of_things_is_written_to_a_full_disk(store, disk, path, ballast):
    await store.register(registration(), records(100))
    for index in range(100):
        await store.claim("u", index)
    fill(disk)
    ends = [end(index, stored=10, error="x" * 1000) for index in range(100)]
    assert await store.settle_records(ends) == [KEPT] * 100
    assert await store.settle("u", Result.SUCCESS, NONE, 1.0) is KEPT
    await store.delivered("u")
    assert not ballast.exists()
    await store.close()
    assert integrity(path)
    await store.open()
    assert (await store.get("u")).delivered


async def test_without_room_there_is_no_reserve_and_no_error(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as folder:
        store = SQLiteStore(folder / "state.sqlite")
        await store.open()
        await store.register(registration(), records(1))
        assert not (folder / "state.reserve").exists()
        await store.close()


async def test_the_reserve_leaves_room_for_others(tmp_path):
    with small_disk(tmp_path / "disk", f"{MIB + reserve.BESIDES - 4096}") as folder:
        ballast = reserve.Reserve(folder / "reserve")
        ballast.make()
        assert list(folder.iterdir()) == []


async def test_a_reserve_that_was_cut_off_is_made_whole(path, ballast):
    ballast.write_bytes(b"x" * 4096)
    store = SQLiteStore(path)
    await store.open()
    assert ballast.stat().st_blocks * 512 >= MIB
    await store.close()


def padded(index):
    return evolve(records(1)[0], index=index, error="x" * 9000)


async def use_up(store, disk):
    """Fill the disk and write until the reserve is given up; return the filler."""
    await store.register(registration(), records(1))
    filler = fill(disk)
    index = 1
    while (disk / "state.reserve").exists():
        await store.extend("u", [padded(index)])
        index += 1
    return filler


async def test_the_reserve_is_made_again_at_the_next_open(store, disk, ballast):
    filler = await use_up(store, disk)
    await store.close()
    await store.open()
    assert not ballast.exists()
    filler.unlink()
    await store.close()
    await store.open()
    assert ballast.stat().st_size == MIB


async def test_the_reserve_is_made_again_later_but_not_at_once(
    store, disk, ballast, monkeypatch
):
    filler = await use_up(store, disk)
    filler.unlink()
    await store.claim("u", 0)
    assert not ballast.exists()
    monkeypatch.setattr(reserve, "PAUSE", 0.0)
    await store.claim("u", 0)
    assert ballast.stat().st_size == MIB


# -- when the reserve does not help ------------------------------------------------


async def test_a_statement_too_big_for_the_disk_is_store_full_and_changes_nothing(
    store, path
):
    await store.register(registration(), records(1))
    with pytest.raises(StoreFull, match="full: free some space") as caught:
        await store.register(big("v"), records(1, "v"))
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert await store.get("v") is None
    assert await store.claim("u", 0) == 1
    await store.close()
    assert integrity(path)
    await store.open()


async def test_a_full_disk_fails_the_whole_group_and_keeps_nothing_of_it(store):
    await store.register(registration(), records(1))
    outcomes = await asyncio.gather(
        store.claim("u", 0),
        store.register(big("v"), records(1, "v")),
        return_exceptions=True,
    )
    claimed = 0 if isinstance(outcomes[0], StoreFull) else 1
    assert isinstance(outcomes[1], StoreFull)
    assert await store.get("v") is None
    assert await store.claim("u", 0) == claimed + 1


async def test_all_that_was_acknowledged_is_there_and_goes_on_with_new_space(
    bare, disk, path
):
    await bare.register(registration(), [])
    filler, index = fill(disk), 0
    with suppress(StoreFull):
        while True:
            await bare.extend("u", [padded(index)])
            index += 1
    with pytest.raises(StoreFull):
        await bare.extend("u", [padded(index)])
    assert len(await bare.records("u")) == index  # it can be read all the time
    filler.unlink()
    await bare.extend("u", [evolve(records(1)[0], index=index)])
    await bare.close()
    assert integrity(path)
    await bare.open()
    assert len(await bare.records("u")) == index + 1


async def test_the_log_is_used_again_so_that_small_statements_go_on(bare, disk):
    await bare.register(registration(), records(50))
    await bare.close()  # all is in the database
    await bare.open()
    for attempt in range(1, 21):
        assert await bare.claim("u", 0) == attempt
    fill(disk)
    for attempt in range(21, 201):
        assert await bare.claim("u", 0) == attempt


# -- opening -----------------------------------------------------------------------


async def test_a_full_disk_has_no_room_for_a_new_state(disk, path):
    filler = fill(disk)
    with pytest.raises(StoreFull, match="free some space"):
        await SQLiteStore(path).open()
    filler.unlink()
    store = SQLiteStore(path)
    await store.open()
    await store.register(registration(), records(1))
    await store.close()


@pytest.mark.parametrize("free", [0, 8, 16, 32, 36, 40])
async def test_opening_on_a_full_disk_opens_or_says_so(store, disk, path, free):
    """SQLite maps the index of its log: a page that is not there would kill."""
    await store.register(registration(), records(1))
    await store.close()
    (disk / "state.reserve").unlink()
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - free * 1024)
    script = (
        "import asyncio, pathlib, sys\n"
        "from scrapy_bgfetch.store.sqlite import SQLiteStore\n"
        "from scrapy_bgfetch.exceptions import StoreFull\n"
        "try: asyncio.run(SQLiteStore(pathlib.Path(sys.argv[1])).open())\n"
        "except StoreFull: print('full')\n"
        "else: print('open')\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout in ({"full\n"} if free < 32 else {"full\n", "open\n"})
    filler.unlink()
    assert integrity(path)


async def test_the_reserve_lets_a_state_open_on_a_full_disk(store, disk, ballast):
    await store.register(registration(), records(1))
    await store.close()
    fill(disk)
    await store.open()
    assert not ballast.exists()
    assert await store.claim("u", 0) == 1


# -- patience ----------------------------------------------------------------------


async def waiting(caplog):
    """Return once a store has said that it waits."""

    async def said():
        while "It is waited for." not in caplog.text:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(said(), 30)


async def test_a_patient_store_waits_and_goes_on(patient, disk, caplog):
    await patient.register(registration(), records(1))
    filler = fill(disk)
    wanted = registration("v", id="v", title="x" * (MIB + MIB // 4))
    with caplog.at_level(logging.WARNING):
        register = asyncio.ensure_future(patient.register(wanted, []))
        claim = asyncio.ensure_future(patient.claim("u", 0))
        await waiting(caplog)
    assert not register.done()
    filler.unlink()
    await asyncio.wait_for(asyncio.gather(register, claim), 30)
    assert await patient.get("v") == wanted
    assert caplog.text.count("It is waited for.") == 1


async def test_closing_ends_the_patience(patient, path, caplog):
    await patient.register(registration(), records(1))
    waiter = asyncio.ensure_future(patient.register(big("v"), []))
    await waiting(caplog)
    await asyncio.wait_for(patient.close(), 10)
    with pytest.raises(StoreFull):
        await waiter
    assert integrity(path)


async def test_opening_waits_as_well(disk, path, caplog):
    filler, store = fill(disk), SQLiteStore(path, patient=True)
    opening = asyncio.ensure_future(store.open())
    await waiting(caplog)
    filler.unlink()
    await asyncio.wait_for(opening, 30)
    await store.register(registration(), records(1))
    await store.close()


async def test_an_open_that_waits_can_be_cancelled(disk, path, caplog):
    fill(disk)
    opening = asyncio.ensure_future(SQLiteStore(path, patient=True).open())
    await waiting(caplog)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(opening, 10)


# -- what is full ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("disk I/O error"), False),
        (sqlite3.OperationalError("unable to open database file"), False),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), False),
        (StoreError("its file is a directory"), False),
    ],
)
def test_a_full_disk_is_told_from_other_faults(tmp_path, error, full):
    said = faults.store_error(tmp_path / "state.sqlite", error)
    assert isinstance(said, StoreFull) is full
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["disk I/O error", "unable to open database file"])
def test_what_sqlite_does_not_call_full_is_found_out(disk, text):
    error = sqlite3.OperationalError(text)
    assert not faults.disk_is_full(disk / "state.sqlite", error)
    fill(disk)
    assert faults.disk_is_full(disk / "state.sqlite", error)
    assert [file.name for file in disk.iterdir()] == ["filler"]
