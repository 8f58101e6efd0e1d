"""Terminal events after a crash: they are kept first, and told until all is handled.

Behaviours 36, 78, 119, 133, 208, N7.
"""

from __future__ import annotations

import signal

import pytest

from tests.support.crawl_process import until
from tests.support.resuming import SLOW

EVENTFUL = {"TEST_SPIDER": "tests.support.event_process.Eventful"}
BODIES = ["first", "second", "zwölf"]


def posts(site):
    return [["POST", site.url("/echo"), text] for text in BODIES]


def found(crawl):
    """Return what the handlers of terminal events have found."""
    return crawl.events("found")


async def killed(crawl, **config):
    crawl.start(**config)
    assert await crawl.ended() == -signal.SIGKILL, crawl.output.read_text()


async def quiet(crawl):
    """Check that one more run has nothing to tell."""
    await crawl.run()
    assert [one["event"] for one in crawl.events()] == ["closed"]


@pytest.mark.parametrize(
    ("more", "config", "end", "reason"),
    [
        ([], {}, "success", ""),
        ([["GET", "/status/404", ""]], {}, "fail", "bad-status"),
        ([["GET", "/silent", ""]], {"abort": True}, "abort", "aborted"),
    ],
)
async def test_an_event_that_was_not_handled_comes_again_with_the_same_values(
    process, site, more, config, end, reason
):
    """Its requests have their bodies too, also those that are told apart by nothing
    else."""
    it = process(**EVENTFUL)
    others = [[method, site.url(path), text] for method, path, text in more]
    requests = posts(site) + others
    await killed(it, requests=requests, die_in_handler=True, **config)
    (first,) = found(it)
    asked = len(site.seen)
    await it.run()
    (second,) = found(it)
    assert second == first
    assert (second["type"], second["reason"]) == (f"backgroundfetch{end}", reason)
    assert second["bodies"] == BODIES + [text for _, _, text in others]
    assert second["methods"] == ["POST"] * 3 + [method for method, _, _ in others]
    assert second["id_is_free"]
    assert it.ends() == [(end, "a", reason)]
    assert len(site.seen) == asked
    (closed,) = it.events("closed")
    assert "bgfetch/handler_errors" not in closed["stats"]
    await quiet(it)


@pytest.mark.parametrize("where", ["success signal", "settled hook"])
async def test_an_event_is_told_after_each_kill_until_it_is_handled(
    process, site, where
):
    """N7: only the end of all handlers and hooks acknowledges it."""
    it = process(**EVENTFUL)
    await killed(it, requests=posts(site), die_at=where)
    await killed(it, die_at=where)
    await it.run()
    assert [one["event"] for one in it.events()] == ["success", "found", "closed"]
    assert len(site.of("/echo")) == len(BODIES)
    await quiet(it)


async def test_what_update_ui_has_set_is_there_when_the_event_comes_again(
    process, site
):
    """Behaviour 85: the event of the next run is a new one, with a call of its own."""
    it = process(**EVENTFUL)
    requests = posts(site)
    await killed(it, requests=requests, update="first", die_in_handler=True)
    assert found(it)[0]["title"] == "old"
    await killed(it, update="second", die_in_handler=True)
    assert found(it)[0]["title"] == "first"
    await it.run()
    assert found(it)[0]["title"] == "second"
    assert it.rows("SELECT title FROM registrations") == [("second",)]


async def test_after_the_acknowledgement_a_kill_brings_no_event_again(process, site):
    """Behaviour 36: the other one goes on, so it is the run that was killed."""
    it = process(**EVENTFUL)
    it.start(
        requests=posts(site),
        fetch=[{"id": "b", "requests": site.url(f"/slow/x?{SLOW}")}],
    )
    told = "SELECT id FROM registrations WHERE delivered = 1"
    await until(lambda: it.rows(told) == [("a",)])
    assert len(found(it)) == 1
    await it.kill()
    assert ("success", "b", "") not in it.ends()
    await it.run()
    assert it.ends() == [("success", "b", "")]


async def test_an_id_that_is_used_again_gets_both_events(process, site):
    """Behaviours 29, 73: the old event comes again beside the new background fetch."""
    it = process(**EVENTFUL)
    await killed(it, requests=posts(site), die_in_handler=True)
    (old,) = found(it)
    await it.run(requests=[["POST", site.url("/echo"), "new"]])
    uids = {one["uid"]: one["bodies"] for one in found(it)}
    assert len(uids) == 2
    assert uids[old["uid"]] == BODIES
    assert ["new"] in uids.values()
    await quiet(it)
