"""The manifest: a JSON file that says how a background fetch ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.settings import BaseSettings


def manifests_folder(settings: BaseSettings) -> Path:
    """Return where manifests go: AUDIO_MANIFEST_DIR, else in BGFETCH_DIR.

    :raises ValueError: neither is set.
    """
    if folder := settings.get("AUDIO_MANIFEST_DIR"):
        return Path(folder)
    if folder := settings.get("BGFETCH_DIR"):
        return Path(folder) / "manifests"
    raise ValueError("set AUDIO_MANIFEST_DIR, or BGFETCH_DIR, to the path of a folder")


def manifest_path(folder: Path, id: str) -> Path:
    """Return the path of the manifest of an id, whatever characters are in it."""
    return folder / f"{quote(id, safe='')}.json"


def build_manifest(
    registration: Any, durations: Mapping[int, float | None], folder: Path
) -> dict[str, Any]:
    """Return the manifest of a registration that has settled.

    Sizes in bytes, times in seconds; ``durations`` by the index of the record.
    The same registration gives the same manifest each time.
    """
    return {
        "id": registration.id,
        "title": registration.title,
        "result": str(registration.result),
        "reason": str(registration.failure_reason),
        "bytes": registration.downloaded,
        "seconds": _seconds(registration),
        "files": [
            _file(record, durations.get(record.index), folder)
            for record in registration.records
        ],
    }


def _seconds(registration: Any) -> float | None:
    if registration.settled_at is None:
        return None
    return float(round(registration.settled_at - registration.created_at, 3))


def _file(record: Any, duration: float | None, folder: Path) -> dict[str, Any]:
    path = Path(record.path) if record.path else None
    return {
        "url": record.url,
        "status": record.status,
        "reason": str(record.failure_reason),
        "name": path.name if path else None,
        "path": os.path.relpath(path, folder) if path else None,
        "size": record.downloaded,
        "duration": duration,
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write a manifest; a reader sees the old one or the new one, never a part."""
    folder.mkdir(parents=True, exist_ok=True)
    path = manifest_path(folder, manifest["id"])
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(manifest, file, ensure_ascii=False, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return path


def read_manifest(folder: Path, id: str) -> dict[str, Any] | None:
    """Return the manifest of an id, None when there is none."""
    try:
        text = manifest_path(folder, id).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    manifest: dict[str, Any] = json.loads(text)
    return manifest
