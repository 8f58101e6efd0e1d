"""kill -9 at any moment loses nothing: DESIGN section 2, "Crash safety"."""

from __future__ import annotations

import random

import pytest
from scrapy.utils.reactor import is_reactor_installed

from tests.crash import crash, say


@pytest.mark.long
@pytest.mark.parametrize("jobdir", [True, False])
async def test_no_byte_and_no_event_is_lost_by_kills_at_random_moments(
    tmp_path, jobdir
):
    """25 kills with a JOBDIR, 10 without; a longer one: python -m tests.crash.

    Callbacks are no events: a request that waits for its own in Scrapy's queue when
    the process is killed is Scrapy's to keep. The report counts those that were lost.
    """
    seed, kills = random.randrange(10**6), 25 if jobdir else 10
    report = await crash(
        tmp_path, kills=kills, seed=seed, jobdir=jobdir, reactor=is_reactor_installed()
    )
    say(report)
    assert report.faults == ()
    assert report.kills == kills


async def test_a_killed_run_goes_on_and_ends_well(tmp_path):
    """The command itself, in short."""
    report = await crash(tmp_path, kills=2, seed=7, reactor=is_reactor_installed())
    assert report.faults == ()
    assert report.size > 0
    assert "2 kills" in str(report)
