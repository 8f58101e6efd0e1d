"""A crawl that was killed is taken up by the next one: DESIGN section 2, "Close"."""

from __future__ import annotations

import signal

import pytest

from tests.support.crawl_process import until
from tests.support.resuming import SIZE, SLOW, half_way, offset, read
from tests.support.site import body


async def test_a_killed_crawl_goes_on_by_range_without_being_asked(process, site):
    """Behaviours 40, 199, 215, 311."""
    it = process()
    urls = [site.url(f"/slow/{name}?{SLOW}") for name in "xy"]
    it.start(fetch=[{"id": "a", "requests": urls}])
    await half_way(it, records=2)
    assert await it.kill() == -signal.SIGKILL
    assert it.ends() == []
    kept = it.parts()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    bodies = read(it.events("success"))
    assert bodies == [body("x", SIZE), body("y", SIZE)]
    assert it.parts() == {}
    for name in "xy":
        first, second = site.of(f"/slow/{name}")
        assert "Range" not in first.headers
        assert 100_000 <= offset(second) <= max(kept.values())
        assert second.headers["If-Range"] == f'"{name}"'
    (closed,) = it.events("closed")
    assert closed["stats"]["bgfetch/resumed"] == 1
    assert closed["stats"]["bgfetch/success"] == 1
    assert "bgfetch/registered" not in closed["stats"]


async def test_a_crawl_may_be_killed_many_times(process, site):
    it = process(BGFETCH_CHECKPOINT_INTERVAL=0.05)
    url = site.url(f"/slow/x?size={SIZE}&rate=300000")
    it.start(fetch=[{"id": "a", "requests": url}])
    for least in (50_000, 150_000, 250_000):
        await half_way(it, least)
        await it.kill()
        it.start()
    assert await it.ended() == 0
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]
    asked = [offset(request) for request in site.of("/slow/x")]
    assert asked == sorted(asked)
    assert len(set(asked)) == 4


async def test_what_was_delivered_is_not_delivered_again(process, site):
    """Behaviour 36: a later run knows nothing of what has ended."""
    it = process()
    url = site.url("/file/x")
    await it.run(fetch=[{"id": "a", "requests": url}])
    assert it.ends() == [("success", "a", "")]
    await it.run()
    assert [one["event"] for one in it.events()] == ["closed"]
    assert it.events()[0]["stats"] == {}


@pytest.mark.parametrize(
    ("bad", "options", "reason"),
    [
        ("/status/404", {}, "bad-status"),
        ("http://127.0.0.1:1/x", {}, "fetch-error"),
    ],
)
async def test_a_failure_before_the_kill_still_counts_after_it(
    process, site, bad, options, reason
):
    """Behaviours 31, B1."""
    it = process(BGFETCH_RESUMPTIONS=1)
    bad = bad if "://" in bad else site.url(bad)
    slow = site.url(f"/slow/x?{SLOW}")
    it.start(fetch=[{"id": "a", "requests": [bad, slow], **options}])
    await until(lambda: it.events("record_settled"))
    await half_way(it)
    await it.kill()
    await it.run()
    assert it.ends() == [("fail", "a", reason)]
    assert body("x", SIZE) in read(it.events("fail"))
    assert it.parts() == {}
    assert len(site.of("/status/404")) == (reason == "bad-status")


@pytest.mark.parametrize("where", ["record_settled signal", "record_settled hook"])
@pytest.mark.parametrize(
    ("requests", "options", "reason"),
    [
        (
            ["/slow/x?size=500000&rate=100000", "/file/y?size=400000"],
            {"download_total": 300_000},
            "download-total-exceeded",
        ),
        (
            ["/slow/x?size=500000&rate=100000", "/status/404"],
            {"fail_fast": True},
            "bad-status",
        ),
    ],
)
async def test_a_failure_that_ends_all_of_it_does_so_after_a_kill_too(
    process, site, requests, options, reason, where
):
    """B1, B2: killed right after the record has settled."""
    it = process()
    requests = [site.url(path) for path in requests]
    it.start(
        fetch=[{"id": "a", "requests": requests, **options}],
        die_at=where,
        die_reason=reason,
    )
    assert await it.ended() == -signal.SIGKILL
    asked = len(site.seen)
    await it.run()
    assert it.ends() == [("fail", "a", reason)]
    assert len(site.seen) == asked
    assert it.parts() == {}


@pytest.mark.parametrize(
    ("where", "again"),
    [
        ("record_settled signal", ["record_settled", "success"]),
        ("record_settled hook", ["record_settled", "success"]),
        ("success signal", ["success"]),
        ("settled hook", ["success"]),
    ],
)
async def test_a_kill_between_settling_and_delivery_delivers_it_again(
    process, site, where, again
):
    """DESIGN: hook delivery is at least once.

    Behaviour 208.
    """
    it = process()
    it.start(fetch=[{"id": "a", "requests": site.url("/file/x")}], die_at=where)
    assert await it.ended() == -signal.SIGKILL
    await it.run()
    assert [one["event"] for one in it.events()] == [*again, "closed"]
    assert read(it.events("success")) == [body("x", 1000)]
    assert len(site.of("/file/x")) == 1
    await it.run()
    assert [one["event"] for one in it.events()] == ["closed"]


async def test_a_kill_while_failing_delivers_the_failure_again(process, site):
    it = process()
    it.start(
        fetch=[{"id": "a", "requests": site.url("/status/404")}], die_at="fail signal"
    )
    assert await it.ended() == -signal.SIGKILL
    await it.run()
    assert it.ends() == [("fail", "a", "bad-status")]
    assert read(it.events("fail")) == [b"page of 404"]


# -- the server's file in between --------------------------------------------------


async def test_a_file_that_has_changed_starts_again_from_zero(process, site):
    """Behaviours 218, B11: If-Range makes the server send all of it."""
    it = process()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    site.etags["x"] = '"new"'
    site.contents["x"] = body("new", SIZE + 5000)
    await it.run()
    assert it.ends() == [("success", "a", "")]
    (end,) = it.events("success")
    assert end["downloaded"] == SIZE + 5000
    assert read([end]) == [body("new", SIZE + 5000)]
    second = site.of("/slow/x")[1]
    assert offset(second) > 0
    assert second.headers["If-Range"] == '"x"'
    assert len(site.seen) == 2


async def test_a_body_without_validators_starts_again_from_zero(process, site):
    """Behaviour 218."""
    it = process(BGFETCH_RESUME_WITHOUT_VALIDATOR="restart")
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}&bare")}])
    await half_way(it)
    await it.kill()
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]
    assert "Range" not in site.of("/slow/x")[1].headers


@pytest.mark.parametrize("lost", ["cut", "removed"])
async def test_a_part_file_that_has_lost_bytes_costs_a_new_start_at_most(
    process, site, lost
):
    it = process()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    (part,) = (it.folder / "bgfetch" / "parts").iterdir()
    if lost == "removed":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:10])
    await it.run()
    assert it.ends() == [("success", "a", "")]
    assert read(it.events("success")) == [body("x", SIZE)]


async def test_part_files_that_no_record_knows_are_swept_at_the_start(process, site):
    """Behaviour 196: the others stay."""
    it = process()
    it.start(fetch=[{"id": "a", "requests": site.url(f"/slow/x?{SLOW}")}])
    await half_way(it)
    await it.kill()
    (known,) = it.parts()
    stray = it.state / "parts" / f"{'0' * 32}-0.part"
    stray.write_bytes(b"nobody's")
    it.start()
    await until(lambda: not stray.exists())
    assert list(it.parts()) == [known]
    assert await it.ended() == 0
    assert read(it.events("success")) == [body("x", SIZE)]
    assert offset(site.of("/slow/x")[1]) > 0
