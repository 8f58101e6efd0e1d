"""Docs and code agree on every setting, meta key, signal, hook, stat and name."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

import scrapy_bgfetch
from scrapy_bgfetch import hookimpl, signals
from scrapy_bgfetch.perform.requests import META_KEY
from scrapy_bgfetch.rules.group_options import GroupOptions
from scrapy_bgfetch.rules.record_options import RECORD_KEYS
from scrapy_bgfetch.settings import Settings
from scrapy_bgfetch.stats import STATS
from tests.support.crawl import Probe, run

ROOT = Path(__file__).parents[2]
PACKAGE = Path(scrapy_bgfetch.__file__).parent
REFERENCE = ROOT / "docs" / "reference"
PROSE = [
    *sorted((ROOT / "docs").rglob("*.rst")),
    *sorted((ROOT / "docs" / "snippets").glob("*.py")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]


def load_generator():
    """Load what makes entries from the code, as the Sphinx extension does."""
    place = ROOT / "docs" / "_ext" / "reference.py"
    spec = importlib.util.spec_from_file_location("bgfetch_reference", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = load_generator()


def page(name: str) -> str:
    """Return a reference page, with the entries that are made from the code."""
    text = (REFERENCE / f"{name}.rst").read_text()
    return re.sub(
        r"^\.\. from-code:: (\w+)$",
        lambda found: generator.TEXTS[found[1]](),
        text,
        flags=re.MULTILINE,
    )


def documented(kind: str, name: str) -> list[str]:
    """Return the names that a reference page has entries for."""
    return re.findall(rf"^ *\.\. {kind}:: ([^\s(]+)", page(name), flags=re.MULTILINE)


def described(kind: str, name: str) -> dict[str, str]:
    """Return the first line of text of each entry of a reference page."""
    entry = (
        rf"^( *)\.\. {kind}:: ([^\s(]+).*\n\n(?:\1   :\w+: .*\n)*\n?\1   ((?!:)\S.*)"
    )
    found = re.findall(entry, page(name), flags=re.MULTILINE)
    return {name: text for _, name, text in found}


def setting_names() -> set[str]:
    return {field.metadata["name"] for field in attrs.fields(Settings)}


def signal_names() -> set[str]:
    return {name for name in vars(signals) if not name.startswith("__")}


def hook_names() -> set[str]:
    return {name for name, _ in generator.hooks()}


def meta_names() -> set[str]:
    keys = {field.name for field in attrs.fields(GroupOptions)} | RECORD_KEYS
    return {META_KEY, *(f'{META_KEY}["{key}"]' for key in keys)}


def stat_names() -> set[str]:
    return {re.sub(r"\{(\w+)\}", r"<\1>", stat.name) for stat in STATS}


AGREEMENTS = [
    ("setting", "settings", setting_names),
    ("signal", "signals", signal_names),
    ("hook", "hooks", hook_names),
    ("reqmeta", "meta", meta_names),
    ("stat", "stats", stat_names),
]


@pytest.mark.parametrize(("kind", "name", "in_code"), AGREEMENTS)
def test_a_reference_page_has_exactly_what_the_code_has(kind, name, in_code):
    assert Counter(documented(kind, name)) == Counter(in_code())


@pytest.mark.parametrize(("kind", "name", "in_code"), AGREEMENTS)
def test_every_entry_is_described_in_words(kind, name, in_code):
    texts = described(kind, name)
    assert set(texts) == in_code()
    assert all(len(text.split()) >= 3 for text in texts.values())


def test_the_api_page_has_exactly_the_public_names():
    text = (REFERENCE / "api.rst").read_text()
    found = re.findall(
        r"^\.\. (?:autoclass|autofunction|data):: (\w+)", text, flags=re.MULTILINE
    )
    assert Counter(found) == Counter(scrapy_bgfetch.__all__)


def strings() -> list[tuple[str, str]]:
    """Return all string constants of the package, with their modules."""
    return [
        (path.name, node.value)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_the_code_reads_no_setting_that_settings_does_not_declare():
    read = {text for _, text in strings() if re.fullmatch("BGFETCH_[A-Z_]+", text)}
    assert read == setting_names()


def test_names_of_stats_are_written_in_the_stats_module_only():
    written = {name for name, text in strings() if text.startswith("bgfetch/")}
    assert written == {"stats.py"}


def test_stats_are_counted_by_their_key_only():
    counted = [
        ast.unparse(call.args[0])
        for path in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and re.fullmatch("(inc|set|max|min)_value", call.func.attr)
    ]
    assert counted
    assert all(re.fullmatch(r"[\w.]+\.key\(.*\)", text) for text in counted), counted


MENTIONS = [
    (r"\bBGFETCH_[A-Z][A-Z_]*\b", setting_names),
    (r"\bbgfetch_[a-z][a-z_]*\b", lambda: signal_names() | hook_names()),
    (r"(?<![\w./<>])bgfetch/[\w/<>{}]+", stat_names),
]


@pytest.mark.parametrize(
    ("pattern", "known"), MENTIONS, ids=["settings", "signals and hooks", "stats"]
)
def test_prose_names_nothing_that_does_not_exist(pattern, known):
    unknown = {
        (path.name, name)
        for path in PROSE
        for name in re.findall(pattern, path.read_text())
        if name not in known()
    }
    assert not unknown


def test_every_make_command_in_prose_is_in_the_makefile():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = {
        target
        for path in PROSE
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", path.read_text())
    }
    assert {"demo", "test", "check"} <= told <= set(targets)


def test_the_readme_shows_the_spider_of_getting_started():
    spider = (ROOT / "docs" / "snippets" / "getting_started.py").read_text()
    assert f"```python\n{spider}```" in (ROOT / "README.md").read_text()


class Grumpy:
    """A plug-in that always fails."""

    @hookimpl
    def bgfetch_settled(self, registration):
        raise RuntimeError("not today")


async def close_half_way(spider, response):
    group = await spider.background_fetch.fetch(
        "later", "/slow/a?size=600000", base_url=response
    )
    await (await group.match("/slow/a?size=600000")).response_ready
    spider.closing = asyncio.ensure_future(
        spider.crawler.engine.close_spider_async(reason="enough")
    )


async def end_in_every_way(spider, response):
    fetch = spider.background_fetch.fetch
    good = await fetch("good", "/file/b", base_url=response)
    bad = await fetch("bad", "/status/404", base_url=response)
    aborted = await fetch("aborted", "/slow/c?size=9000000", base_url=response)
    aborted.onprogress = Grumpy().bgfetch_settled
    await aborted.click()
    await aborted.abort()
    for group in (good, bad, aborted):
        await group.settled()
    again = {"base_url": response, "skip_if_fresh": timedelta(hours=1)}
    assert (await fetch("good", "/file/b", **again)).uid == good.uid
    checked = await fetch("good", "/file/b", base_url=response, revalidate=True)
    await checked.settled()


async def test_a_crawl_counts_exactly_the_stats_that_are_documented(site, settings):
    """Two crawls in which everything happens that is counted."""
    counted = set()
    for go in (close_half_way, end_in_every_way):
        options = settings(BGFETCH_PLUGINS=[Grumpy])
        spider = await run(Probe, options, page=site.url("/page"), go=go)
        counted |= set(spider.crawler.stats.get_stats())
    ours = {name for name in counted if name.startswith("bgfetch/")}
    patterns = {re.sub("<.*?>", ".+", re.escape(name)): name for name in stat_names()}
    by_name = {
        name: next((doc for p, doc in patterns.items() if re.fullmatch(p, name)), None)
        for name in ours
    }
    assert set(by_name.values()) == stat_names(), by_name
