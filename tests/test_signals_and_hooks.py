"""Signals and hooks in real crawls: DESIGN section 1, "Signals" and "Hooks"."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest

from scrapy_bgfetch import (
    BackgroundFetchEvent,
    BackgroundFetchResponse,
    BackgroundFetchUpdateUIEvent,
    hookimpl,
    signals,
)
from scrapy_bgfetch.exceptions import FetchError, NotAllowedError
from tests.support import state
from tests.support.site import body

ENDS = ("success", "fail", "abort")


class Recorder:
    """Notes each call of each hook."""

    def __init__(self):
        self.calls = []

    def __deepcopy__(self, memo):
        return self  # a crawler copies its settings, and the objects in them

    def names(self):
        return [name for name, _ in self.calls]

    def of(self, name):
        return [arguments for called, arguments in self.calls if called == name]

    @hookimpl
    def bgfetch_register(self, registration):
        self.calls.append(("register", (registration,)))

    @hookimpl
    def bgfetch_file_name(self, registration, record, response):
        self.calls.append(("file_name", (registration, record, response)))

    @hookimpl
    def bgfetch_response_started(self, registration, record, response):
        self.calls.append(("response_started", (registration, record, response)))

    @hookimpl
    def bgfetch_record_settled(self, registration, record):
        self.calls.append(("record_settled", (registration, record)))

    @hookimpl
    def bgfetch_settled(self, registration):
        self.calls.append(("settled", (registration,)))


class AsyncRecorder(Recorder):
    """The same with coroutines, which note only at their end."""

    @hookimpl
    async def bgfetch_register(self, registration):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_register(self, registration)

    @hookimpl
    async def bgfetch_file_name(self, registration, record, response):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_file_name(self, registration, record, response)

    @hookimpl
    async def bgfetch_response_started(self, registration, record, response):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_response_started(self, registration, record, response)

    @hookimpl
    async def bgfetch_record_settled(self, registration, record):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_record_settled(self, registration, record)

    @hookimpl
    async def bgfetch_settled(self, registration):
        await asyncio.sleep(0.01)
        Recorder.bgfetch_settled(self, registration)


def fetching(*paths, **options):
    """Return what fetches these paths and waits for the end."""

    async def go(spider, response):
        spider.handle = await spider.background_fetch.fetch(
            "a", paths, base_url=response, **options
        )
        await spider.handle.settled()

    return go


def stats_of(spider):
    return spider.crawler.stats.get_stats()


# -- signals -----------------------------------------------------------------------


async def test_each_signal_has_its_keyword_arguments(probe):
    spider = await probe(fetching("/slow/x?size=100000&rate=400000", "/file/y"))
    expected = {
        "registered": {"spider"},
        "progress": {"spider"},
        "record_settled": {"spider", "record"},
        "success": {"spider", "event"},
    }
    assert set(spider.names()) == set(expected)
    for name, registration, kwargs in spider.events:
        assert registration is spider.handle
        assert set(kwargs) - {"sender"} == expected[name]
        assert kwargs["spider"] is spider


async def test_the_record_of_its_signal_has_ended(probe):
    spider = await probe(fetching("/file/x", "/status/404"))
    records = [
        kwargs["record"] for name, _, kwargs in spider.events if "record" in kwargs
    ]
    assert {
        (record.url.rpartition("/")[2], record.failure_reason) for record in records
    } == {
        ("x", ""),
        ("404", "bad-status"),
    }
    assert all(record.state == "settled" for record in records)


@pytest.mark.parametrize(
    ("paths", "options", "end", "kind"),
    [
        (["/file/x"], {}, "success", BackgroundFetchUpdateUIEvent),
        (["/file/x", "/status/500"], {}, "fail", BackgroundFetchUpdateUIEvent),
        (["/file/x"], {"download_total": 10}, "fail", BackgroundFetchUpdateUIEvent),
    ],
)
async def test_exactly_one_terminal_signal_is_sent_after_all_others(
    probe, paths, options, end, kind
):
    """Behaviours 35, 36, 37."""
    spider = await probe(fetching(*paths, **options), BGFETCH_RESUMPTIONS=1)
    assert [name for name in spider.names() if name in ENDS] == [end]
    assert spider.names()[-1] == end
    event = spider.events[-1][2]["event"]
    assert type(event) is kind
    assert event.type == f"backgroundfetch{end}"
    assert event.registration is spider.handle
    assert not event.active


async def test_the_abort_event_cannot_update_the_ui(probe):
    """Behaviour 37."""

    async def go(spider, response):
        handle = await spider.background_fetch.fetch(
            "a", "/slow/x?size=5000000", base_url=response
        )
        await handle.records[0].response_ready
        await handle.abort()
        await handle.settled()

    spider = await probe(go)
    assert [name for name in spider.names() if name in ENDS] == ["abort"]
    event = spider.events[-1][2]["event"]
    assert type(event) is BackgroundFetchEvent
    assert event.type == "backgroundfetchabort"


async def test_async_handlers_are_awaited_before_the_records_are_closed(probe):
    """Behaviour 38."""
    done = []

    async def go(spider, response):
        async def on_success(registration, event):
            await asyncio.sleep(0.1)
            done.append((event.active, await registration.match("/file/x") is not None))

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        await fetching("/file/x")(spider, response)

    spider = await probe(go)
    assert done == [(True, True)]
    assert not spider.handle.records_available


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_handler_that_raises_stops_no_other(probe, caplog, asynchronous):
    names = [name for name in vars(signals) if name.startswith("bgfetch_")]

    async def go(spider, response):
        def bad(signal, registration):
            raise RuntimeError("a bad handler")

        async def bad_async(signal, registration):
            raise RuntimeError("a bad handler")

        spider.bad = bad_async if asynchronous else bad
        for name in names:
            spider.crawler.signals.connect(spider.bad, getattr(signals, name))
        await fetching("/file/x")(spider, response)

    with caplog.at_level(logging.ERROR):
        spider = await probe(go)
    assert spider.names("progress") == ["registered", "record_settled", "success"]
    assert not spider.handle.records_available
    assert "a bad handler" in caplog.text


async def test_a_progress_listener_that_raises_stops_no_other(probe, caplog):
    heard = []

    async def go(spider, response):
        handle = await spider.background_fetch.fetch("a", "/slow/x", base_url=response)

        def bad(event):
            raise RuntimeError("a bad listener")

        handle.add_event_listener("progress", bad)
        handle.add_event_listener("progress", heard.append)

    spider = await probe(go)
    assert heard[-1].registration.downloaded == 1000
    assert "a bad listener" in caplog.text
    assert spider.names()[-1] == "success"


async def test_there_is_a_stat_for_each_event(probe):
    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        good = await fetch("a", ["/file/1", "/file/2"], base_url=response)
        bad = await fetch("b", ["/file/3", "/status/404"], base_url=response)
        slow = await fetch("c", "/slow/x?size=5000000", base_url=response)
        await good.settled()
        await bad.settled()
        await slow.abort()

    spider = await probe(go)
    stats = stats_of(spider)
    assert {
        name: value
        for name, value in stats.items()
        if name.startswith("bgfetch/") and not name.endswith(("wire_bytes", "progress"))
    } == {
        "bgfetch/registered": 3,
        "bgfetch/record_settled": 5,
        "bgfetch/record_settled/success": 3,
        "bgfetch/record_settled/bad-status": 1,
        "bgfetch/record_settled/aborted": 1,
        "bgfetch/downloaded_bytes": 3000,
        "bgfetch/success": 1,
        "bgfetch/fail": 1,
        "bgfetch/abort": 1,
    }
    assert stats["bgfetch/progress"] == spider.names().count("progress")
    assert stats["bgfetch/wire_bytes"] >= 3000


# -- hooks -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Recorder, AsyncRecorder])
async def test_each_hook_is_called_with_its_arguments(probe, kind):
    plugin = kind()
    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[plugin])
    assert plugin.names() == [
        "register",
        "response_started",
        "file_name",
        "record_settled",
        "settled",
    ]
    for _, (registration, *_rest) in plugin.calls:
        assert registration is spider.handle
    for name in ("response_started", "file_name"):
        ((_, record, response),) = plugin.of(name)
        assert record.url == response.url
        assert isinstance(response, BackgroundFetchResponse)
        assert response.headers["ETag"] == b'"x"'
    ((_, record),) = plugin.of("record_settled")
    assert record.path.read_bytes() == body("x", 1000)


async def test_the_settled_hook_comes_after_the_signal(probe):
    order = []

    class Last:
        @hookimpl
        def bgfetch_settled(self, registration):
            order.append("hook")

    async def go(spider, response):
        async def on_success(registration):
            await asyncio.sleep(0.05)
            order.append("signal")

        spider.on_success = on_success
        spider.crawler.signals.connect(on_success, signals.bgfetch_success)
        await fetching("/file/x")(spider, response)

    await probe(go, BGFETCH_PLUGINS=[Last()])
    assert order == ["signal", "hook"]


async def test_the_first_answer_names_the_file(probe):
    asked = []

    class Silent:
        @hookimpl
        def bgfetch_file_name(self, record):
            asked.append("silent")

    class Names:
        @hookimpl
        async def bgfetch_file_name(self, record):
            asked.append("names")
            return f"audio/{record.index}.mp3"

    class Late:
        @hookimpl(trylast=True)
        def bgfetch_file_name(self, record):
            asked.append("late")
            return "late"

    spider = await probe(
        fetching("/file/x"), BGFETCH_PLUGINS=[Late(), Names(), Silent()]
    )
    assert spider.handle.records[0].path.parts[-2:] == ("audio", "0.mp3")
    assert asked == ["silent", "names"]


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a/../../../escape"])
async def test_a_name_that_leads_out_of_its_folder_is_made_safe(probe, tmp_path, name):
    class Names:
        @hookimpl
        def bgfetch_file_name(self):
            return name

    spider = await probe(fetching("/file/x"), BGFETCH_PLUGINS=[Names()])
    path = spider.handle.records[0].path.resolve()
    assert (tmp_path / "bgfetch" / "files").resolve() in path.parents
    assert path.read_bytes() == body("x", 1000)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_plug_in_may_veto_a_background_fetch(
    probe, site, tmp_path, asynchronous
):
    """Behaviour 14: nothing is stored, nothing is asked for."""

    class Veto:
        @hookimpl
        def bgfetch_register(self, registration):
            raise ValueError(f"no {registration.id} on Sundays")

    class AsyncVeto:
        @hookimpl
        async def bgfetch_register(self, registration):
            raise ValueError(f"no {registration.id} on Sundays")

    async def go(spider, response):
        fetch = spider.background_fetch.fetch
        with pytest.raises(NotAllowedError, match="no a on Sundays") as caught:
            await fetch("a", "/file/x", base_url=response)
        assert "Veto" in str(caught.value)
        assert await spider.background_fetch.get_ids() == []

    plugin = AsyncVeto() if asynchronous else Veto()
    spider = await probe(go, BGFETCH_PLUGINS=[plugin])
    assert spider.events == []
    assert state.ids(tmp_path) == []
    assert site.of("/file/x") == []
    assert not any(name.startswith("bgfetch/") for name in stats_of(spider))


async def test_a_plug_in_may_refuse_a_body(probe, tmp_path):
    class Refuses:
        @hookimpl
        def bgfetch_response_started(self, record, response):
            if response.headers["ETag"] == b'"bad"':
                raise ValueError("this is no audio")

    spider = await probe(
        fetching("/file/bad", "/file/good"), BGFETCH_PLUGINS=[Refuses()]
    )
    bad, good = spider.handle.records
    assert (bad.failure_reason, good.failure_reason) == ("fetch-error", "")
    assert "Refuses" in bad.error
    assert "this is no audio" in bad.error
    assert bad.path is None
    assert isinstance(bad.failure(), FetchError)
    assert spider.handle.failure_reason == "fetch-error"
    assert spider.handle.downloaded == 1000
    assert len(state.files(tmp_path)) == 1


# -- plug-ins ----------------------------------------------------------------------


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
