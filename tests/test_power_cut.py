"""BGFETCH_DURABILITY: what is left after a power cut, on the worst legal disk."""

from __future__ import annotations

import asyncio
import random

import pytest

from scrapy_bgfetch import hookimpl
from scrapy_bgfetch.store.sqlite import connect
from tests.support.crawl_process import until
from tests.support.power_cut import PowerCrawl
from tests.support.site import body

SIZES = {"a.bin": 300_000, "b.bin": 200_000, "c.bin": 40_000}
RATE = 600_000  # bytes a second
WORST = pytest.mark.parametrize("names_survive", [True, False])


class InFolders:
    """A plug-in that names files so that they are in folders of folders."""

    @hookimpl
    def bgfetch_file_name(self, record):
        return f"one/two/three/{record.url.rpartition('/')[2].partition('?')[0]}"


@pytest.fixture
def crawl(tmp_path):
    made = []

    def make(durability="power", **settings):
        crawl = PowerCrawl(
            tmp_path,
            BGFETCH_DURABILITY=durability,
            BGFETCH_CHECKPOINT_INTERVAL=0.05,
            **settings,
        )
        made.append(crawl)
        return crawl

    yield make
    for crawl in made:
        if crawl.process.poll() is None:
            crawl.process.kill()
            crawl.process.wait()


def fetch(site, sizes=SIZES, more=""):
    urls = [
        site.url(f"/slow/{name}?size={size}&rate={RATE}{more}")
        for name, size in sizes.items()
    ]
    return {"fetch": [{"id": "a", "requests": urls}]}


async def killed(crawl, site, **switches):
    crawl.start(**fetch(site), **switches)
    assert await crawl.ended() == -9, crawl.output.read_text()


async def go_on(crawl, site):
    """Run to the end; a fetch that never returned is made again."""
    known = crawl.rows("SELECT id FROM registrations")
    assert known or not crawl.events("registered")
    return await crawl.run(**({} if known else fetch(site)))


def wrong(crawl, sizes=SIZES):
    """Return the names of files that are not there, or not byte for byte."""
    found = {path.name: path for path in crawl.files.rglob("*.bin")}
    assert found.keys() <= sizes.keys()
    return [
        name
        for name, size in sizes.items()
        if name not in found or found[name].read_bytes() != body(name, size)
    ]


def stored(crawl):
    return sum(crawl.unfinished())


# -- power -------------------------------------------------------------------------


@WORST
@pytest.mark.parametrize(
    "number",
    [
        1,
        3,
        8,
        *(pytest.param(n, marks=pytest.mark.long) for n in (2, 4, 5, 6, 7, 9, 12)),
    ],
)
async def test_after_a_cut_at_any_flush_the_files_are_byte_exact(
    crawl, site, number, names_survive
):
    crawl = crawl()
    await killed(crawl, site, die_at_flush=number)
    crawl.cut_power(names_survive=names_survive)
    await go_on(crawl, site)
    assert wrong(crawl) == []


@WORST
@pytest.mark.parametrize(
    "moment",
    [
        {"die_at": "registered signal"},
        {"die_at": "record_settled signal"},
        {"die_at": "record_settled hook"},
        {"die_at": "success signal"},
        {"die_at": "settled hook"},
        {"die_after_rename": 1},
        {"die_after_rename": 2},
        {"die_after_rename": 3},
    ],
    ids=lambda moment: " ".join(map(str, moment.values())),
)
async def test_after_a_cut_at_any_moment_of_its_life_the_files_are_byte_exact(
    crawl, site, moment, names_survive
):
    crawl = crawl()
    await killed(crawl, site, **moment)
    crawl.cut_power(names_survive=names_survive)
    assert crawl.rows("SELECT id FROM registrations") == [("a",)]
    await go_on(crawl, site)
    assert wrong(crawl) == []


async def cut_at_random(crawl, site, cuts):
    """Cut the power again and again, at random moments; then run to the end."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201
    sizes = {f"{index}.bin": 400_000 + 50_000 * index for index in range(6)}
    crawl.start(**fetch(site, sizes))
    await until(lambda: crawl.events("registered"))
    for _ in range(cuts):
        await asyncio.sleep(dice.uniform(0, 1.5))  # it starts for a part of that
        await crawl.kill()
        crawl.cut_power(names_survive=dice.random() < 0.5)
        crawl.start()
    await crawl.kill()
    await crawl.run()
    return wrong(crawl, sizes)


async def test_after_cuts_at_random_moments_the_files_are_byte_exact(crawl, site):
    assert await cut_at_random(crawl(), site, cuts=3) == []


@pytest.mark.long
async def test_after_many_cuts_at_random_moments_the_files_are_byte_exact(crawl, site):
    assert await cut_at_random(crawl(), site, cuts=20) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"BGFETCH_PLUGINS": ["tests.test_power_cut.InFolders"]},
        {"BGFETCH_FILES_STORE": "made/by us"},
    ],
    ids=["plain", "folders of folders", "files elsewhere"],
)
async def test_what_was_delivered_is_there_after_a_cut(crawl, site, settings):
    crawl = crawl(**settings)
    await crawl.run(**fetch(site))
    crawl.cut_power(names_survive=False)
    assert wrong(crawl) == []


async def test_a_rename_of_a_run_that_was_killed_is_flushed_by_the_next(crawl, site):
    """The first run is killed, but no power is lost before the second has ended."""
    crawl = crawl()
    await killed(crawl, site, die_after_rename=3)
    await crawl.run()
    crawl.cut_power(names_survive=False)
    assert wrong(crawl) == []


async def test_names_that_cannot_be_flushed_close_the_spider_and_are_not_delivered(
    crawl, site
):
    crawl = crawl()
    crawl.start(**fetch(site), break_names=str(crawl.files))
    await crawl.ended()
    assert crawl.events("closed")[0]["reason"] == "bgfetch_error"
    assert "cannot be flushed to the disk" in crawl.output.read_text()
    assert crawl.rows("SELECT delivered FROM registrations") == [(0,)]
    await crawl.run()
    crawl.cut_power(names_survive=False)
    assert wrong(crawl) == []


@WORST
async def test_bytes_that_a_new_background_fetch_adopted_are_never_wrong(
    crawl, site, names_survive
):
    crawl, sizes = crawl(BGFETCH_QUOTA=100_000), {"a.bin": 300_000}
    fetched = fetch(site, sizes, more="&chunked")
    await crawl.run(**fetched)
    assert crawl.ends() == [("fail", "a", "quota-exceeded")]
    ((kept,),) = crawl.rows("SELECT stored FROM records")
    assert kept > 0
    del crawl.settings["BGFETCH_QUOTA"]
    crawl.start(**fetched, die_at="registered signal")
    assert await crawl.ended() == -9
    crawl.cut_power(names_survive=names_survive)
    await crawl.run()
    assert wrong(crawl, sizes) == []


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_each_commit_is_flushed_for_power_and_none_for_process(
    tmp_path, durable, synchronous
):
    """2 is FULL: SQLite flushes its write-ahead log at every commit; 1 is NORMAL."""
    con = connect(tmp_path / "state.sqlite", durable=durable)
    assert con.execute("PRAGMA synchronous").fetchone()[0] == synchronous
    con.close()


# -- process -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("durability", "expected"), [("process", ["a.bin"]), ("power", [])]
)
async def test_bytes_that_the_state_speaks_of_are_wrong_after_a_cut_without_power(
    crawl, site, durability, expected
):
    """The procedure of these tests can fail: the state is ahead of the bytes."""
    crawl, sizes = crawl(durability), {"a.bin": 500_000}
    crawl.start(**fetch(site, sizes))
    await until(lambda: stored(crawl) > 0)
    await crawl.kill()
    crawl.cut_power(names_survive=True)
    await crawl.run()
    assert crawl.ends() == [("success", "a", "")]
    assert wrong(crawl, sizes) == expected


async def test_settled_files_may_be_gone_after_a_cut_without_power(crawl, site):
    crawl = crawl("process")
    await crawl.run(**fetch(site))
    assert wrong(crawl) == []
    crawl.cut_power(names_survive=False)
    assert wrong(crawl) == list(SIZES)
