"""Many records from a server that fails one answer in three; short here."""

from __future__ import annotations

from scrapy.utils.reactor import is_reactor_installed

from tests.soak import soak


async def test_nothing_is_lost_and_nothing_told_twice_by_a_failing_server(tmp_path):
    """A long one, which shows that memory is flat: python -m tests.soak."""
    report = await soak(tmp_path, records=300, reactor=is_reactor_installed())
    assert report.faults == ()
    assert report.stats["bgfetch/record_settled/success"] == 300
    assert sum(report.server["answers"].values()) > 400
    assert list(report.memory) == list(range(30, 301, 30))
    assert "faults: 0" in str(report)
