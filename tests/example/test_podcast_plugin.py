"""The example's plug-in: names, durations, manifests."""

from __future__ import annotations

import json
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from podcast_plugins import AudioManifest
from podcast_plugins.audio import audio_name, duration, slug
from podcast_plugins.manifest import (
    build_manifest,
    manifest_path,
    manifests_folder,
    read_manifest,
    write_manifest,
)
from scrapy.http import Response
from scrapy.settings import Settings

from scrapy_bgfetch import FailureReason, Result


@define
class Record:
    index: int
    url: str
    path: Path | None = None
    status: int | None = 200
    downloaded: int = 10
    size: int | None = 10
    failure_reason: FailureReason = FailureReason.NONE
    state: str = "settled"


@define
class Registration:
    uid: str = "u1"
    id: str = "episode-05"
    title: str = "Fog & Ebb"
    result: Result = Result.FAILURE
    failure_reason: FailureReason = FailureReason.BAD_STATUS
    downloaded: int = 20
    created_at: float = 100.0
    settled_at: float | None = 112.3456
    records: list[Any] = field(factory=list)


def make_wav(path, seconds, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as audio:
        audio.setparams((1, 2, rate, 0, "NONE", ""))
        audio.writeframes(bytes(2 * int(seconds * rate)))
    return path


@pytest.fixture
def registration(tmp_path):
    audio = make_wav(tmp_path / "files" / "e5" / "fog-ebb.wav", 1.5)
    missing = Record(1, "http://a/t.vtt", None, 404, 0, None, FailureReason.BAD_STATUS)
    return Registration(records=[Record(0, "http://a/5.wav", audio), missing])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fog & Ebb", "fog-ebb"),
        ("  Episode 5: Interesting things. ", "episode-5-interesting-things"),
        ("Übergrößen", "übergrössen"),
        ("../../etc/passwd", "etc-passwd"),
        ("!!!", ""),
        ("x" * 200, "x" * 80),
    ],
)
def test_a_slug_is_readable_and_safe(text, expected):
    assert slug(text) == expected


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("http://a/5.wav", "audio/x-wav", "fog.wav"),
        ("http://a/5.MP3?token=1", "audio/mpeg; charset=x", "fog.mp3"),
        ("http://a/play", "audio/mpeg", "fog.mp3"),
        ("http://a/5.verylongsuffix", "audio/mpeg", "fog.mp3"),
        ("http://a/5.wav", "text/html", None),
        ("http://a/5.png", "image/png", None),
        ("http://a/5.wav", "", None),
    ],
)
def test_only_audio_is_named_after_its_title(url, kind, expected):
    assert audio_name("Fog", url, kind) == expected


def test_audio_without_a_usable_title_is_left_to_the_other_plug_ins():
    assert audio_name("?!", "http://a/5.wav", "audio/wav") is None


def test_the_duration_of_a_wav_file_is_read(tmp_path):
    assert duration(make_wav(tmp_path / "a.wav", 2.25)) == 2.25


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 10])
def test_a_broken_wav_file_has_no_duration(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert duration(path) is None


@pytest.mark.skipif(find_spec("mutagen") is not None, reason="mutagen reads it")
def test_other_audio_has_no_duration_without_mutagen(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\xff\xfb" + bytes(500))
    assert duration(path) is None


def test_a_manifest_says_how_each_file_ended(registration, tmp_path):
    manifest = build_manifest(registration, {0: 1.5}, tmp_path / "manifests")
    assert manifest["result"] == "failure"
    assert manifest["reason"] == "bad-status"
    assert manifest["seconds"] == 12.346
    good, missing = manifest["files"]
    assert good["name"] == "fog-ebb.wav"
    assert good["path"] == "../files/e5/fog-ebb.wav"
    assert (good["size"], good["duration"], good["reason"]) == (10, 1.5, "")
    assert (missing["status"], missing["reason"]) == (404, "bad-status")
    assert missing["path"] is None


@pytest.mark.parametrize("id", ["episode-05", "a/../b", "Ep 5: é", ".."])
def test_a_manifest_is_read_back_whatever_its_id(tmp_path, id):
    path = write_manifest(tmp_path, {"id": id, "files": []})
    assert path.parent == tmp_path
    assert read_manifest(tmp_path, id) == {"id": id, "files": []}


def test_there_is_no_manifest_of_what_has_not_ended(tmp_path):
    assert read_manifest(tmp_path, "episode-01") is None


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_manifest(tmp_path, {"id": "e", "files": []})
    with pytest.raises(TypeError):
        write_manifest(tmp_path, {"id": "e", "files": object()})
    assert read_manifest(tmp_path, "e") == {"id": "e", "files": []}


def test_manifests_lie_beside_the_state_unless_a_folder_is_set():
    assert manifests_folder(Settings({"BGFETCH_DIR": "x"})) == Path("x/manifests")
    both = Settings({"BGFETCH_DIR": "x", "AUDIO_MANIFEST_DIR": "y"})
    assert manifests_folder(both) == Path("y")
    with pytest.raises(ValueError, match="AUDIO_MANIFEST_DIR"):
        manifests_folder(Settings())


def test_the_plug_in_names_the_file_from_the_head(tmp_path, registration):
    response = Response("http://a/5.wav", headers={"Content-Type": "audio/x-wav"})
    plugin = AudioManifest(tmp_path)
    record = registration.records[0]
    assert plugin.bgfetch_file_name(registration, record, response) == "fog-ebb.wav"
    bare = Response("http://a/5.wav")
    assert plugin.bgfetch_file_name(registration, record, bare) is None


async def test_the_duration_gets_into_the_manifest(tmp_path, registration):
    plugin = AudioManifest(tmp_path / "manifests")
    for record in registration.records:
        await plugin.bgfetch_record_settled(registration, record)
    await plugin.bgfetch_settled(registration)
    manifest = read_manifest(plugin.folder, "episode-05")
    assert [file["duration"] for file in manifest["files"]] == [1.5, None]


async def test_hooks_that_are_delivered_again_write_the_same_file(
    tmp_path, registration
):
    first = AudioManifest(tmp_path / "manifests")
    await first.bgfetch_record_settled(registration, registration.records[0])
    await first.bgfetch_settled(registration)
    path = manifest_path(first.folder, "episode-05")
    before = path.read_bytes()
    await first.bgfetch_settled(registration)
    after_restart = AudioManifest(first.folder)
    await after_restart.bgfetch_settled(registration)
    assert path.read_bytes() == before
    assert list(first.folder.iterdir()) == [path]
    assert json.loads(before)["files"][0]["duration"] == 1.5
