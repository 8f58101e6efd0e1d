"""What the crash test downloads: rounds of files of all kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from tests.support.site import body, coded

if TYPE_CHECKING:
    import random

    from tests.support.site import Site

# For each kind: its query, bytes, bytes a second, and whether it can be resumed.
KINDS = {
    "tiny": ("", (1, 2_000), 10_000_000, True),
    "small": ("", (2_000, 100_000), 1_000_000, True),
    "big": ("", (1_000_000, 2_000_000), 1_000_000, True),
    "dated": ("&dated", (300_000, 1_000_000), 800_000, True),
    "chunked": ("&chunked", (300_000, 1_000_000), 800_000, True),
    "gzip": ("&gzip", (20_000, 200_000), 400_000, False),
    "bare": ("&bare", (20_000, 100_000), 400_000, False),
}
FETCHES = (
    ("tiny", "small", "small", "tiny", "gzip"),
    ("big", "dated", "chunked"),
    ("small", "missing", "chunked"),
)
GROUPS = (
    ({"requests": 4}, ("big", "small", "tiny", "gzip")),
    ({}, ("dated", "bare", "small")),
)


@frozen
class File:
    """One file of the server, or a page that is not there."""

    id: str
    url: str
    path: str
    kind: str
    size: int

    @property
    def resumable(self) -> bool:
        return self.kind != "missing" and KINDS[self.kind][3]

    def content(self) -> bytes:
        """Return what must be on disk in the end."""
        if self.kind == "missing":
            return b"page of 404"
        return body(self.path.rpartition("/")[2], self.size)

    def sent(self) -> bytes:
        """Return what the server sends once; the page of a 404 is not counted."""
        if self.kind == "missing":
            return b""
        name = self.path.rpartition("/")[2]
        return coded(name, self.size) if self.kind == "gzip" else self.content()


@frozen
class Round:
    """Background fetches: arguments of fetch(), and grouped requests."""

    fetch: list[dict[str, Any]]
    grouped: list[tuple[str, dict[str, Any]]]
    files: list[File]

    @property
    def ids(self) -> list[str]:
        return list(dict.fromkeys(file.id for file in self.files))


def make_round(site: Site, number: int, chance: random.Random) -> Round:
    """Return a round whose ids and files no other round has."""
    fetch: list[dict[str, Any]] = []
    grouped: list[tuple[str, dict[str, Any]]] = []
    files: list[File] = []
    for group, kinds in enumerate(FETCHES):
        some = _files(site, f"r{number}-fetch{group}", kinds, chance)
        fetch.append({"id": some[0].id, "requests": [one.url for one in some]})
        files += some
    for group, (options, kinds) in enumerate(GROUPS):
        some = _files(site, f"r{number}-group{group}", kinds, chance)
        grouped += [(one.url, {"id": one.id, **options}) for one in some]
        files += some
    return Round(fetch, grouped, files)


def _files(
    site: Site, id: str, kinds: tuple[str, ...], chance: random.Random
) -> list[File]:
    return [_file(site, id, index, kind, chance) for index, kind in enumerate(kinds)]


def _file(site: Site, id: str, index: int, kind: str, chance: random.Random) -> File:
    if kind == "missing":
        return File(id, site.url(f"/status/404?{id}"), "/status/404", kind, 0)
    query, sizes, rate, _ = KINDS[kind]
    size, path = chance.randrange(*sizes), f"/slow/{id}-{index}-{kind}"
    url = site.url(f"{path}?size={size}&rate={rate}{query}")
    return File(id, url, path, kind, size)
