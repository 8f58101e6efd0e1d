"""What people see who use it otherwise than intended: words, and no tracebacks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from scrapy import Request

from scrapy_bgfetch.exceptions import BadRequestError, SuspendedError


@pytest.mark.parametrize("reactor", [True, False])
def test_the_scrapy_shell_works(site, tmp_path, reactor):
    command = [sys.executable, "-m", "scrapy", "shell", site.url("/page")]
    command += ["-c", "response.status", "--loglevel=WARNING"]
    command += ["-s", f"TWISTED_REACTOR_ENABLED={reactor}"]
    (tmp_path / "settings_here.py").write_text(
        'ADDONS = {"scrapy_bgfetch.Addon": 500}\nTELNETCONSOLE_ENABLED = False\n'
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "SCRAPY_SETTINGS_MODULE": "settings_here",
    }
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["200"], done.stderr
    assert "Traceback" not in done.stderr


async def test_a_callback_that_waits_ends_quietly_when_the_spider_closes(probe, caplog):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=9000000", base_url=response
        )
        await handle.records[0].response_ready
        closing = spider.crawler.engine.close_spider_async(reason="enough")
        spider.closing = asyncio.ensure_future(closing)
        await handle.settled()

    with pytest.raises(SuspendedError, match="goes on when the spider is started"):
        await probe(go)
    assert "Traceback" not in caplog.text
    assert "Spider error" not in caplog.text


async def test_waiting_for_a_group_that_ends_when_idle_warns(probe, site, caplog):
    async def go(spider, response):
        handles = []
        request = Request(
            site.url("/file/x"), callback=spider.keep, meta={"bgfetch": "open"}
        )
        spider.crawler.engine.crawl(request)
        while not handles:
            await asyncio.sleep(0.01)
            handles = [h for _, h, _ in spider.events]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(handles[0].settled(), 0.1)

    await probe(go)
    assert "which says no number of requests" in caplog.text


async def test_a_listener_must_be_callable(probe):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/file/x", base_url=response)
        with pytest.raises(BadRequestError, match="must be callable"):
            handle.add_event_listener("progress", 5)

    await probe(go)


MESSAGES = [
    ("/status/404", "answered 404. Check the URL"),
    ("/status/403", "answered 403. It wants credentials"),
    (
        "/status/503",
        "answered 503. No try is left: start again later, or raise BGFETCH",
    ),
    ("http://127.0.0.1:1/x", "cannot connect to 127.0.0.1:1: "),
    ("http://no-such-host.invalid/x", "no-such-host.invalid cannot be resolved"),
]


@pytest.mark.parametrize(("url", "words"), MESSAGES)
async def test_a_failure_says_what_happened_and_what_to_do(probe, url, words):
    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", url, base_url=response)
        await handle.settled()
        spider.failure = str(handle.records[0].failure())

    failure = (await probe(go, BGFETCH_RESUMPTIONS=1)).failure
    assert words in failure
    assert failure.count("http://") == 1
    assert "object at" not in failure
