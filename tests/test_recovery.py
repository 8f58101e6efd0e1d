"""What an earlier run left is made again a piece at a time, and begins in turns."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import pytest
from attrs import evolve
from scrapy import Request

from benchmarks.states import Case, build
from scrapy_bgfetch import recovery
from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.model import FailureReason, RecordRow, RecordState, RegistrationRow
from scrapy_bgfetch.perform import turns
from scrapy_bgfetch.perform.requests import GROUPED, to_json
from scrapy_bgfetch.perform.turns import uncollected
from scrapy_bgfetch.recovery import Recovery
from scrapy_bgfetch.registration import Workshop
from scrapy_bgfetch.rules.file_names import part_name
from scrapy_bgfetch.store.sqlite import SQLiteStore


@pytest.fixture
def in_pieces(monkeypatch):
    """Everything long is done in the smallest pieces, with others in between."""
    monkeypatch.setattr(recovery, "_PIECE", 3)
    monkeypatch.setattr(turns, "_TURN", 0)


@asynccontextmanager
async def state(folder):
    """The open state of a folder."""
    store = SQLiteStore(folder / "state.sqlite")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def recovery_of(store, folder):
    bodies = LocalBodies(folder / "parts", folder / "files")
    workshop = Workshop(performer=None, store=store, bodies=bodies, space=None)
    return Recovery(SimpleNamespace(spider=None), workshop, "s")


@pytest.mark.parametrize(
    "sizes",
    [[], [1], [3], [4], [6], [7], [1] * 7, [2, 2, 2], [3, 3], [7, 1, 2], [1, 2, 8, 1]],
    ids=str,
)
@pytest.mark.usefixtures("in_pieces")
async def test_all_records_are_there_in_their_order_whatever_the_pieces(
    tmp_path, sizes
):
    async with state(tmp_path) as store:
        for number, size in enumerate(sizes):
            uid = f"u{9 - number}"  # not in the order of their ages
            rows = [RecordRow(uid, index, "http://localhost/") for index in range(size)]
            row = RegistrationRow(uid, uid, "s", created_at=float(number))
            await store.register(row, rows)
        groups = await recovery_of(store, tmp_path).undelivered()
        kept = [await store.records(row.uid) for row in await store.undelivered("s")]
    found = [[live.row for live in group.records] for group in groups]
    assert found == kept
    assert [len(rows) for rows in found] == sizes
    assert [group.unannounced for group in groups] == sizes


async def test_a_request_is_made_again_when_it_is_asked_for_and_once(
    tmp_path, monkeypatch
):
    """Ten thousand of them would hold up the first transfer."""
    made = []

    def counting(kept, *, spider):
        made.append(kept["url"])
        return Request(kept["url"])

    monkeypatch.setattr(recovery, "from_json", counting)
    build(Case("x", 2, 20), tmp_path, scope="s", base="http://localhost")
    async with state(tmp_path) as store:
        groups = await recovery_of(store, tmp_path).undelivered()
    assert made == []
    records = groups[1].records
    assert records[2].request is records[2].request
    assert made == [records[2].url]
    records[3].request = mine = Request("http://localhost/mine")
    assert records[3].request is mine
    records[4].request = None
    assert records[4].request is None
    assert made == [records[2].url]


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("registrations", [1, 4, 20])
async def test_all_that_is_taken_up_in_pieces_ends(
    probe, site, tmp_path, registrations
):
    """Behaviour 40; each record is asked for once, and told of once."""
    case = Case("x", registrations, 20)
    build(case, tmp_path / "bgfetch", scope="probe", base=site.url("/file"))

    async def go(spider, response):
        pass

    spider = await probe(go)
    ended = {one.id for name, one, _ in spider.events if name == "success"}
    assert ended == {f"id-{number}" for number in range(registrations)}
    names = Counter(name for name, _, _ in spider.events if name != "progress")
    assert names == {"record_settled": 20, "success": registrations}
    asked = Counter(request.path for request in site.seen if "/file/" in request.path)
    assert asked == {f"/file/{number}.mp3": 1 for number in range(20)}
    assert list((tmp_path / "bgfetch" / "parts").iterdir()) == []


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize(
    ("options", "aborted"), [({}, set()), ({"fail_fast": True}, {3, 4, 5})]
)
async def test_what_had_settled_is_told_of_once_and_its_file_is_put_in_its_place(
    probe, site, tmp_path, options, aborted
):
    """B1, DESIGN 2 "Crash safety": killed between the state and the rename."""
    folder = tmp_path / "bgfetch"
    rows = [_left(index, site) for index in range(_LEFT)]
    row = RegistrationRow(
        "u", "a", "probe", expected=_LEFT, downloaded=6, options=options
    )
    async with state(folder) as store:
        await store.register(row, rows)
    (folder / "parts").mkdir()
    for index in (0, 1):
        (folder / "parts" / part_name("u", index)).write_bytes(b"abc")

    async def go(spider, response):
        pass

    spider = await probe(go)
    assert spider.names("record_settled", "progress") == ["fail"]
    told = [more["record"] for _, _, more in spider.events if "record" in more]
    assert sorted(record.index for record in told) == list(range(_LEFT))
    assert {r.index for r in told if r.failure_reason == "aborted"} == aborted
    for record in told:
        if record.index < 2:
            assert record.path.read_bytes() == b"abc"
    assert list((folder / "parts").iterdir()) == []


_LEFT = 300  # records, so that some end while others are still taken up


def _left(index, site):
    """Two records that have succeeded, one that has failed, three to be fetched.

    All others have failed, too.
    """
    url = site.url(f"/file/{index}")
    kept = to_json(Request(url), spider=None, credentials=False)
    row = RecordRow("u", index, url, request=kept)
    if index in (3, 4, 5):
        return row
    row = evolve(row, state=RecordState.SETTLED)
    if index < 2:
        return evolve(row, stored=3, size=3, path=f"a/{index}.mp3")
    return evolve(row, failure_reason=FailureReason.FETCH_ERROR)


@pytest.fixture
def collecting():
    """Leave the garbage collector as it was."""
    before = gc.isenabled()
    gc.enable()
    yield
    gc.unfreeze()
    (gc.enable if before else gc.disable)()


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_searched_for_afterwards_as_before(enabled):
    (gc.enable if enabled else gc.disable)()
    with suppress(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled() is enabled
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("collecting")
def test_what_somebody_has_frozen_stays_frozen():
    gc.freeze()
    frozen = gc.get_freeze_count()
    with uncollected():
        pass
    assert gc.get_freeze_count() >= frozen > 0


@pytest.mark.parametrize("grouped", [True, False])
async def test_a_record_whose_kind_of_request_is_gone_goes_on_without_its_callback(
    probe, site, tmp_path, caplog, grouped
):
    """The spider's code has changed in between: its class has another name now."""
    url = site.url("/file/x")
    kept = to_json(Request(url), spider=None, credentials=False)
    kept |= {"_class": "gone.away.Request", GROUPED: grouped}
    async with state(tmp_path / "bgfetch") as store:
        row = RegistrationRow("u", "a", "probe", expected=1)
        await store.register(row, [RecordRow("u", 0, url, request=kept)])

    async def go(spider, response):
        pass

    spider = await probe(go)
    assert spider.names("progress") == ["record_settled", "success"]
    assert "No module named 'gone'" in caplog.text
