"""The spiders of the docs run, word for word, against sites made up here.

Their pages are on hosts that don't exist; a local server answers for them as the
HTTP proxy of the crawl.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from aiohttp import web

DOCS = Path(__file__).parents[2] / "docs"
SNIPPETS = DOCS / "snippets"
AUDIO = bytes(range(256)) * 12 * 1024
ARTWORK = b"\x89PNG" + bytes(1000)
PAGES = {
    ("books.toscrape.com", "/"): '<p class="product_pod"><img src="media/a.jpg"></p>'
    '<p class="product_pod"><img src="media/b.jpg"></p>',
    ("podcast.example", "/ep-5"): '<h1>Episode 5</h1><a class="page" href="/about">'
    '<a class="file" href="/ep-5.mp3"><a class="file" href="ep-5-artwork.jpg">',
    ("podcast.example", "/about"): "About",
    ("podcast.example", "/log-in"): "<!DOCTYPE html><h1>Log in</h1>",
    ("podcast.example", "/SHA256SUMS"): "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        for name, data in (
            ("ep-5.mp3", AUDIO),
            ("ep-5-artwork.jpg", b"another"),
            ("log-in", b"<!DOCTYPE html><h1>Log in</h1>"),
        )
    ),
}
FILES = {
    ("books.toscrape.com", "/media/a.jpg"): ARTWORK,
    ("books.toscrape.com", "/media/b.jpg"): ARTWORK,
    ("podcast.example", "/ep-5.mp3"): AUDIO,
    ("podcast.example", "/ep-5-artwork.jpg"): ARTWORK,
}


class Proxy:
    """The server; with ``stops`` bodies end half-way, until the client goes."""

    def __init__(self) -> None:
        self.stops = False
        self.missing: set[str] = set()
        self.ranges: list[str] = []
        self.taken: dict[str, bytes] = {}
        self.conditions: list[str | None] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        app.router.add_put("/store/{name}", self._take)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        place = (request.host, request.path)
        if place in PAGES:
            return web.Response(text=PAGES[place], content_type="text/html")
        if place not in FILES or request.path in self.missing:
            raise web.HTTPNotFound
        return await self._file(request, FILES[place])

    async def _take(self, request: web.Request) -> web.Response:
        self.taken[request.match_info["name"]] = await request.read()
        return web.Response(status=201)

    async def _file(self, request: web.Request, data: bytes) -> web.StreamResponse:
        kind = "audio/mpeg" if data is AUDIO else "image/jpeg"
        headers = {"ETag": '"v1"', "Content-Type": kind}
        self.conditions.append(request.headers.get("If-None-Match"))
        if self.conditions[-1] == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        start = request.http_range.start or 0
        if start:
            self.ranges.append(request.headers["Range"])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        headers["Content-Length"] = str(len(data) - start)
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        end = len(data) // 2 if self.stops else len(data)
        await response.write(data[start:end])
        while self.stops:
            await asyncio.sleep(0.05)
        return response


@pytest.fixture
def proxy():
    server = Proxy().start()
    yield server
    server.stop()


def start(
    snippet: str, folder: Path, proxy: Proxy, *more: str
) -> subprocess.Popen[bytes]:
    """Start a spider of the docs as its reader would."""
    command = [sys.executable, "-m", "scrapy", "runspider", str(SNIPPETS / snippet)]
    command += ["-O", "items.json", *more]
    environment = {**os.environ, "http_proxy": proxy.url, "no_proxy": ""}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stderr=log)


def run(snippet: str, folder: Path, proxy: Proxy, *more: str) -> list[dict]:
    """Run a spider of the docs; return its items."""
    process = start(snippet, folder, proxy, *more)
    try:
        assert process.wait(60) == 0
    finally:
        process.kill()
    log = (folder / "log").read_text()
    assert "ERROR" not in log, log
    with suppress(ValueError):
        return json.loads((folder / "items.json").read_text())
    return []


def settled(folder: Path, spider: str) -> dict[str, bytes]:
    """Return the settled files of a spider, by their names."""
    files = folder / ".scrapy" / "bgfetch" / spider / "files"
    found = (path for path in files.rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.parametrize("path", sorted(SNIPPETS.glob("*.py")), ids=lambda p: p.name)
def test_every_snippet_is_shown_in_the_docs_and_run_here(path):
    pages = "".join(page.read_text() for page in DOCS.rglob("*.rst"))
    assert f"snippets/{path.name}" in pages
    assert f'"{path.name}"' in Path(__file__).read_text()


def test_getting_started_downloads_the_covers(tmp_path, proxy):
    run("getting_started.py", tmp_path, proxy)
    assert settled(tmp_path, "covers") == {"a.jpg": ARTWORK, "b.jpg": ARTWORK}


def test_grouped_requests_come_back_to_callback_and_errback(tmp_path, proxy):
    proxy.missing.add("/ep-5-artwork.jpg")
    items = run("group_requests.py", tmp_path, proxy)
    by_url = {item.pop("url"): item for item in items}
    audio = by_url["http://podcast.example/ep-5.mp3"]
    assert Path(audio["path"]).name == "ep-5.mp3"
    assert audio["bytes"] == len(AUDIO)
    failed = by_url["http://podcast.example/ep-5-artwork.jpg"]
    assert failed["error"] == "BadStatus"
    assert "answered 404" in failed["why"]


def test_the_budget_ends_the_group(tmp_path, proxy):
    items = run("budget.py", tmp_path, proxy)
    reasons = {item["url"].rpartition("/")[2]: item["reason"] for item in items}
    assert reasons["ep-5.mp3"] == "download-total-exceeded"
    assert "ep-5 needs more than 1048576 bytes" in (tmp_path / "log").read_text()


def test_a_killed_crawl_goes_on_where_it_was(tmp_path, proxy):
    proxy.stops = True
    process = start("resume.py", tmp_path, proxy)
    try:
        wait_for_bytes(tmp_path / ".scrapy/bgfetch/resume/state.sqlite")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    proxy.stops = False
    [item] = run("resume.py", tmp_path, proxy)
    assert item["result"] == "success"
    assert f"bytes={len(AUDIO) // 2}-" in proxy.ranges
    assert settled(tmp_path, "resume")["ep-5.mp3"] == AUDIO


def wait_for_bytes(state: Path) -> None:
    """Wait until the state has all the bytes that the server gave of the audio."""
    query = "SELECT max(stored) FROM records"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if stored_bytes(state, query) == len(AUDIO) // 2:
            return
        time.sleep(0.05)
    pytest.fail("nothing arrived")


def stored_bytes(state: Path, query: str) -> int:
    try:
        with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as con:
            return con.execute(query).fetchone()[0] or 0
    except sqlite3.OperationalError:  # the state is not there yet
        return 0


def test_a_daily_spider_fetches_what_is_new_only(tmp_path, proxy):
    first = run("fetch_again.py", tmp_path, proxy)
    assert proxy.conditions == [None, None]
    assert run("fetch_again.py", tmp_path, proxy) == first
    assert proxy.conditions == [None, None]
    later = run("fetch_again.py", tmp_path, proxy, "-a", "fresh_for=0")
    assert proxy.conditions == [None, None, '"v1"', '"v1"']
    assert later == [{**item, "not_modified": True} for item in first]
    assert settled(tmp_path, "daily")["ep-5.mp3"] == AUDIO


def test_a_body_is_read_while_it_arrives(tmp_path, proxy):
    [item] = run("read_body.py", tmp_path, proxy)
    assert item["sha256"] == hashlib.sha256(AUDIO).hexdigest()
    assert (tmp_path / item["path"]).read_bytes() == AUDIO


def test_the_plugin_sorts_files_refuses_pages_and_writes_checksums(tmp_path, proxy):
    items = run("checksum_plugin.py", tmp_path, proxy)
    reasons = {item["url"].rpartition("/")[2]: item["reason"] for item in items}
    assert reasons == {"ep-5.mp3": "", "ep-5-artwork.jpg": "", "about": "fetch-error"}
    [audio] = [item for item in items if item["url"].endswith(".mp3")]
    checksum = tmp_path / f"{audio['path']}.sha256"
    assert checksum.parent.name == "audio"
    assert checksum.read_text() == hashlib.sha256(AUDIO).hexdigest()


def test_only_bytes_with_the_right_checksum_are_published(tmp_path, proxy):
    items = run("check_integrity.py", tmp_path, proxy)
    by_name = {item["url"].rpartition("/")[2]: item for item in items}
    reasons = {name: item["reason"] for name, item in by_name.items()}
    wrong = ("ep-5-artwork.jpg", "log-in")
    assert reasons == {"ep-5.mp3": "", **dict.fromkeys(wrong, "fetch-error")}
    assert by_name["ep-5.mp3"]["sha256"] == hashlib.sha256(AUDIO).hexdigest()
    for data in (ARTWORK, b"another"):
        assert hashlib.sha256(data).hexdigest() in by_name["ep-5-artwork.jpg"]["why"]
    assert "is a web page" in by_name["log-in"]["why"]
    assert settled(tmp_path, "verified") == {"ep-5.mp3": AUDIO}


def test_files_are_uploaded(tmp_path, proxy):
    (tmp_path / "recordings").mkdir()
    files = {"a.mp3": AUDIO[:500_000], "b.mp3": AUDIO[:1000]}
    for name, data in files.items():
        (tmp_path / "recordings" / name).write_bytes(data)
    items = run("upload_files.py", tmp_path, proxy)
    assert proxy.taken == files
    assert [item["sent"] for item in items] == [500_000, 1000]
    assert {item["status"] for item in items} == {201}


def test_moving_from_files_pipeline_gives_the_same_files(tmp_path, proxy):
    [before] = run("files_pipeline_before.py", tmp_path, proxy)
    old = [(tmp_path / "files" / file["path"]).read_bytes() for file in before["files"]]
    [after] = run("files_pipeline_after.py", tmp_path, proxy)
    new = [(tmp_path / file["path"]).read_bytes() for file in after["files"]]
    assert old == new == [AUDIO, ARTWORK]


def test_signals_tell_a_spider_of_the_outcome(tmp_path, proxy):
    run("signals.py", tmp_path, proxy)
    log = (tmp_path / "log").read_text()
    assert log.count("Saved ") == 2
