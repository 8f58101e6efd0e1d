"""The schema of manifests, and crawls that write them."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from scrapy_bgfetch import hookimpl

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
SCHEMA = json.loads((REFERENCE / "manifest.schema.json").read_text())
Draft202012Validator.check_schema(SCHEMA)


def valid(manifest):
    """Return the manifest as JSON gives it back; it fits the schema."""
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    errors = Draft202012Validator(SCHEMA).iter_errors(manifest)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []
    return manifest


class Clerk:
    """A plug-in that writes the manifest of each background fetch that has settled.

    The setting TEST_MANIFESTS is the folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings["TEST_MANIFESTS"])

    @hookimpl
    async def bgfetch_settled(self, registration):
        text = json.dumps(await registration.manifest())
        (self.folder / f"{registration.id}.json").write_text(text)
