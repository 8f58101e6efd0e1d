"""Grouped requests that join their group together, in one commit (issue 5)."""

from __future__ import annotations

import asyncio

import pytest

from scrapy_bgfetch.exceptions import BadRequestError, StoreError
from scrapy_bgfetch.store.sqlite import SQLiteStore


@pytest.fixture(autouse=True)
def _all_wait(monkeypatch):
    """Let a group be opened so late that all of its requests wait for that."""
    register = SQLiteStore.register

    async def late(store, *args):
        await asyncio.sleep(0.3)
        return await register(store, *args)

    monkeypatch.setattr(SQLiteStore, "register", late)


@pytest.fixture
def extended(monkeypatch):
    """How many records each statement has added."""
    added, extend = [], SQLiteStore.extend

    async def noted(store, uid, records, *args, **kwargs):
        added.append(len(records))
        return await extend(store, uid, records, *args, **kwargs)

    monkeypatch.setattr(SQLiteStore, "extend", noted)
    return added


async def test_requests_that_wait_for_their_group_join_it_together(crawl, extended):
    async def go(spider, response):
        return [spider.request(response, f"/file/{n}", "a") for n in range(8)]

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.results) == 8
    assert extended == [7]  # the first one has opened it


async def test_one_that_cannot_be_kept_does_not_keep_the_others(crawl):
    async def go(spider, response):
        found = [spider.request(response, f"/file/{n}", "a") for n in range(8)]
        found[5] = found[5].replace(callback=lambda response: None)
        return found

    spider = await crawl(go)
    assert spider.ends() == [("success", "a", "")]
    assert len(spider.handle().records) == 7
    (error,) = spider.failures
    assert isinstance(error, BadRequestError)


async def test_those_beyond_the_number_of_a_group_fail_alone(crawl):
    async def go(spider, response):
        group = {"id": "a", "requests": 5}
        return [spider.request(response, f"/file/{n}", group) for n in range(8)]

    spider = await crawl(go)
    assert ("success", "a", "") in spider.ends()
    errors = spider.failures
    assert len(errors) == 3
    assert "all of its 5 requests" in str(errors[0])


async def test_they_fail_when_the_state_does(crawl, monkeypatch):
    async def failing(*args, **kwargs):
        raise StoreError("no state")

    monkeypatch.setattr(SQLiteStore, "extend", failing)

    async def go(spider, response):
        return [spider.request(response, f"/file/{n}", "a") for n in range(4)]

    spider = await crawl(go)
    errors = spider.failures
    assert [str(error) for error in errors] == ["no state"] * 3
