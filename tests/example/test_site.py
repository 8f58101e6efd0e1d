"""The demo site behaves like a real one, and exactly so."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import subprocess
import sys
import wave
import zlib
from pathlib import Path

import pytest
from aiohttp import ClientSession
from podcast.items import NAMESPACES, read_episode
from podcast.site.episodes import EPISODES, LYING_LENGTH, build_site
from podcast.site.media import write_audio
from podcast.site.server import start_site
from scrapy.http import XmlResponse
from scrapy.utils.iterators import xmliter_lxml

PROJECT = Path(__file__).parents[2] / "example_project"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "site"
    build_site(path)
    return path


@pytest.fixture
async def site(folder):
    runner, base = await start_site(folder)
    async with ClientSession(base, auto_decompress=False) as session:
        yield session
    await runner.cleanup()


@pytest.fixture
def audio(folder):
    return (folder / "episode-05.wav").read_bytes()


async def get(session, path="/media/episode-05.wav", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with session.get(path, headers=fields, allow_redirects=False) as response:
        return response, await response.read()


def test_the_site_has_about_200_mb_in_some_dozens_of_files(folder):
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert len(sizes) == 35
    assert 190_000_000 < sum(sizes) < 225_000_000


def test_audio_is_playable_and_as_long_as_announced(folder):
    for episode in EPISODES:
        with wave.open(str(folder / f"{episode.slug}.wav")) as audio:
            assert audio.getnframes() / audio.getframerate() == episode.seconds


def test_artwork_is_a_png_whose_pixels_are_complete(folder):
    data = (folder / "episode-03.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    (length,) = struct.unpack(">I", data[33:37])
    assert data[37:41] == b"IDAT"
    assert len(zlib.decompress(data[41 : 41 + length])) == 600 * (1 + 3 * 600)


def test_no_two_seconds_of_audio_are_alike(tmp_path):
    write_audio(tmp_path / "a.wav", 20, seed=1)
    with wave.open(str(tmp_path / "a.wav")) as audio:
        seconds = [audio.readframes(audio.getframerate()) for _ in range(20)]
    assert len(set(seconds)) == 20


def test_the_same_audio_is_made_each_time(folder, tmp_path):
    episode = EPISODES[4]
    write_audio(tmp_path / "again.wav", episode.seconds, episode.number)
    digests = {
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "again.wav", folder / "episode-05.wav")
    }
    assert len(digests) == 1


def test_a_half_made_site_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("podcast.site.episodes.EPISODES", EPISODES[4:5])
    unfinished = tmp_path / "site.unfinished"
    unfinished.mkdir()
    (unfinished / "leftover.wav").write_bytes(b"half")
    build_site(tmp_path / "site")
    assert not unfinished.exists()
    assert not (tmp_path / "site" / "leftover.wav").exists()


async def test_a_whole_file_comes_with_its_validators(site, audio):
    response, body = await get(site)
    assert response.status == 200
    assert body == audio
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["ETag"].startswith('"')
    assert "GMT" in response.headers["Last-Modified"]


@pytest.mark.parametrize(
    ("wanted", "first", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=1000-", 1000, None),
        ("bytes=-500", -500, None),
        ("bytes=10-99999999", 10, None),
    ],
)
async def test_a_range_is_answered_with_206(site, audio, wanted, first, stop):
    response, body = await get(site, Range=wanted)
    assert response.status == 206
    assert body == audio[first:stop]
    start = first % len(audio)
    last = start + len(body) - 1
    expected = f"bytes {start}-{last}/{len(audio)}"
    assert response.headers["Content-Range"] == expected


async def test_a_range_after_the_end_is_answered_with_416(site, audio):
    response, body = await get(site, Range=f"bytes={len(audio)}-")
    assert response.status == 416
    assert body == b""
    assert response.headers["Content-Range"] == f"bytes */{len(audio)}"


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=0-1,5-6", "lines=1-2"])
async def test_a_range_that_cannot_be_served_is_ignored(site, audio, wanted):
    response, body = await get(site, Range=wanted)
    assert (response.status, len(body)) == (200, len(audio))


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
async def test_if_range_with_the_current_validator_gives_206(site, validator):
    whole, _ = await get(site, Range="bytes=0-0")
    current = whole.headers[validator]
    response, body = await get(site, Range="bytes=7-16", If_Range=current)
    assert (response.status, len(body)) == (206, 10)


@pytest.mark.parametrize(
    "validator", ['"another"', 'W/"weak"', "Wed, 01 Jan 2020 00:00:00 GMT"]
)
async def test_if_range_with_another_validator_gives_the_whole(site, audio, validator):
    response, body = await get(site, Range="bytes=7-16", If_Range=validator)
    assert (response.status, body) == (200, audio)


async def test_validators_are_the_same_when_the_site_is_made_again(
    site, tmp_path, monkeypatch
):
    monkeypatch.setattr("podcast.site.episodes.EPISODES", EPISODES[4:5])
    build_site(tmp_path / "again")
    runner, base = await start_site(tmp_path / "again")
    async with ClientSession(base) as session:
        again, _ = await get(session, Range="bytes=0-0")
    await runner.cleanup()
    before, _ = await get(site, Range="bytes=0-0")
    assert again.headers["ETag"] == before.headers["ETag"]


async def test_some_audio_is_behind_a_redirect(site):
    response, _ = await get(site, "/go/episode-05.wav")
    assert response.status == 302
    assert response.headers["Location"] == "/media/episode-05.wav"


@pytest.mark.parametrize(
    "path", ["/media/episode-07.vtt", "/media/..%2Fport", "/media/x.py", "/nothing"]
)
async def test_what_is_not_there_is_answered_with_404(site, path):
    response, _ = await get(site, path)
    assert response.status == 404


async def test_robots_txt_lets_everything_of_the_feed_be_fetched(site):
    response, body = await get(site, "/robots.txt")
    assert response.status == 200
    assert b"Disallow: /private/" in body


async def test_a_client_that_goes_away_leaves_the_site_alive(folder):
    runner, base = await start_site(folder, rate=1_000_000)
    async with ClientSession(base) as session:
        response = await session.get("/media/episode-04.wav")
        await response.content.read(1)
        response.close()
        again, _ = await get(session, "/robots.txt")
    await runner.cleanup()
    assert again.status == 200


async def test_a_connection_is_held_to_its_rate(folder):
    runner, base = await start_site(folder, rate=500_000)
    clock = asyncio.get_running_loop().time
    async with ClientSession(base) as session:
        begun = clock()
        await get(session, Range="bytes=0-299999")
        seconds = clock() - begun
    await runner.cleanup()
    assert seconds >= 0.5


async def read_feed(site):
    response, body = await get(site, "/feed.xml")
    assert response.content_type == "application/rss+xml"
    feed = XmlResponse(str(response.url), body=body, encoding="utf-8")
    return [_with_namespaces(item) for item in xmliter_lxml(feed, "item")]


def _with_namespaces(item):
    for prefix, uri in NAMESPACES:
        item.register_namespace(prefix, uri)
    return item


async def test_the_feed_names_three_files_of_each_episode(site):
    episodes = [read_episode(item) for item in await read_feed(site)]
    assert [episode.id for episode in episodes] == [
        f"episode-{number:02}" for number in range(12, 0, -1)
    ]
    assert all(len(episode.urls) == 3 for episode in episodes)


async def test_all_files_of_the_feed_are_there_but_one_transcript(site):
    missing = []
    for item in await read_feed(site):
        for url in read_episode(item).urls:
            async with site.head(url, allow_redirects=True) as response:
                if response.status == 404:
                    missing.append(url.rpartition("/")[2])
    assert missing == ["episode-07.vtt"]


async def test_every_third_enclosure_redirects(site):
    audio = [read_episode(item).urls[0] for item in await read_feed(site)]
    assert sum("/go/" in url for url in audio) == 4


async def test_the_feed_lies_about_the_size_of_one_episode(site, folder):
    lying = []
    for item in await read_feed(site):
        episode = read_episode(item)
        told = int(item.xpath("enclosure/@length").get())
        real = (folder / f"{episode.id}.wav").stat().st_size
        if told != real:
            lying.append((episode.id, told))
            assert episode.download_total < real
    assert lying == [("episode-10", LYING_LENGTH)]


def launch(data, *options):
    command = [sys.executable, "-m", "podcast.site", "--data", str(data), *options]
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def data(folder, tmp_path):
    (tmp_path / "site").symlink_to(folder, target_is_directory=True)
    return tmp_path


def test_the_site_ends_when_its_stdin_closes_and_keeps_its_port(data):
    feeds = []
    for _ in range(2):
        with launch(data, "--stop-with-stdin") as process:
            feeds.append(process.stdout.readline())
            process.stdin.close()
            assert process.wait(timeout=10) == 0
    assert feeds[0].startswith("http://127.0.0.1:")
    assert feeds[0] == feeds[1]


def test_a_port_that_is_taken_is_said_clearly(data):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (data / "port").write_text(str(port))
        with launch(data, "--stop-with-stdin") as process:
            out, err = process.stdout.read(), process.stderr.read()
            assert process.wait(timeout=30) == 1
    assert out == ""
    assert f"Port {port} of the demo site is taken" in err
    assert "start over: rm -r" in err
