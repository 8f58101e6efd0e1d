"""Broken settings, folders and state end the spider at once, with one clear line."""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from contextlib import closing

import pytest

from scrapy_bgfetch.exceptions import SettingsError, StoreError
from tests.support.alone import crawl_alone

BAD_SETTINGS = [
    ("BGFETCH_CONCURRENT_RECORDS", "x", "a whole number, 1 or more"),
    ("BGFETCH_CONCURRENT_RECORDS", 0, "a whole number, 1 or more"),
    ("BGFETCH_CONCURRENT_RECORDS", 1.5, "a whole number, 1 or more"),
    ("BGFETCH_CONCURRENT_RECORDS", True, "a whole number, 1 or more"),
    ("BGFETCH_QUOTA", "-1", "a whole number, 0 or more"),
    ("BGFETCH_STALL_TIMEOUT", "soon", "a number of seconds greater than 0"),
    ("BGFETCH_PROGRESS_INTERVAL", 0, "a number of seconds greater than 0"),
    ("BGFETCH_RETRY_DELAY", float("inf"), "a number of seconds greater than 0"),
    ("BGFETCH_STORE_CREDENTIALS", "maybe", "True or False"),
    ("BGFETCH_DIR", 5, "the path of a folder"),
    ("BGFETCH_PLUGINS", 5, "a list of import paths or objects"),
    ("BGFETCH_DISABLED_PLUGINS", [5], "a list of plug-in names"),
    ("BGFETCH_ON_FULL", "wait", '"fail" or "pause"'),
    ("BGFETCH_ON_CLOSE", True, '"wait" or "suspend"'),
    ("BGFETCH_DURABILITY", "disk", '"process" or "power"'),
    ("BGFETCH_RESUME_WITHOUT_VALIDATOR", "yes", '"verify-tail" or "restart" or'),
    ("BGFETCH_FALLBACK_HANDLERS", "x", "a dict from URL schemes to"),
]


@pytest.fixture
def ends_at_once(probe, site, caplog):
    """Run a spider whose set-up is broken; return its one line of error."""

    async def crawl(error, **settings):
        async def go(spider, response):
            raise AssertionError("the spider went on")

        spider = await probe(go, **settings)
        assert site.paths() == []
        reason = spider.crawler.stats.get_value("finish_reason")
        assert reason == "bgfetch_error"
        with pytest.raises(error) as caught:
            await spider.background_fetch.fetch("a", site.url("/file/x"))
        assert "Traceback" not in caplog.text
        [line] = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert str(caught.value) in line.getMessage()
        return line.getMessage()

    return crawl


@pytest.mark.parametrize(("name", "value", "wanted"), BAD_SETTINGS)
async def test_a_setting_that_cannot_be_used(ends_at_once, name, value, wanted):
    line = await ends_at_once(SettingsError, **{name: value})
    said = f"the setting {name} = {value!r} cannot be used: it must be {wanted}"
    assert said in line


async def test_a_checksum_that_nobody_knows(ends_at_once):
    line = await ends_at_once(SettingsError, BGFETCH_CHECKSUM="crc32")
    assert "BGFETCH_CHECKSUM = 'crc32' cannot be used" in line
    assert "sha256" in line


async def test_a_file_where_the_folder_should_be(ends_at_once, tmp_path):
    (tmp_path / "file").write_text("I was here first")
    line = await ends_at_once(StoreError, BGFETCH_DIR=str(tmp_path / "file"))
    assert f"{tmp_path / 'file' / 'parts'} cannot be created" in line
    assert "Set BGFETCH_DIR" in line
    assert (tmp_path / "file").read_text() == "I was here first"


async def test_a_folder_where_the_state_should_be(ends_at_once, tmp_path):
    (tmp_path / "bgfetch" / "state.sqlite").mkdir(parents=True)
    line = await ends_at_once(StoreError)
    assert "is a directory: point BGFETCH_DIR elsewhere" in line


async def test_a_state_file_that_is_garbage(ends_at_once, tmp_path):
    """Behaviour 206."""
    path = tmp_path / "bgfetch" / "state.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)
    line = await ends_at_once(StoreError)
    assert str(path) in line
    assert path.read_bytes() == b"garbage" * 1000


async def test_a_state_of_a_newer_schema_version(ends_at_once, probe, site, tmp_path):
    async def nothing(spider, response):
        pass

    await probe(nothing)
    site.seen.clear()
    with closing(sqlite3.connect(tmp_path / "bgfetch" / "state.sqlite")) as con:
        con.execute("PRAGMA user_version = 99")
    line = await ends_at_once(StoreError)
    assert "schema version 99" in line
    assert "upgrade scrapy-bgfetch, or point BGFETCH_DIR elsewhere" in line


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK), reason="there is no second file system"
)
async def test_settled_files_on_another_file_system(ends_at_once):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        line = await ends_at_once(StoreError, BGFETCH_FILES_STORE=elsewhere)
    assert "is on another file system" in line
    assert "put BGFETCH_FILES_STORE on the file system of BGFETCH_DIR" in line


@pytest.mark.parametrize(
    ("folders", "locked", "message"),
    [
        ("", "", "parts cannot be created: Permission denied. Set BGFETCH_DIR"),
        ("parts", "parts", "parts cannot be written by this user. Change its mode"),
        ("parts files", "", "cannot be locked: Permission denied"),
    ],
)
def test_a_folder_that_may_not_be_written(site, tmp_path, folders, locked, message):
    for name in folders.split():
        (tmp_path / name).mkdir()
    (tmp_path / locked).chmod(0o555)
    settings = {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_DIR": str(tmp_path),
        "PAGES": site.url("/page"),
    }
    log = crawl_alone(settings, powerless=True).stderr
    (tmp_path / locked).chmod(0o755)
    assert "Traceback" not in log
    assert log.count("ERROR:") == 1
    assert message in log
    assert "Spider closed (bgfetch_error)" in log
    assert site.paths() == []


def test_a_reactor_that_is_not_asyncio(site, tmp_path):
    settings = {
        "ADDONS": {"scrapy_bgfetch.Addon": 500},
        "BGFETCH_DIR": str(tmp_path),
        "TWISTED_REACTOR": "twisted.internet.selectreactor.SelectReactor",
        "PAGES": site.url("/page"),
    }
    log = crawl_alone(settings).stderr
    assert "Traceback" not in log
    assert "scrapy-bgfetch works on asyncio: set TWISTED_REACTOR" in log
    assert "asyncioreactor.AsyncioSelectorReactor" in log
    assert "TWISTED_REACTOR_ENABLED = False" in log
    assert "add it to EXTENSIONS" not in log
    assert f"parsed {site.url('/page')}" in log
    assert site.paths() == ["/page"]
