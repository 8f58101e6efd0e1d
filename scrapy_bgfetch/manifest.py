"""Manifests: what background fetches have fetched; files compared with them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from scrapy_bgfetch.bodies.looking import FileProblem, LinkProblem, look
from scrapy_bgfetch.exceptions import InvalidStateError, ManifestError
from scrapy_bgfetch.model import FileStatus
from scrapy_bgfetch.rules.claims import Claim, claims_of, path_parts
from scrapy_bgfetch.rules.manifest import SHA256, Looked, logs_of, manifest_of
from scrapy_bgfetch.store.base import ATTEMPTS_KEPT

if TYPE_CHECKING:
    from scrapy_bgfetch.model import RecordRow
    from scrapy_bgfetch.store.base import Store


@frozen
class Check:
    """What became of the file of one record.

    :ivar index: the number of the record.
    :ivar url: its URL.
    :ivar path: the path of its file below the folder; None when it has left none.
    :ivar status: a :class:`~scrapy_bgfetch.model.FileStatus`.
    :ivar problem: what is wrong, in words; "" when nothing is.
    """

    index: int
    url: str
    path: str | None
    status: FileStatus
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether the file is what it was, or there never was one."""
        return self.status in {FileStatus.OK, FileStatus.NO_FILE}


@frozen
class Report:
    """What :func:`scrapy_bgfetch.verify` has found.

    :ivar checks: a :class:`Check` for each record, in their order.
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every file that the manifest names is what it was."""
        return all(check.ok for check in self.checks)

    @property
    def problems(self) -> tuple[Check, ...]:
        """The checks that are not ok."""
        return tuple(check for check in self.checks if not check.ok)


def verify(
    manifest: Mapping[str, Any] | str | os.PathLike[str],
    files: str | os.PathLike[str],
) -> Report:
    """Compare files with a manifest: their length and their digests (N3).

    Needs no crawl and no network. It blocks: call it with ``asyncio.to_thread``
    where a loop runs. Memory does not grow with the length of the files. Only
    regular files below the folder are opened, without following symbolic links: a
    manifest from a stranger cannot lead out of it.

    :param manifest: what :meth:`BackgroundFetchRegistration.manifest` returned, or
        the path of a JSON file with it.
    :param files: the folder of the files: BGFETCH_FILES_STORE, or where they are now.
    :raises ManifestError: it is no manifest of a known version, a value in it cannot
        be, it names a path that is not below the folder or a symbolic link, or
        there is no such folder.
    """
    claims = claims_of(manifest if isinstance(manifest, Mapping) else _read(manifest))
    folder = Path(files)
    if not folder.is_dir():
        raise ManifestError(f"{str(folder)!r}, where files should be, is no folder.")
    return Report(tuple(_check(folder, claim) for claim in claims))


async def make_manifest(uid: str, store: Store, files: Path) -> dict[str, Any]:
    """Return the manifest of a background fetch; ``files`` is where its files are.

    :raises InvalidStateError: it is active, or not in the state any more.
    :raises StoreError: the state cannot be read.
    """
    row = await store.get(uid)
    if row is not None and not row.result:
        raise InvalidStateError(
            f"the background fetch {row.id!r} is still active: its manifest is there "
            "when it has settled."
        )
    attempts, records = await store.attempts(uid), await store.records(uid)
    if row is None or await store.get(uid) is None:  # it may go in between
        raise InvalidStateError(
            "the state has forgotten this background fetch: ask for the manifest in "
            "a handler of its end, or raise BGFETCH_HISTORY."
        )
    logs = logs_of(records, attempts, ATTEMPTS_KEPT)
    stop = threading.Event()

    def work() -> dict[str, Any]:
        files_of = [record for record in records if record.path is not None]
        looked = {record.index: _look(files, record, stop) for record in files_of}
        return manifest_of(row, records, logs, looked)

    try:
        return await asyncio.to_thread(work)
    finally:
        stop.set()  # also when nobody waits any more


def _look(files: Path, record: RecordRow, stop: threading.Event) -> Looked:
    """Return the sha256 of a record's file, computed when it is not known."""
    known = record.checksums.get(SHA256)
    wanted = [SHA256] if known is None else []
    try:
        parts = path_parts(str(record.path), "its path")
        found = look(files, parts, record.size, wanted, stopped=stop.is_set)
    except (FileProblem, ManifestError) as error:
        return Looked(known, f"{error}.")
    return Looked(known or found[SHA256])


def _read(manifest: object) -> object:
    """Return what a JSON file holds."""
    if not isinstance(manifest, (str, os.PathLike)):
        what = type(manifest).__name__
        raise ManifestError(f"a manifest is a dict or the path of a file, not {what}.")
    try:
        return json.loads(Path(manifest).read_bytes())
    except OSError as error:
        raise ManifestError(f"the manifest cannot be read: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{str(manifest)!r} is not JSON: {error}.") from error


def _check(folder: Path, claim: Claim) -> Check:
    status, problem = _compare(folder, claim)
    return Check(claim.index, claim.url, claim.path, status, problem)


def _compare(folder: Path, claim: Claim) -> tuple[FileStatus, str]:
    if claim.path is None:
        return FileStatus.NO_FILE, ""
    try:
        found = look(folder, claim.parts, claim.size, sorted(claim.digests))
    except LinkProblem as error:
        raise ManifestError(f"{claim.path!r} of the manifest: {error}.") from error
    except FileProblem as error:
        return error.status, f"{error}."
    for name, digest in claim.digests.items():
        if found[name] != digest:
            return FileStatus.CHANGED, f"its {name} is {found[name]}, and was {digest}."
    if not claim.digests:
        return FileStatus.NO_DIGEST, "the manifest has no digest of it."
    return FileStatus.OK, ""
