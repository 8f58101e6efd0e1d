"""Statuses that mean "later", and those that mean "no"."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from tests.support.crawl_process import until
from tests.support.misbehaving import FAST, head, misbehaving, sends, whole
from tests.support.site import body

DATA = body("file", 10_000)


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


def later(*lines, status="503 Busy"):
    return sends(whole(b"later", *lines, status=status))


async def took(fetched, wrong, *fields, **settings):
    """Return how long a record took that was told to come back."""
    times = []

    def noted(peer):
        times.append(time.monotonic())
        return (later(*fields) if len(times) == 1 else sends(whole(DATA)))(peer)

    handle = await fetched(wrong.at("/x", noted), **{**FAST, **settings})
    assert handle.result == "success"
    assert handle.records[0].path.read_bytes() == DATA
    assert len(times) == 2
    return times[1] - times[0]


async def test_retry_after_in_seconds_is_waited_for(fetched, wrong):
    wait = await took(fetched, wrong, "Retry-After: 1", BGFETCH_RETRY_MAX_DELAY=9)
    assert 1 <= wait < 5


@pytest.mark.parametrize("form", ["imf-fixdate", "rfc850", "asctime"])
async def test_retry_after_as_a_date_is_waited_for(fetched, wrong, form):
    """RFC 9110 section 5.6.7."""
    at = time.time() + 3
    text = {
        "imf-fixdate": formatdate(at, usegmt=True),
        "rfc850": time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(at)),
        "asctime": time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(at)),
    }[form]
    wait = await took(fetched, wrong, f"Retry-After: {text}", BGFETCH_RETRY_MAX_DELAY=9)
    assert 1 < wait < 8


FAR = "Wed, 01 Jan 2200 00:00:00 GMT"


@pytest.mark.parametrize("value", ["86400", "9" * 30, "9" * 5000, FAR])
async def test_a_retry_after_that_is_far_away_is_capped(fetched, wrong, value):
    wait = await took(fetched, wrong, f"Retry-After: {value}")
    assert wait < 3


@pytest.mark.parametrize(
    "value",
    ["-5", "soon", "", "1.5", "1e9", "nan", "inf", "0x10", "\u00b2", "0",
     "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Jan 2026 99:99:99 GMT", "5, 6"],
)  # fmt: skip
async def test_a_retry_after_that_says_nothing_is_not_waited_for(fetched, wrong, value):
    wait = await took(fetched, wrong, f"Retry-After: {value}")
    assert wait < 3


@pytest.mark.parametrize("status", ["429 Slow", "503 Busy", "500 Oops", "408 Late"])
async def test_a_server_that_is_busy_for_a_while_is_asked_again(fetched, wrong, status):
    """Behaviours 45, 214."""
    busy = later(status=status)
    handle = await fetched(wrong.at("/x", busy, busy, sends(whole(DATA))), **FAST)
    assert handle.records[0].path.read_bytes() == DATA
    assert len(wrong.peers) == 3


@pytest.mark.parametrize("status", ["429 Slow", "503 Busy", "504 Gone wrong"])
async def test_a_server_that_stays_busy_is_given_up(fetched, wrong, status):
    handle = await fetched(wrong.at("/x", later(status=status)), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "bad-status"
    assert f"answered {status[:3]}. No try is left" in record.error
    assert record.status == int(status[:3])
    assert record.path.read_bytes() == b"later"
    assert len(wrong.peers) == 3


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 410, 451])
async def test_a_server_that_says_no_is_not_asked_again(fetched, wrong, code):
    """Behaviours 216, 217."""
    refusal = later("Retry-After: 0", status=f"{code} No")
    handle = await fetched(wrong.at("/x", refusal), **FAST)
    record = handle.records[0]
    assert handle.failure_reason == "bad-status"
    assert f"answered {code}" in record.error
    assert record.path.read_bytes() == b"later"
    assert len(wrong.peers) == 1


async def test_one_record_that_must_wait_does_not_hold_up_another(fetched, wrong):
    times = []

    def noted(peer):
        times.append(time.monotonic())
        sends(whole(DATA))(peer)

    busy = wrong.at("/busy", later("Retry-After: 1"), sends(whole(DATA)))
    handle = await fetched([busy, wrong.at("/x", noted)], BGFETCH_RETRY_MAX_DELAY=9)
    assert handle.result == "success"
    assert time.monotonic() - times[0] > 0.9


async def test_what_came_of_a_record_that_waits_is_shown(probe, wrong):
    """Behaviour 68: also when it broke off before anybody looked at it."""
    url = wrong.at("/x", sends(head("Content-Length: 500") + DATA[:200]))

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url)
        await until(lambda: handle.downloaded == 200)
        await handle.abort()

    await probe(go, BGFETCH_PROGRESS_INTERVAL=0.3, BGFETCH_RETRY_DELAY=60)
    assert len(wrong.peers) == 1
