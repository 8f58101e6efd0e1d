"""The Cache API's request matching, as ``match`` and ``match_all`` use it.

Behaviours 76, 77, 131, 132 and 133; "request matches cached item" and "query
cache" of the Service Workers specification.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote

from attrs import frozen

_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_HTTP_URL = re.compile(
    r"([Hh][Tt][Tt][Pp][Ss]?):[/\\]*([^/\\?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.DOTALL
)
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_SINGLE_DOT = {".", "%2e"}
_DOUBLE_DOT = {"..", ".%2e", "%2e.", "%2e%2e"}
# What the URL standard's percent-encode sets leave as it is, "%" among it.
_PATH_SAFE = "!$%&'()*+,-./:;=@[\\]_|~"
_QUERY_SAFE = "!$%&()*+,-./:;=?@[\\]^_`{|}~"
_FORBIDDEN_IN_HOST = re.compile(r"[\x00- #%/:<>?@\[\\\]^|\x7f]")
_DROPPED_IN_HOST = re.compile("[\u00ad\u200b\u2060\ufeff\ufe00-\ufe0f]")
_IPV4_PART = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")


@frozen
class MatchOptions:
    """The CacheQueryOptions (behaviour 77)."""

    ignore_search: bool = False
    ignore_method: bool = False
    ignore_vary: bool = False


@frozen
class Candidate:
    """What matching looks at: a request, and the Vary of its stored response.

    ``headers`` are the fields of the request, one pair for each line. ``vary`` is
    the combined value of the response, None without a response or without Vary;
    it plays no role in a query.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    vary: str | None = None


def matches(
    query: Candidate, stored: Candidate, options: MatchOptions = MatchOptions()
) -> bool:
    """Say whether ``query`` finds ``stored``.

    Without ``ignore_method`` both must be GET; with it methods play no role (132,
    133). URLs are compared without their fragments. A stored ``Vary: *`` is found
    only with ``ignore_vary``.
    """
    if not options.ignore_method and (query.method, stored.method) != ("GET", "GET"):
        return False
    urls = {
        url_key(url, ignore_search=options.ignore_search)
        for url in (query.url, stored.url)
    }
    return len(urls) == 1 and (options.ignore_vary or _same_variant(query, stored))


def url_key(url: str, *, ignore_search: bool = False) -> str:
    """Return a text that is the same for all URLs that match each other.

    It is never the same for others: an index by it finds what may match, and no
    more. A URL that cannot be parsed stands for itself, without its fragment.
    """
    try:
        key = comparable_url(url)
    except ValueError:
        key = url.partition("#")[0]
    return key.partition("?")[0] if ignore_search else key


def comparable_url(url: str) -> str:
    """Return a text that is equal for two http(s) URLs the URL standard holds equal.

    The fragment plays no role. Scheme and host are in lower case, the default port
    and dot segments are gone, an empty path is "/"; percent-encodings stay as they
    are.

    :raises ValueError: it is not an http(s) URL that the standard can parse.
    """
    found = _HTTP_URL.fullmatch(re.sub("[\t\n\r]", "", url.strip(_C0_AND_SPACE)))
    if not found:
        raise ValueError("not an http or https URL")
    scheme = found[1].lower()
    path = "/".join(path_segments(found[3]))
    query = quote(found[4] or "", _QUERY_SAFE, errors="replace")
    return f"{scheme}://{_authority(found[2], scheme)}/{path}{query}"


def comparable_host(host: str) -> str:
    """Return the host as the URL standard's host parser gives it.

    IPv6 literals (in brackets) are spelled out in full. Names that are not ASCII
    are in Punycode, mapped by NFKC and lower case, which is what UTS 46 comes to;
    Punycode that is given is not checked.

    :raises ValueError: it is not a host.
    """
    if host.startswith("["):
        return f"[{_ipv6(host).exploded}]"
    name = _ascii_name(unquote(host))
    if not name or _FORBIDDEN_IN_HOST.search(name):
        raise ValueError("not a valid host name")
    return _ipv4(name) if _ends_in_a_number(name) else name


def path_segments(path: str) -> list[str]:
    """Return the segments of a URL's path as the URL standard parses it.

    Dot segments are resolved, a backslash separates like "/", and what may not
    stand in a path is percent-encoded.
    """
    segments: list[str] = []
    last = ""
    for last in re.split(r"[/\\]", path)[1:]:
        if last.lower() in _DOUBLE_DOT:
            del segments[-1:]
        elif last.lower() not in _SINGLE_DOT:
            segments.append(quote(last, _PATH_SAFE, errors="replace"))
    if last.lower() in _SINGLE_DOT | _DOUBLE_DOT:
        segments.append("")
    return segments


def _same_variant(query: Candidate, stored: Candidate) -> bool:
    names = [name.strip() for name in (stored.vary or "").split(",")]
    return all(
        name != "*" and _combined(query, name) == _combined(stored, name)
        for name in names
    )


def _combined(candidate: Candidate, name: str) -> str | None:
    wanted = name.lower()
    values = [v.strip() for key, v in candidate.headers if key.lower() == wanted]
    return ", ".join(values) if values else None


def _authority(authority: str, scheme: str) -> str:
    userinfo, _, host_port = authority.rpartition("@")
    credentials = userinfo.removesuffix(":")
    found = _HOST_PORT.fullmatch(host_port)
    if not found:
        raise ValueError("not a valid host and port")
    port = (found[2] or "").lstrip("0") or ("0" if found[2] else "")
    if len(port) > 5 or int(port or 0) > 65535:
        raise ValueError("not a valid port")
    suffix = f":{port}" if port not in {"", _DEFAULT_PORTS[scheme]} else ""
    prefix = f"{credentials}@" if credentials else ""
    return f"{prefix}{comparable_host(found[1])}{suffix}"


def _ipv6(literal: str) -> IPv6Address:
    if not literal.endswith("]") or "%" in literal:
        raise ValueError("not a valid IPv6 address")
    return IPv6Address(literal[1:-1])


def _ascii_name(name: str) -> str:
    if name.isascii():
        return name.lower()
    kept = _DROPPED_IN_HOST.sub("", unicodedata.normalize("NFKC", name).lower())
    mapped = unicodedata.normalize("NFKC", kept).replace("\u3002", ".")
    if "\ufffd" in mapped or any(unicodedata.category(c)[0] == "C" for c in mapped):
        raise ValueError("not a valid host name")
    return ".".join(map(_ascii_label, mapped.split(".")))


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if label.startswith("xn--"):
        raise ValueError("not a valid host name")
    return f"xn--{label.encode('punycode').decode()}"


def _ends_in_a_number(name: str) -> bool:
    return _IPV4_PART.fullmatch(name.removesuffix(".").rpartition(".")[2]) is not None


def _ipv4(name: str) -> str:
    """Return the dotted form of what the standard's IPv4 parser takes."""
    *bytes_, last = [_ipv4_number(part) for part in name.removesuffix(".").split(".")]
    if len(bytes_) > 3 or any(byte > 255 for byte in bytes_):
        raise ValueError("not a valid IPv4 address")
    if last >= 256 ** (4 - len(bytes_)):
        raise ValueError("not a valid IPv4 address")
    first = sum(byte * 256 ** (3 - place) for place, byte in enumerate(bytes_))
    return str(IPv4Address(first + last))


def _ipv4_number(part: str) -> int:
    if not _IPV4_PART.fullmatch(part):
        raise ValueError("not a valid IPv4 address")
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)
