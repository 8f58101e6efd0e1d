"""Bad input gets a clear error, early: what is wrong, where, and what to do.

Every function returns what it was given in the form that is kept, or raises
:class:`scrapy_bgfetch.exceptions.BadRequestError`. ``where`` is the name of the
value in the message. Messages never show credentials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.matching import comparable_host, path_segments

MAX_CONNECTIONS = 16
"""The most connections that one record may have."""

_MAX_TEXT = 1024 * 1024
_MAX_HOST = 1024
_MAX_SHOWN = 120
_MAX_INT = 2**63 - 1
_MIN_INT = -(2**63)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_SPACE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_HTTP_URL = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)")
_REG_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=-]+")
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", re.DOTALL)
_USERINFO = re.compile(r"^(https?://)?.*@", re.IGNORECASE | re.DOTALL)


def shown(value: object) -> str:
    """Return a short representation for a message, credentials in URLs blanked."""
    text = _without_userinfo(_repr(value))
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def shown_url(url: str) -> str:
    """Return a URL for a message: no userinfo, no query, no fragment.

    Everything up to the last "@" counts as userinfo, wherever that "@" is.
    """
    without = _USERINFO.sub(r"\1***@", url)
    return shown(re.sub(r"[?#].*", "?...", without, flags=re.DOTALL))


def check_id(id: object, *, where: str = "id") -> str:
    """Check a public id: a str of 1 byte to 1 MiB in UTF-8 (behaviour 180).

    Control characters and lone surrogates are refused.
    """
    text = _text(id, where)
    if not text:
        raise BadRequestError(f"{where} is empty: give the background fetch a name.")
    if _CONTROL.search(text):
        raise BadRequestError(
            f"{where} {shown(text)} has a control character: use printable text."
        )
    return text


def check_title(title: object, *, where: str = "title") -> str:
    """Check a title: a str, maybe empty, of at most 1 MiB in UTF-8 (21, 180).

    Tabs and line breaks are kept, other control characters and lone surrogates
    refused.
    """
    text = _text(title, where)
    if _CONTROL_BUT_SPACE.search(text):
        raise BadRequestError(
            f"{where} {shown(text)} has a control character: use printable text."
        )
    return text


def check_icons(icons: object, *, where: str = "icons") -> tuple[dict[str, Any], ...]:
    """Check icons (behaviour 21): mappings with a "src" and values that fit in JSON.

    Returned in the form that they have when they come back from JSON.
    """
    if isinstance(icons, (str, bytes, Mapping)) or not isinstance(icons, Sequence):
        raise BadRequestError(
            f"{where} must be a list of dicts such as"
            f' [{{"src": "/icon.png"}}], not {shown(icons)}.'
        )
    return tuple(_icon(icon, f"{where}[{n}]") for n, icon in enumerate(icons))


def check_url(url: object, *, where: str = "url") -> str:
    """Check an absolute URL and return it unchanged (139, 140, 142, 144).

    It must be http or https with a valid host and, if any, a port of 1 to 65535,
    without userinfo in any form, control characters or raw spaces.
    """
    text = _url_text(url, where)
    found = _SCHEME.match(text)
    if not found:
        raise BadRequestError(
            f"{where} {shown_url(text)} is not absolute: begin it with https:// or"
            " http://."
        )
    if found[1].lower() not in {"http", "https"}:
        raise BadRequestError(
            f"{where} {shown_url(text)} is neither http nor https: only these two"
            " can be fetched."
        )
    _check_authority(text, where)
    return text


def resolve_url(
    url: object,
    base_url: str | None,
    *,
    where: str = "url",
    base_where: str = "base_url",
) -> str:
    """Return an absolute URL that :func:`check_url` accepts.

    An absolute ``url`` stays as it is; a relative one is resolved against
    ``base_url``, the empty one being the base itself (105).
    """
    text = _url_text(url, where)
    if _SCHEME.match(text):
        return check_url(text, where=where)
    if base_url is None:
        raise BadRequestError(
            f"{where} {shown_url(text)} is relative and there is no base: pass"
            " base_url=response.url, or an absolute URL as"
            " response.urljoin() makes it."
        )
    return check_url(_join(check_url(base_url, where=base_where), text), where=where)


def check_download_total(value: object, *, where: str = "download_total") -> int:
    """Check a number of bytes: an int from 0 (unknown) to 2**63 - 1."""
    return _integer(value, 0, f"{where} is a number of bytes (0 when not known)")


def check_rate_limit(value: object, *, where: str = "rate_limit") -> int:
    """Check a number of bytes per second: an int from 0 (none) to 2**63 - 1."""
    return _integer(value, 0, f"{where} is a number of bytes per second (0 for none)")


def check_count(value: object, *, where: str = "requests") -> int:
    """Check a number of requests: an int from 1 to 2**63 - 1."""
    what = f"{where} is the number of requests of the group (left out when not known)"
    return _integer(value, 1, what)


def check_records(value: object, *, where: str = "max_concurrent_records") -> int:
    """Check a number of records at once: an int from 0 (no limit) to 2**63 - 1."""
    return _integer(value, 0, f"{where} is a number of records (0 for no limit)")


def check_connections(
    value: object, *, where: str = "connections_per_record"
) -> int | None:
    """Check a number of connections: an int from 1 to 16, None for what is set."""
    if value is None:
        return None
    what = f"{where} is a number of connections from 1 to {MAX_CONNECTIONS}"
    number = _integer(value, 1, what)
    if number > MAX_CONNECTIONS:
        raise BadRequestError(f"{what}, not {shown(value)}.")
    return number


def check_limit(value: object, *, where: str = "limit") -> int:
    """Check a number of background fetches: an int from 1 to 2**63 - 1."""
    return _integer(value, 1, f"{where} is a number of background fetches")


def check_priority(value: object, *, where: str = "priority") -> int:
    """Check a priority: an int of 64 bits, also below 0."""
    return _integer(value, _MIN_INT, f"{where} is a number, higher goes first")


def _repr(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an int of thousands of digits
        return f"<{type(value).__name__}>"


def _without_userinfo(text: str) -> str:
    before, at, after = text.rpartition("@")
    prefix, slashes, _ = before.partition("//")
    return f"{prefix}//***@{after}" if at and slashes else text


def _text(value: object, where: str, show: Callable[[str], str] = shown) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"{where} must be a str, not {type(value).__name__}.")
    if _SURROGATE.search(value):
        raise BadRequestError(
            f"{where} {show(value)} has a lone surrogate, which UTF-8 cannot hold:"
            " decode the bytes that it was made from with their right encoding."
        )
    if len(value) > _MAX_TEXT or len(value.encode()) > _MAX_TEXT:
        raise BadRequestError(f"{where} is longer than 1 MiB in UTF-8: shorten it.")
    return value


def _integer(value: object, least: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequestError(
            f"{what}: give an int, not {type(value).__name__} {shown(value)}."
        )
    if not least <= value <= _MAX_INT:
        raise BadRequestError(
            f"{what}: give one from {least} to 2**63 - 1, not {shown(value)}."
        )
    return value


def _icon(icon: object, where: str) -> dict[str, Any]:
    if not isinstance(icon, Mapping):
        raise BadRequestError(
            f'{where} must be a dict such as {{"src": "/icon.png"}}, not {shown(icon)}.'
        )
    if not all(isinstance(key, str) for key in icon):
        raise BadRequestError(f"{where} must have keys that are str: {shown(icon)}.")
    _text(icon.get("src"), f'{where}["src"]')
    try:
        text = json.dumps(dict(icon), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadRequestError(
            f"{where} must hold JSON values only, so that it can be stored: {exc}."
        ) from exc
    kept: dict[str, Any] = json.loads(text)
    return kept


def _url_text(value: object, where: str) -> str:
    text = _text(value, where, shown_url)
    if _CONTROL.search(text):
        raise BadRequestError(
            f"{where} {shown_url(text)} has a control character: percent-encode it,"
            " or strip() what was scraped with it."
        )
    if text != text.strip() or " " in text:
        raise BadRequestError(
            f"{where} {shown_url(text)} has a space: strip() the ends, and write"
            " inner ones as %20."
        )
    return text


def _check_authority(url: str, where: str) -> None:
    found = _HTTP_URL.match(url)
    if not found or not found[1]:
        raise BadRequestError(f"{where} {shown_url(url)} has no host: add it after //.")
    if "@" in found[1]:
        raise BadRequestError(
            f"{where} {shown_url(url)} has credentials: take them out, and send them"
            " in an Authorization header."
        )
    host, port = _split_port(found[1])
    if not _is_host(host):
        raise BadRequestError(
            f"{where} {shown_url(url)} has a malformed host: check its spelling."
        )
    if port is not None and not _is_port(port):
        raise BadRequestError(
            f"{where} {shown_url(url)} has a bad port: it must be 1 to 65535."
        )


def _split_port(authority: str) -> tuple[str, str | None]:
    found = _HOST_PORT.fullmatch(authority)
    return (found[1], found[2]) if found else ("", None)


def _is_port(port: str) -> bool:
    digits = port.lstrip("0")
    return port == "" or (
        port.isascii()
        and digits.isdecimal()
        and len(digits) <= 5
        and 1 <= int(digits) <= 65535
    )


@lru_cache(maxsize=1024)
def _is_host(host: str) -> bool:
    """Say whether a host is one by the URL standard, with lengths that DNS takes."""
    if len(host) > _MAX_HOST:
        return False
    try:
        name = comparable_host(host)
    except ValueError:
        return False
    labels = name.removesuffix(".").split(".")
    return name.startswith("[") or (
        len(name) <= 254
        and all(1 <= len(label) <= 63 for label in labels)
        and _REG_NAME.fullmatch(name) is not None
    )


def _join(base: str, relative: str) -> str:
    """Return a relative URL resolved as the URL standard does."""
    front, base_tail = _split_path(base)
    scheme, _, rest = front.partition("://")
    authority, _, base_path = rest.partition("/")
    path, tail = _split_path(relative)
    if path.startswith("//"):
        return f"{scheme}://{path.lstrip('/')}{tail}"
    if not path and not tail.startswith("?"):
        tail = base_tail.partition("#")[0] + tail
    segments = path_segments(_merged_path(f"/{base_path}", path))
    return f"{scheme}://{authority}/{'/'.join(segments)}{tail}"


def _split_path(url: str) -> tuple[str, str]:
    """Return a URL up to its query or fragment, backslashes turned, and the rest."""
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    return path.replace("\\", "/"), url[len(path) :]


def _merged_path(base_path: str, path: str) -> str:
    if not path or path.startswith("/"):
        return path or base_path
    return base_path[: base_path.rfind("/") + 1] + path
