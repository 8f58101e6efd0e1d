"""What can be said about audio files: whether one is, its name, its duration."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
import wave
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")
LONGEST_NAME = 80


def slug(text: str) -> str:
    """Return text as a file name without suffix: ``Fog & Ebb`` -> ``fog-ebb``.

    Letters of all scripts are kept. Empty when there is none.
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return "-".join(words)[:LONGEST_NAME].strip("-_")


def audio_name(title: str, url: str, content_type: str) -> str | None:
    """Return the file name for an audio file, None when it is something else.

    It is made of the title, with the suffix of the address or else that of the
    content type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("audio/") or not (name := slug(title)):
        return None
    suffix = PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()
    if not SUFFIX.fullmatch(suffix):
        suffix = mimetypes.guess_extension(kind) or ""
    return name + suffix


def is_audio(path: Path) -> bool:
    """Tell by its name whether a file is audio."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("audio/")


def duration(path: Path) -> float | None:
    """Return the duration of an audio file in seconds, None when it is not known.

    WAV is read with the standard library, anything else only when mutagen is
    installed. Reads the disk: call it in a thread.
    """
    if path.suffix.lower() == ".wav":
        return _wav_duration(path)
    return _mutagen_duration(path)


def _wav_duration(path: Path) -> float | None:
    try:
        with wave.open(str(path), "rb") as audio:
            return round(audio.getnframes() / audio.getframerate(), 3)
    except (wave.Error, EOFError, ZeroDivisionError):
        return None


def _mutagen_duration(path: Path) -> float | None:
    try:
        mutagen = import_module("mutagen")
    except ImportError:
        return None
    try:
        audio = mutagen.File(path)
    except mutagen.MutagenError:
        return None
    return round(audio.info.length, 3) if audio is not None else None
