"""Real files, always the same, from the standard library alone: WAV, PNG, WebVTT."""

from __future__ import annotations

import math
import random
import struct
import wave
import zlib
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLE_RATE = 22_050
SIDE = 600  # pixels
MARK_SAMPLES = 16
CUE_SECONDS = 10
WORDS = ("waves", "tide", "harbour", "gull", "anchor", "lantern", "reef", "mast")


def tone(frequency: float) -> array[int]:
    """Return one second of a quiet tone, 16 bits a sample."""
    step = 2 * math.pi * frequency / SAMPLE_RATE
    return array("h", (int(4_000 * math.sin(step * n)) for n in range(SAMPLE_RATE)))


def write_audio(path: Path, seconds: int, seed: int) -> None:
    """Write that many seconds of a little tune as a mono 16-bit WAV file.

    Each second begins with its own number, so that no two are alike and a file
    put together from the wrong offset differs from the original.
    """
    tune = [tone(220 * 2 ** ((seed + step) / 12)) for step in (0, 4, 7, 12)]
    with wave.open(str(path), "wb") as audio:
        audio.setparams((1, 2, SAMPLE_RATE, seconds * SAMPLE_RATE, "NONE", ""))
        for second in range(seconds):
            samples = tune[second % len(tune)]
            samples[:MARK_SAMPLES] = array("h", [second] * MARK_SAMPLES)
            audio.writeframesraw(samples.tobytes())


def write_artwork(path: Path, seed: int) -> None:
    """Write a square true-colour PNG: diagonal bands of colour with fine grain."""
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(_rows(seed)), 1)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*c) for c in chunks))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _rows(seed: int) -> Iterator[bytes]:
    grain = random.Random(seed)
    width = 3 * SIDE
    mask = int.from_bytes(b"\x0f" * width, "big")
    band = bytes((n * (seed + 2) // 9 + 80 * (n % 3)) % 256 for n in range(width))
    for row in range(SIDE):
        turned = band[3 * row :] + band[: 3 * row]
        noise = int.from_bytes(grain.randbytes(width), "big") & mask
        mixed = int.from_bytes(turned, "big") ^ noise
        yield b"\x00" + mixed.to_bytes(width, "big")


def write_transcript(path: Path, seconds: int, seed: int) -> None:
    """Write a WebVTT file with a cue every ten seconds."""
    lines = ["WEBVTT", ""]
    for start in range(0, seconds, CUE_SECONDS):
        end = min(start + CUE_SECONDS, seconds)
        words = [WORDS[(seed * start + n * n) % len(WORDS)] for n in range(6)]
        lines += [f"{_clock(start)} --> {_clock(end)}", " ".join(words), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000"
