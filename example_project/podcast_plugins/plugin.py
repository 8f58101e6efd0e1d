"""The hooks of the plug-in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podcast_plugins.audio import audio_name, duration, is_audio
from podcast_plugins.manifest import build_manifest, manifests_folder, write_manifest
from scrapy_bgfetch import hookimpl

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from typing_extensions import Self


class AudioManifest:
    """Names audio files by title, reads their durations and writes a manifest.

    Hooks are delivered at least once: all that is done here may be done again
    and then gives the same file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._durations: dict[tuple[str, int], float | None] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Write to AUDIO_MANIFEST_DIR, by default ``manifests`` in BGFETCH_DIR."""
        return cls(manifests_folder(crawler.settings))

    @hookimpl
    def bgfetch_file_name(
        self, registration: Any, record: Any, response: Any
    ) -> str | None:
        """Name audio after the episode; leave all other names to the others."""
        kind = (response.headers.get("Content-Type") or b"").decode("latin-1")
        return audio_name(registration.title, record.url, kind)

    @hookimpl
    async def bgfetch_record_settled(self, registration: Any, record: Any) -> None:
        """Read the duration of an audio file that has arrived."""
        self._durations[registration.uid, record.index] = await _duration(record)

    @hookimpl
    async def bgfetch_settled(self, registration: Any) -> None:
        """Write the manifest."""
        durations = {
            record.index: await self._take_duration(registration, record)
            for record in registration.records
        }
        manifest = build_manifest(registration, durations, self.folder)
        await asyncio.to_thread(write_manifest, self.folder, manifest)

    async def _take_duration(self, registration: Any, record: Any) -> float | None:
        # Records that settled before a restart are not announced again.
        key = (registration.uid, record.index)
        if key in self._durations:
            return self._durations.pop(key)
        return await _duration(record)


async def _duration(record: Any) -> float | None:
    if record.failure_reason or not record.path:
        return None
    path = Path(record.path)
    if not is_audio(path):
        return None
    return await asyncio.to_thread(duration, path)
