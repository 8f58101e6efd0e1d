"""Plug-ins in real crawls: found, made, isolated, disabled."""

from __future__ import annotations

import logging
import sys

import pytest

from scrapy_bgfetch import (
    hookimpl,
)
from tests.support.plugins import Recorder, fetching, stats_of


class Bad:
    """Fails in every hook that may not refuse."""

    @hookimpl(tryfirst=True)
    def bgfetch_file_name(self):
        raise RuntimeError("bad in file_name")

    @hookimpl(tryfirst=True)
    async def bgfetch_record_settled(self):
        raise RuntimeError("bad in record_settled")

    @hookimpl(tryfirst=True)
    def bgfetch_settled(self):
        raise RuntimeError("bad in settled")


async def test_a_plug_in_that_fails_is_logged_and_counted_and_stops_no_other(
    probe, caplog
):
    plugin = Recorder()
    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[plugin, Bad])
    assert spider.handle.result == "success"
    assert spider.handle.records[0].path.name == "x"
    assert plugin.names()[-3:] == ["file_name", "record_settled", "settled"]
    name = f"{__name__}.Bad"
    assert stats_of(spider)["bgfetch/plugin_errors"] == 3
    assert stats_of(spider)[f"bgfetch/plugin_errors/{name}"] == 3
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(errors) == 3
    assert all(name in error for error in errors)


class Unmakeable:
    """Cannot be made."""

    def __init__(self):
        raise RuntimeError("cannot be made")


class Unknown:
    """Implements a hook that there is not."""

    @hookimpl
    def bgfetch_no_such_hook(self):
        """Never called."""


@pytest.mark.parametrize(
    ("bad", "name", "said"),
    [
        ("no_such_package.Plugin", "no_such_package.Plugin", "no_such_package"),
        (f"{__name__}.NoSuchClass", f"{__name__}.NoSuchClass", "NoSuchClass"),
        (Unmakeable, f"{__name__}.Unmakeable", "cannot be made"),
        (Unknown, f"{__name__}.Unknown", "bgfetch_no_such_hook"),
    ],
)
async def test_a_plug_in_that_cannot_be_loaded_is_logged_and_counted(
    probe, caplog, bad, name, said
):
    plugin = Recorder()
    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[bad, plugin])
    assert spider.handle.result == "success"
    assert plugin.names()[-1] == "settled"
    assert stats_of(spider)[f"bgfetch/plugin_errors/{name}"] == 1
    assert name in caplog.text
    assert said in caplog.text


class FromCrawler(Recorder):
    """A plug-in as Scrapy's components are made."""

    made: list[FromCrawler] = []  # noqa: RUF012

    @classmethod
    def from_crawler(cls, crawler):
        plugin = cls()
        plugin.crawler = crawler
        cls.made.append(plugin)
        return plugin


@pytest.mark.parametrize("by", ["class", "path", "comma"])
async def test_classes_and_import_paths_are_made_with_from_crawler(probe, by):
    FromCrawler.made.clear()
    path = f"{__name__}.FromCrawler"
    plugins = {"class": [FromCrawler], "path": [path], "comma": f"{path},"}[by]
    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=plugins)
    (plugin,) = FromCrawler.made
    assert plugin.crawler is spider.crawler
    assert plugin.names()[-1] == "settled"


@pytest.mark.parametrize("by", ["class", "path", "object"])
async def test_disabled_plug_ins_are_not_loaded(probe, by):
    path = f"{__name__}.Bad"
    plugin = {"class": Bad, "path": path, "object": Bad()}[by]
    spider = await probe(
        fetching("/file/x"),
        BGFETCH_PLUGINS=[plugin],
        BGFETCH_DISABLED_PLUGINS=[path],
    )
    assert "bgfetch/plugin_errors" not in stats_of(spider)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution with two entry points, one of them broken."""
    folder = tmp_path / "site-packages"
    info = folder / "bgfetch_test_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: bgfetch-test-plugin\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(
        "[scrapy_bgfetch]\n"
        "shouting = bgfetch_test_plugin:Shouting\n"
        "broken = bgfetch_test_plugin_missing:Plugin\n"
    )
    (folder / "bgfetch_test_plugin.py").write_text(
        "from scrapy_bgfetch import hookimpl\n"
        "class Shouting:\n"
        "    @hookimpl\n"
        "    def bgfetch_file_name(self, record):\n"
        "        return 'SHOUTING'\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("bgfetch_test_plugin", None)


async def test_installed_plug_ins_are_found_by_their_entry_points(
    probe, installed, caplog
):
    spider = await probe(fetching("/file/x"))
    assert spider.handle.records[0].path.name == "SHOUTING"
    assert stats_of(spider)["bgfetch/plugin_errors/broken"] == 1
    assert "The plug-in broken could not be loaded" in caplog.text


async def test_installed_plug_ins_can_be_disabled_by_name(probe, installed):
    spider = await probe(
        fetching("/file/x"), BGFETCH_DISABLED_PLUGINS=["shouting", "broken"]
    )
    assert spider.handle.records[0].path.name == "x"
    assert "bgfetch/plugin_errors" not in stats_of(spider)
