"""Is the file of an earlier fetch still the same: what to ask, what an answer says.

RFC 9110 section 13.1 (preconditions), RFC 9111 sections 3.2, 4.1 and 4.3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from scrapy_bgfetch.model import Head
from scrapy_bgfetch.rules.backoff import parse_imf_fixdate
from scrapy_bgfetch.rules.manifest import CREDENTIAL_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Lines = tuple[tuple[str, str], ...]

PREVIOUS = "previous"
"""The key of :meth:`Previous.to_json` in the kept form of a request."""

_ETAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')
_OWN_CONDITIONS = frozenset(
    {
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "range",
    }
)
_ALWAYS_THE_SAME = frozenset({"accept-encoding"})  # every attempt says identity
# RFC 9111 sections 3.1 and 3.2: fields of the connection, and of the one message.
_NOT_UPDATED = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@frozen
class Previous:
    """A file of an earlier background fetch: where it is, and what was said of it.

    ``path`` is relative to the file store, ``size`` in bytes. ``encoded`` says that
    it was decoded from a content coding.
    """

    path: str
    size: int
    head: Head
    encoded: bool = False
    checksums: dict[str, str] = field(factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        head = [self.head.url, self.head.status, [list(h) for h in self.head.headers]]
        return {
            "path": self.path,
            "size": self.size,
            "head": head,
            "encoded": self.encoded,
            "checksums": dict(self.checksums),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Previous:
        """Return what :meth:`to_json` has kept."""
        url, status, lines = kept["head"]
        headers = tuple((name, value) for name, value in lines)
        return cls(**{**kept, "head": Head(url, status, headers)})


def conditions(head: Head) -> dict[str, str]:
    """Return the request fields that ask whether a stored response is still good.

    If-None-Match with its ETag, strong or weak; else If-Modified-Since with its
    Last-Modified; {} when it has no validator that can be sent.
    """
    etag, modified = head.get("ETag"), head.get("Last-Modified")
    if etag is not None and _ETAG.fullmatch(etag):
        return {"If-None-Match": etag}
    if modified is not None and parse_imf_fixdate(modified) is not None:
        return {"If-Modified-Since": modified}
    return {}


def asks_itself(names: Iterable[str]) -> bool:
    """Return whether a request with fields of these names has its own condition."""
    return any(name.lower() in _OWN_CONDITIONS for name in names)


def is_another_variant(stored: Head, kept: Lines, asked: Lines) -> bool:
    """Return whether a request is known to ask for another variant.

    ``kept`` are the fields of the request that brought the stored response, ``asked``
    those of the new one: those that their callers gave. A field that the response's
    Vary names has another value, or only one of them has it. Credentials are not
    compared: the kept request does not have them.
    """
    names = _varying(stored) - CREDENTIAL_FIELDS
    return any(_value(kept, name) != _value(asked, name) for name in names)


def may_ask(stored: Head, kept: Lines, asked: Lines) -> bool:
    """Return whether a request may ask if the stored response is still good.

    Where Vary names a credential, or a field that neither caller gave, middlewares
    decide what is sent, and nobody knows whether it is what was sent then: a date
    would be confirmed by another user's, or language's, file. Only a strong ETag
    tells the variants of a URL apart (RFC 9110 section 8.8.3). "Vary: *" never
    matches.
    """
    names, asks = _varying(stored), conditions(stored)
    if not asks or "*" in names or is_another_variant(stored, kept, asked):
        return False
    unknown = any(n in CREDENTIAL_FIELDS or _value(asked, n) is None for n in names)
    return not unknown or asks.get("If-None-Match", "").startswith('"')


def contradiction(stored: Head, answer: Head) -> str:
    """Return why a 304 is not about the stored response, "" when it is.

    It comes from another address than the response did, or its validator is
    another one (RFC 9111 section 4.3.4). A weak ETag is compared weakly; beside
    an ETag that is the same, Last-Modified plays no role.
    """
    if answer.url != stored.url:
        return f"304 came from {answer.url}, the file from {stored.url}"
    etag, old_etag = answer.get("ETag"), stored.get("ETag")
    if etag is not None and old_etag is not None:
        same = _opaque(etag) == _opaque(old_etag)
        return "" if same else f"304 with the ETag {etag} in place of {old_etag}"
    modified, old = answer.get("Last-Modified"), stored.get("Last-Modified")
    if None in (modified, old) or modified == old:
        return ""
    return f"304 with the Last-Modified {modified} in place of {old}"


def freshened(stored: Head, answer: Head) -> Head:
    """Return the stored head with the fields of a 304 (RFC 9111 section 3.2).

    Each field of the 304 replaces all lines of that name; those that speak of the
    connection or of the message's own length and coding change nothing. The status
    stays that of the stored response.
    """
    listed = (answer.get("Connection") or "").lower().split(",")
    excepted = _NOT_UPDATED | {name.strip(" \t") for name in listed}
    new = [one for one in answer.headers if one[0].lower() not in excepted]
    names = {name.lower() for name, _ in new}
    kept = [one for one in stored.headers if one[0].lower() not in names]
    return evolve(stored, headers=(*kept, *new))


def _varying(stored: Head) -> set[str]:
    """Return what Vary names, in lower case, but for what is the same each time."""
    names = (stored.get("Vary") or "").lower().split(",")
    return {name.strip(" \t") for name in names} - _ALWAYS_THE_SAME - {""}


def _value(lines: Lines, name: str) -> str | None:
    values = [value.strip() for key, value in lines if key.lower() == name]
    return ", ".join(values) if values else None


def _opaque(etag: str) -> str:
    found = _ETAG.fullmatch(etag)
    return found[1] if found else etag
