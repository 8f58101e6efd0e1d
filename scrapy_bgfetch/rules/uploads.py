"""Bodies that requests send: who has one, how long it is, what is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

UPLOAD = "upload"  # in the kept form of a request: which file its body is in
_BODYLESS = frozenset({"GET", "HEAD"})


def sends_body(method: str) -> bool:
    """Return whether a request of this method sends its body from a file."""
    return method not in _BODYLESS


def check_body(method: str, *, in_memory: bool, in_file: bool, url: str) -> None:
    """Check that a request may have the bodies that it has.

    :raises BadRequestError: it has two, or its method sends none.
    """
    if in_memory and in_file:
        raise BadRequestError(
            f"{url} has two bodies: its own, and one from a file. Leave one out."
        )
    if (in_memory or in_file) and not sends_body(method):
        raise BadRequestError(
            f"{url} has a body, but a {method} request sends none: give it "
            'method="POST" or "PUT".'
        )


def upload_size(kept: Mapping[str, Any]) -> int:
    """Return how many bytes the body of a kept request has (98)."""
    if UPLOAD in kept:
        return int(kept[UPLOAD]["size"])
    coded: str = kept.get("body", "")
    return len(coded) // 4 * 3 - coded[-2:].count("=")


def may_repeat(method: str, *, retry_uploads: bool) -> bool:
    """Return whether a request may be sent again that the server may have (43, 55)."""
    return method == "GET" or retry_uploads
