"""Names of files and folders. What comes from the network is taken as hostile."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from functools import lru_cache
from itertools import chain, count
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scrapy_bgfetch.model import Head

_FALLBACK = "file"
_MAX_FOLDERS = 8

_EXTENSION = re.compile(r"(.+?)((?:\.tar)?\.[A-Za-z0-9]{1,16})", re.DOTALL)
_UNSAFE = re.compile(r'[/\\<>:"|?*]')
# Default-ignorable code points that are not of the category "format".
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0000-\U000e0fff]"
)
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r';\s*([^\s=;]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_EXT_VALUE = re.compile(
    r"((?i:utf-8|iso-8859-1))'[A-Za-z0-9-]*'"
    r"((?:%[0-9A-Fa-f]{2}|[^%\"\\\x00-\x1f\x7f-\U0010ffff])+)"
)
# Where mimetypes says nothing, or something odd, on a supported Python.
_EXTENSIONS = {
    "application/epub+zip": ".epub",
    "application/gzip": ".gz",
    "application/octet-stream": "",
    "application/rss+xml": ".xml",
    "application/x-7z-compressed": ".7z",
    "application/xml": ".xml",
    "application/zstd": ".zst",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/wav": ".wav",
    "audio/x-m4a": ".m4a",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/avif": ".avif",
    "image/webp": ".webp",
    "text/javascript": ".js",
    "video/x-matroska": ".mkv",
}


def folder_name(id: str, uid: str) -> str:
    """Return the name of a registration's folder: its id made safe, its uid's start.

    One path segment of at most 255 bytes in UTF-8, with the guarantees of
    :func:`safe_name`. Ids that look alike stay apart by the uid.
    """
    return safe_name(f"{safe_name(id)}.{uid[:8]}", max_bytes=255)


def part_name(uid: str, index: int) -> str:
    """Return the name of a record's part file: ours alone, nothing from outside."""
    return f"{uid}-{index}.part"


def upload_name(uid: str, index: int) -> str:
    """Return the name of the copy of the body that a record sends."""
    return f"{uid}-{index}.body"


def file_name(url: str, head: Head) -> str:
    """Return a safe name for the body of a response.

    Taken from ``Content-Disposition`` (RFC 6266: ``filename*``, then ``filename``,
    of which only the last path segment counts; broken ones are ignored), else from
    the last path segment of the URL that answered, else of ``url``, else "file".
    A name without an extension gets the one of ``Content-Type``, when that says
    more than application/octet-stream. Has the guarantees of :func:`safe_name`.
    """
    names = chain(_disposition_names(head), _url_names(head.url), _url_names(url))
    name = next(filter(None, map(_clean, names)), _FALLBACK)
    if not _has_extension(name):
        name += _type_extension(head.get("content-type") or "")
    return safe_name(name)


def safe_name(name: str, *, max_bytes: int = 200) -> str:
    """Return one path segment that every common file system takes.

    Never empty, at most ``max_bytes`` (1 or more) bytes in UTF-8, NFC. Without
    separators and what Windows forbids (they become "_"), without control,
    bidirectional and zero-width characters and lone surrogates, without dots and
    spaces at either end, and not a device name of Windows ("con.txt" becomes
    "_con.txt"). A cut keeps the extension. Idempotent.
    """
    return _fit(_clean(name), max_bytes) or _FALLBACK[:max_bytes]


def safe_relative_path(name: str) -> str:
    """Return a relative path of safe segments, separated by "/".

    For the answers of plug-ins: segments that say nothing (empty, ".", "..") are
    dropped, and of more than eight folders only the last eight stay. Idempotent.
    """
    segments = [safe_name(part) for part in name.split("/") if _clean(part)]
    return "/".join(segments[-_MAX_FOLDERS - 1 :]) or _FALLBACK


def unique_name(name: str, taken: Callable[[str], bool]) -> str:
    """Return ``name``, or "stem-2.ext", "stem-3.ext"... : one that is not taken.

    ``taken`` is asked a number of times that grows with the logarithm of the
    answer; where the taken numbers have no gaps, the answer is the lowest free one.
    """
    if not taken(name):
        return name
    stem, extension = _split_extension(name)

    def numbered(number: int) -> str:
        return f"{stem}-{number}{extension}"

    free = next(n for n in (2**power for power in count(1)) if not taken(numbered(n)))
    used = free // 2
    while free - used > 1:
        middle = (free + used) // 2
        if taken(numbered(middle)):
            used = middle
        else:
            free = middle
    return numbered(free)


def folders_of(path: str) -> list[str]:
    """Return the folders that a relative path lies in, the outermost first."""
    return [path[:end] for end, char in enumerate(path) if char == "/"]


def collision_key(name: str) -> str:
    """Return what two names share that some file system takes for the same one."""
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", folded)


def _clean(name: str) -> str:
    """Return ``name`` with nothing unsafe in it, maybe empty, of any length."""
    if not (name.isascii() and name.isprintable()):
        visible = "".join(char for char in name if not _is_invisible(char))
        name = unicodedata.normalize("NFC", visible)
    text = " ".join(name.split())
    return _UNSAFE.sub("_", text).strip(" .")


def _is_invisible(char: str) -> bool:
    if char.isspace():
        return False
    category = unicodedata.category(char)
    return category in {"Cc", "Cf", "Cs"} or _IGNORABLE.match(char) is not None


def _fit(name: str, max_bytes: int) -> str:
    """Return a clean name cut to its length and no device name."""
    short = _cut_stem(name, max_bytes)
    return _fit(f"_{short}", max_bytes) if _RESERVED.match(short) else short


def _cut_stem(name: str, max_bytes: int) -> str:
    if len(name.encode()) <= max_bytes:
        return name
    stem, extension = _split_extension(name)
    short = _cut(stem, max_bytes - len(extension))
    return short + extension if short else _cut(name, max_bytes)


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[: max(max_bytes, 0)].decode(errors="ignore").rstrip(" .")


def _split_extension(name: str) -> tuple[str, str]:
    found = _EXTENSION.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def _has_extension(name: str) -> bool:
    """Tell an extension from the end of a number ("2101.00001", "v1.2")."""
    return any(char.isalpha() for char in _split_extension(name)[1])


def _url_names(url: str) -> Iterator[str]:
    """Yield the decoded path segments of a URL, the last one first."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return
    yield from map(_unquote, reversed(path.split("/")))


def _unquote(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return unquote(segment, "latin-1")


def _disposition_names(head: Head) -> Iterator[str]:
    """Yield the usable names of ``Content-Disposition``, the best one first."""
    fields = (v for name, v in head.headers if name.lower() == "content-disposition")
    field = next(fields, "")
    if not field:
        return
    values: dict[str, str] = {}
    for parameter, value in _PARAMETER.findall(field):
        values.setdefault(parameter.lower(), value.strip())
    for name in (
        _ext_value(values.get("filename*", "")),
        _plain_value(values.get("filename", "")),
    ):
        yield re.split(r"[/\\]", name)[-1]


def _ext_value(value: str) -> str:
    """Return the text of an ext-value (RFC 8187 section 3.2), empty when broken."""
    found = _EXT_VALUE.fullmatch(value)
    try:
        return unquote(found[2], found[1], errors="strict") if found else ""
    except UnicodeDecodeError:
        return ""


def _plain_value(value: str) -> str:
    """Return the text of a token or quoted-string, empty when broken."""
    if value.startswith('"'):
        if len(value) < 2 or not value.endswith('"'):
            return ""
        value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _type_extension(content_type: str) -> str:
    media_type = re.split("[;,]", content_type)[0].strip().lower()
    if media_type in _EXTENSIONS:
        return _EXTENSIONS[media_type]
    return _default_types().guess_extension(media_type) or ""


@lru_cache(maxsize=1)
def _default_types() -> mimetypes.MimeTypes:
    """Python's own table: the same answers on every machine."""
    return mimetypes.MimeTypes()
