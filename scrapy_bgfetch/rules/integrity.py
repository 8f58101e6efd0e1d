"""What bytes a request expects: Subresource Integrity, and digests by name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.validation import shown

ALGORITHMS: frozenset[str] = frozenset(
    name for name in hashlib.algorithms_guaranteed if not name.startswith("shake_")
)
"""The names of the hash algorithms of a fixed length that every Python has."""

_SRI_ALGORITHMS = ("sha256", "sha384", "sha512")  # the later, the stronger
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_HEX = re.compile(r"[0-9a-f]+")
_EXAMPLE = (
    'For example: "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" (base64), or'
    ' {"md5": "d41d8cd98f00b204e9800998ecf8427e"} (hex).'
)


def parse_integrity(value: object, *, where: str) -> dict[str, list[str]]:
    """Return algorithm -> accepted digests (lower-case hex) of an ``integrity``.

    The result holds JSON values only, means the same when it is parsed again, and
    is never empty. All its algorithms must match, each with any of its digests.

    A str is integrity metadata as in Subresource Integrity sections 3.1 and 3.3:
    ``sha256-``, ``sha384-`` or ``sha512-`` (in any case) with a digest in base64 or
    base64url, padded or not; several separated by white space; what follows a "?"
    is ignored. Only the strongest algorithm that is present counts.

    A mapping has names of :data:`ALGORITHMS` ("SHA-256" is sha256, "sha3-256" is
    sha3_256) as keys and hex digests, or lists of accepted ones, as values.

    A browser ignores what it cannot parse. Here it is an error, also beside
    something stronger that is right: who writes a crawler wants to know.

    :param where: the name of the value in messages.
    :raises BadRequestError: another type, nothing in it, an unknown algorithm, bad
        base64 or hex, a digest of a wrong length, an algorithm named twice.
    """
    if isinstance(value, str):
        return _parse_metadata(value, where)
    if isinstance(value, Mapping):
        return _parse_named(value, where)
    what = f"{type(value).__name__} {shown(value)}"
    raise _refused(where, f"must be a str or a dict, not {what}")


def mismatch(wanted: Mapping[str, Sequence[str]], found: Mapping[str, str]) -> str:
    """Return "" when every wanted algorithm found one of its digests.

    Otherwise a message that names each algorithm that did not, with the expected
    digests and the found one in hex. One that is not in ``found`` does not match.

    :param wanted: what :func:`parse_integrity` returned.
    :param found: algorithm -> digest in lower-case hex.
    """
    return "; ".join(
        f"the {name} is {found.get(name, 'not known')}, expected was"
        f" {' or '.join(digests)}"
        for name, digests in wanted.items()
        if found.get(name) not in digests
    )


def check_algorithm(name: str) -> str:
    """Return the name in :data:`ALGORITHMS` for one that may be spelt "SHA-256".

    :raises ValueError: there is none.
    """
    known = _known(name)
    if known is None:
        raise ValueError(
            f"{shown(name)} is no hash algorithm that is known here: use one of"
            f" {_names()}."
        )
    return known


def _known(name: object) -> str | None:
    if not isinstance(name, str):
        return None
    spelt = name.lower().replace("-", "_")
    for candidate in (spelt, spelt.replace("_", "")):
        if candidate in ALGORITHMS:
            return candidate
    return None


def _names() -> str:
    return ", ".join(sorted(ALGORITHMS))


def _refused(where: str, what: str) -> BadRequestError:
    return BadRequestError(f"{where} {what}. {_EXAMPLE}")


def _parse_metadata(text: str, where: str) -> dict[str, list[str]]:
    """Parse metadata and get the strongest of it (SRI section 3.3)."""
    found: dict[str, list[str]] = {}
    for item in text.split():
        name, digest = _parse_item(item, where)
        digests = found.setdefault(name, [])
        if digest not in digests:
            digests.append(digest)
    if not found:
        raise _refused(where, "is an empty string: leave it out, or name a digest")
    strongest = max(found, key=_SRI_ALGORITHMS.index)
    return {strongest: found[strongest]}


def _parse_item(item: str, where: str) -> tuple[str, str]:
    algorithm, _, text = item.partition("?")[0].partition("-")
    name = algorithm.lower()
    if name not in _SRI_ALGORITHMS:
        raise _refused(
            where,
            f"has {shown(item)}, which begins with none of sha256-, sha384- and"
            " sha512-: name other algorithms, and hex digests, in a dict",
        )
    digest = _from_base64(text)
    if digest is None:
        raise _refused(where, f"has {shown(item)}, whose digest is not base64")
    if len(digest) != _size(name):
        raise _refused(
            where,
            f"has {shown(item)}, whose digest is {len(digest)} bytes long when it is"
            f" decoded: one of {name} is {_size(name)}",
        )
    return name, digest.hex()


def _from_base64(text: str) -> bytes | None:
    """Decode base64 or base64url, None when it is neither."""
    text = text.replace("-", "+").replace("_", "/")
    if not _BASE64.fullmatch(text):
        return None
    bare = text.rstrip("=")
    try:
        decoded = base64.b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        return None
    again = base64.b64encode(decoded).rstrip(b"=")
    return decoded if again == bare.encode() else None  # stray bits at its end


def _parse_named(value: Mapping[object, object], where: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, digests in value.items():
        name = _known(key)
        if name is None:
            raise _refused(where, f"has the key {shown(key)}: use one of {_names()}")
        if name in found:
            raise _refused(where, f"names {name} twice: put its digests in a list")
        found[name] = _hex_digests(name, digests, f'{where}["{key}"]')
    if not found:
        raise _refused(where, "is an empty dict: leave it out, or name a digest")
    return found


def _hex_digests(name: str, value: object, where: str) -> list[str]:
    if isinstance(value, str):
        return [_hex_digest(name, value, where)]
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, Sequence):
        what = f"{type(value).__name__} {shown(value)}"
        raise _refused(where, f"must be a str in hex or a list of them, not {what}")
    if not value:
        raise _refused(where, "is an empty list, which nothing matches")
    return list(dict.fromkeys(_hex_digest(name, item, where) for item in value))


def _hex_digest(name: str, value: object, where: str) -> str:
    if not isinstance(value, str):
        what = f"{type(value).__name__} {shown(value)}"
        raise _refused(where, f"must hold digests as str in hex, not {what}")
    digest = value.lower()
    if not _HEX.fullmatch(digest):
        raise _refused(where, f"has {shown(value)}, which is not hex")
    if len(digest) != 2 * _size(name):
        raise _refused(
            where,
            f"has {shown(value)}, which is {len(digest)} hex digits long: one of"
            f" {name} is {2 * _size(name)}",
        )
    return digest


def _size(name: str) -> int:
    """Return the length of a digest in bytes."""
    return hashlib.new(name, usedforsecurity=False).digest_size
