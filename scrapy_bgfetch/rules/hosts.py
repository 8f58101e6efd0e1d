"""To which hosts requests may go: ``allowed_hosts``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.matching import comparable_host
from scrapy_bgfetch.rules.validation import check_url, shown, shown_url

ALLOWED_HOSTS = "allowed_hosts"
_NO_HOST = re.compile(r"[/\\?#@*\s]")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def check_allowed_hosts(
    value: object, *, where: str = ALLOWED_HOSTS
) -> list[str] | None:
    """Return the hosts as :func:`allows` compares them, None for any.

    A name stands for itself and its subdomains, an IP address for itself alone; an
    IPv6 address may be given with brackets or without.

    :raises BadRequestError: it is no list of hosts, or an empty one.
    """
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(
        value, (Sequence, set, frozenset)
    ):
        raise BadRequestError(
            f'{where} must be a list of hosts such as ["example.com"], not '
            f"{shown(value)}."
        )
    if not value:
        raise BadRequestError(
            f"{where} is empty, so nothing could be fetched: leave it out for any host."
        )
    return sorted({_host(host, where) for host in value})


def check_allowed(url: str, allowed: Iterable[str] | None, *, where: str) -> None:
    """Check that a URL is at one of the hosts that are allowed.

    :raises BadRequestError: it is not.
    """
    if allowed is not None and not allows(allowed, url):
        raise BadRequestError(
            f"{where} {shown_url(url)} is outside of allowed_hosts "
            f"({', '.join(allowed)}): add its host, or leave the request out."
        )


def allows(allowed: Iterable[str], url: str) -> bool:
    """Whether a URL is at one of the hosts, or at a subdomain of one."""
    try:
        authority = urlsplit(url).netloc
        if "\\" in authority:  # where others say that the path begins
            return False
        host = _comparable(authority.rpartition("@")[2])
    except ValueError:
        return False
    return any(host == one or host.endswith(f".{one}") for one in allowed)


def _host(host: object, where: str) -> str:
    if not isinstance(host, str):
        raise BadRequestError(f"{where} holds {shown(host)}: each host must be a str.")
    bare = f"[{host}]" if _IPV6.fullmatch(host) else host
    has_port = ":" in bare and not bare.endswith("]")
    if has_port or bare.startswith(".") or _NO_HOST.search(bare):
        raise BadRequestError(
            f"{where} holds {shown(host)}: give the host alone, without scheme, port, "
            "path or wildcard. Subdomains of it are allowed too."
        )
    check_url(f"http://{bare}/", where=where)
    return _comparable(bare)


def _comparable(authority: str) -> str:
    """Return the host of an authority without userinfo, in the form to compare."""
    host = re.sub(r":[0-9]*$", "", authority)
    return comparable_host(host).removesuffix(".")
