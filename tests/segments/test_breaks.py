"""Connections that break, come late, or are refused: others make it good."""

from __future__ import annotations

from random import Random

import pytest

from scrapy_bgfetch.exceptions import InvalidStateError
from tests.support.crawl_process import until
from tests.support.segmented import (
    HOLD,
    REFUSALS,
    SIZE,
    KiB,
    attempts,
    held,
    overlap,
    whole,
)


@pytest.mark.parametrize("number", [0, 2])
async def test_a_connection_that_breaks_is_made_good_by_others(crawled, server, number):
    """The first one, too."""
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        server.broken = server.parts[number]
        await until(lambda: len(server.parts) == 5)
        server.go_on()

    spider = await crawled(meanwhile)
    assert whole(spider)
    assert len(attempts(spider)) == 1
    again = server.parts[4]
    assert again.first == server.parts[number].first + HOLD


async def test_when_all_have_broken_the_next_attempt_fills_the_gaps(crawled, server):
    server.cuts = dict.fromkeys(range(4), HOLD)
    server.hold = HOLD

    async def meanwhile(spider, handle):
        await held(server, handle)
        server.go_on()

    # Nobody fills a gap before the last of them has broken.
    spider = await crawled(meanwhile, BGFETCH_RETRY_DELAY=1)
    assert whole(spider)
    first, *_, last = attempts(spider)
    assert (first["outcome"], first["stored_after"]) == ("retry", 4 * HOLD)
    assert (last["outcome"], last["stored_before"]) == ("complete", 4 * HOLD)
    assert last["range"] == f"bytes={HOLD}-{SIZE // 4 - 1}"
    assert overlap(server.parts[:4]) == 0
    assert first["wire"] + last["wire"] == SIZE


async def test_one_that_never_answers_holds_nobody_up(crawled, server, monkeypatch):
    """Those who are done take over what it was asked for."""
    monkeypatch.setattr("scrapy_bgfetch.perform.connections._LATE", 0.3)
    server.hold, server.silent = HOLD, {2}

    async def meanwhile(spider, handle):
        await held(server, handle, 3)
        server.go_on()

    spider = await crawled(meanwhile)
    assert whole(spider)
    assert len(attempts(spider)) == 1


async def test_a_part_file_that_has_lost_bytes_fetches_those_again(crawled, server):
    server.hold = HOLD
    cut = SIZE // 2 + 100 * KiB

    async def meanwhile(spider, handle):
        await held(server, handle)
        await handle.pause()
        await until(lambda: not server.active)
        (path,) = handle.bodies.parts.iterdir()
        with path.open("r+b") as file:
            file.truncate(cut)
        server.hold, server.before = None, len(server.parts)
        await handle.resume()

    spider = await crawled(meanwhile)
    assert whole(spider)
    quarter = SIZE // 4
    kept = [(0, HOLD), (quarter, quarter + HOLD), (2 * quarter, cut)]
    # The first answer was asked for before the file was looked at.
    for part in server.parts[server.before + 1 :]:
        assert not any(part.first < end and start < part.end for start, end in kept)


class AnyCuts(dict):
    """One answer in four breaks off somewhere."""

    def __init__(self, chance):
        self.chance = chance

    def get(self, number, default=None):
        breaks = self.chance.random() < 0.25
        return self.chance.randrange(0, SIZE // 4) if breaks else None


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_a_server_does_the_file_is_whole(crawled, server, seed):
    """It breaks off, refuses and ignores ranges, and is paused again and again."""
    chance = Random(seed)
    odd = [REFUSALS["503"], REFUSALS["ignores ranges"], REFUSALS["another offset"]]

    def refuse(request, wanted):
        if wanted is None or chance.random() > 0.2:
            return None
        return chance.choice(odd)(wanted)

    server.refuse, server.cuts = refuse, AnyCuts(chance)
    server.rate = 4 * SIZE

    async def meanwhile(spider, handle):
        (record,) = handle.records
        for _ in range(4):
            least = chance.randrange(SIZE)
            await until(lambda: record.downloaded >= least or handle.result)  # noqa: B023
            if handle.result or record.state == "settled":
                return
            try:
                await handle.pause()
                await handle.resume()
            except InvalidStateError as error:  # it may end in between
                assert "has ended already" in str(error)  # noqa: PT017
                return

    more = {"BGFETCH_RESTARTS": 10**6, "BGFETCH_RESUMPTIONS": 10**6}
    assert whole(await crawled(meanwhile, **more))
