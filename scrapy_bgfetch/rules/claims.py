"""What a manifest claims about files. It may come from anywhere: all is checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from scrapy_bgfetch.exceptions import ManifestError
from scrapy_bgfetch.rules.integrity import ALGORITHMS
from scrapy_bgfetch.rules.manifest import FORMAT, SHA256, VERSION
from scrapy_bgfetch.rules.validation import shown

_HEX = re.compile(r"[0-9a-f]+")


@frozen
class Claim:
    """What the file of a record was: ``parts`` are the segments of its path.

    ``digests`` are in lower-case hex by the algorithm's name: the sha256 if it is
    known, otherwise all others.
    """

    index: int
    url: str
    path: str | None
    parts: tuple[str, ...]
    size: int | None
    digests: dict[str, str]


def claims_of(manifest: object) -> list[Claim]:
    """Return what a manifest claims about the file of each record.

    :raises ManifestError: it is not a manifest, not of this version, a value has a
        wrong type, or a path is not below the folder of the files.
    """
    if not isinstance(manifest, Mapping) or manifest.get("format") != FORMAT:
        raise ManifestError(f'this is no manifest: its "format" is not {FORMAT!r}.')
    version = manifest.get("version")
    if type(version) is not int or version != VERSION:
        raise ManifestError(
            f"the manifest has version {shown(version)}, this release of "
            f"scrapy-bgfetch reads {VERSION}: upgrade scrapy-bgfetch."
        )
    records = manifest.get("records")
    if not isinstance(records, list):
        raise ManifestError('"records" of the manifest is not a list.')
    return [_claim(record, f"records[{n}]") for n, record in enumerate(records)]


def path_parts(path: str, where: str) -> tuple[str, ...]:
    """Return the segments of a relative POSIX path that leads nowhere else.

    :raises ManifestError: it is empty, absolute, or has a segment that is empty,
        ``.`` or ``..``, or a character that no path written here has.
    """
    parts = tuple(path.split("/"))
    bad = {"", ".", ".."} & set(parts) or "\0" in path or "\\" in path
    if bad or re.match("[A-Za-z]:", path) or not _encodes(path):
        raise ManifestError(
            f"{where} is {shown(path)}: only a relative path below the folder of the "
            "files is followed."
        )
    return parts


def _claim(record: object, where: str) -> Claim:
    if not isinstance(record, Mapping):
        raise ManifestError(f"{where} of the manifest is not an object.")
    path = _value(record, "path", where, str, none=True)
    sha256 = _value(record, SHA256, where, str, none=True)
    checksums = _value(record, "checksums", where, Mapping)
    digests = dict(checksums) if sha256 is None else {SHA256: sha256}
    for name, digest in digests.items():
        _check_digest(name, digest, where)
    return Claim(
        index=_natural(record, "index", where),
        url=_value(record, "url", where, str),
        path=path,
        parts=() if path is None else path_parts(path, f"{where}.path"),
        size=_natural(record, "size", where, none=True),
        digests=digests,
    )


def _value(
    record: Mapping[Any, Any], key: str, where: str, kind: type, *, none: bool = False
) -> Any:
    value = record.get(key)
    absent = value is None and none and key in record
    if not absent and (not isinstance(value, kind) or isinstance(value, bool)):
        what = f"{type(value).__name__} {shown(value)}" if key in record else "missing"
        raise ManifestError(f"{where}.{key} of the manifest is {what}.")
    return value


def _natural(
    record: Mapping[Any, Any], key: str, where: str, *, none: bool = False
) -> Any:
    value = _value(record, key, where, int, none=none)
    if value is not None and value < 0:
        raise ManifestError(f"{where}.{key} of the manifest is negative.")
    return value


def _check_digest(name: object, digest: object, where: str) -> None:
    if not isinstance(name, str) or name not in ALGORITHMS:
        raise ManifestError(f"{where} has a digest of the unknown {shown(name)}.")
    length = 2 * hashlib.new(name, usedforsecurity=False).digest_size
    right = isinstance(digest, str) and len(digest) == length
    if not (right and _HEX.fullmatch(str(digest))):
        raise ManifestError(
            f"{where} has {shown(digest)} as {name}: it is not {length} digits of "
            "lower-case hex."
        )


def _encodes(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
