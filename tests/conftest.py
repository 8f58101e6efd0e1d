"""Both modes: asyncio reactor with ``--reactor=asyncio``, otherwise no reactor."""

from __future__ import annotations

import inspect
from functools import partial

import hypothesis
import pytest
import scrapy
from scrapy.utils.defer import deferred_from_coro

from tests.support.crawl import Probe, run, settings_of
from tests.support.crawl_process import Crawl
from tests.support.grouped import Grouped
from tests.support.raw import Raw
from tests.support.site import Site

# A busy machine is slow, which is no fault of what is tested.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def with_reactor(config: pytest.Config) -> bool:
    return config.getoption("--reactor", default=None) == "asyncio"


def pytest_report_header(config: pytest.Config) -> str:
    mode = "asyncio reactor" if with_reactor(config) else "no reactor"
    return f"scrapy-bgfetch: Scrapy {scrapy.__version__}, {mode}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "process" in getattr(item, "fixturenames", ()):
            item.add_marker("process")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem) -> bool | None:
    if not with_reactor(pyfuncitem.config):
        return None
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    import pytest_twisted  # noqa: PLC0415 - it installs the reactor

    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pytest_twisted.blockon(deferred_from_coro(pyfuncitem.obj(**arguments)))
    return True


@pytest.fixture
def site():
    server = Site().start()
    yield server
    server.stop()


@pytest.fixture
def raw():
    server = Raw().start()
    yield server
    server.stop()


@pytest.fixture
def settings(tmp_path):
    return partial(settings_of, tmp_path)


@pytest.fixture
def fetched(probe):
    """Fetch in the background, to the end; return the registration."""

    async def fetch(requests, *, options=None, page="/page", **settings):
        async def go(spider, response):
            fetch = spider.background_fetch.fetch
            handle = await fetch("a", requests, base_url=response, **(options or {}))
            spider.handle = await handle.settled()

        return (await probe(go, page=page, **settings)).handle

    return fetch


@pytest.fixture
def probe(site, tmp_path):
    """Run ``go(spider, response)`` inside of a crawl; return the spider."""

    async def start(go, page="/page", **settings):
        return await run(
            Probe, settings_of(tmp_path, **settings), page=site.url(page), go=go
        )

    return start


@pytest.fixture
def crawl(site, settings):
    """Run ``go(spider, response)`` in a spider of grouped requests."""

    async def start(go, spidercls=Grouped, **more):
        return await run(spidercls, settings(**more), page=site.url("/page"), go=go)

    return start


@pytest.fixture
def process(tmp_path):
    """A crawl in a process of its own."""
    crawls = []

    def make(**settings):
        crawls.append(Crawl(tmp_path, **settings))
        return crawls[-1]

    yield make
    for started in crawls:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()
