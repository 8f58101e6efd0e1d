"""What is given to ``fetch``: checked, and made into requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from scrapy import Request
from scrapy.http import Response

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.perform.requests import META_KEY
from scrapy_bgfetch.rules.hosts import check_allowed
from scrapy_bgfetch.rules.record_options import BODY_PATH, INTEGRITY, own_options
from scrapy_bgfetch.rules.validation import check_url, resolve_url, shown

OneRequest = str | Request
Integrity = str | Mapping[str, Any]
Body = Path | BinaryIO


def base_of(base_url: str | Response | None) -> str | None:
    """Return the URL against which relative ones are resolved, None without one.

    :raises BadRequestError: it is no URL that can be fetched.
    """
    base = base_url.url if isinstance(base_url, Response) else base_url
    return None if base is None else check_url(base, where="base_url")


def requests_of(
    given: OneRequest | Iterable[OneRequest],
    base_url: str | None,
    *,
    integrity: Integrity | Sequence[Integrity | None] | None = None,
) -> list[Request]:
    """Return one request for each that was given (behaviours 8-12).

    :raises BadRequestError: something cannot be used; it says what.
    """
    requests = [_request(one, base_url) for one in _listed(given)]
    if integrity is not None:
        requests = _with_integrity(requests, integrity)
    return requests


def with_bodies(
    requests: list[Request], bodies: Body | Sequence[Body | None] | None
) -> tuple[list[Request], list[BinaryIO | None]]:
    """Return the requests with the paths of their bodies, and the file objects.

    :raises BadRequestError: a body is neither, or there are not as many as requests.
    """
    if bodies is None:
        return requests, []
    alone = isinstance(bodies, (str, bytes)) or not isinstance(bodies, Sequence)
    listed: list[Any] = [bodies] if alone else list(bodies)  # type: ignore[arg-type]
    if len(listed) != len(requests):
        raise BadRequestError(
            f"body has {len(listed)} entries for {len(requests)} requests: give a list "
            "with one for each request, None for those without a file."
        )
    _check_read_once(listed)
    given = [
        _with_body(request, body)
        for request, body in zip(requests, listed, strict=True)
    ]
    return given, [None if isinstance(body, Path) else body for body in listed]


def check_hosts(requests: Iterable[Request], allowed: Sequence[str] | None) -> None:
    """Check that all requests go to hosts that are allowed, None for any.

    :raises BadRequestError: one of them does not.
    """
    for request in requests:
        check_allowed(request.url, allowed, where="requests")


def _listed(requests: OneRequest | Iterable[OneRequest]) -> list[OneRequest]:
    if isinstance(requests, (str, Request)):
        return [requests]
    if not isinstance(requests, Iterable) or isinstance(requests, (bytes, dict)):
        raise BadRequestError(
            "requests must be a URL, a scrapy.Request or a list of them, not "
            f"{type(requests).__name__}."
        )
    listed = list(requests)
    if not listed:
        raise BadRequestError(
            "requests is empty: a background fetch needs at least one request."
        )
    return listed


def _with_integrity(
    requests: list[Request], integrity: Integrity | Sequence[Integrity | None]
) -> list[Request]:
    """Write what each body must be into the meta of its request."""
    alone = isinstance(integrity, (str, Mapping))
    listed = [integrity] if alone else list(integrity)
    if len(listed) != len(requests):
        raise BadRequestError(
            f"integrity has {len(listed)} entries for {len(requests)} requests: give a "
            "list with one for each request, None for those that may be anything."
        )
    return [
        request if said is None else _with_option(request, INTEGRITY, said)
        for request, said in zip(requests, listed, strict=True)
    ]


def _check_read_once(bodies: Sequence[object]) -> None:
    files = [id(one) for one in bodies if callable(getattr(one, "read", None))]
    if len(set(files)) < len(files):
        raise BadRequestError(
            "body has a file object twice, which can be read only once: open the file "
            "for each request, or give its path."
        )


def _with_body(request: Request, body: object) -> Request:
    if body is None or callable(getattr(body, "read", None)):
        in_two = body is not None and BODY_PATH in request.meta.get(META_KEY, {})
    elif isinstance(body, Path):
        in_two = BODY_PATH in request.meta.get(META_KEY, {})
        request = _with_option(request, BODY_PATH, str(body))
    else:
        raise BadRequestError(
            f"body must be a pathlib.Path or an open binary file, not {shown(body)}. A "
            "body in memory is the request's: Request(url, method='POST', body=b'...')."
        )
    if in_two:
        raise BadRequestError(
            f'{request.url} has two bodies: that of fetch() and meta["bgfetch"]'
            f'["{BODY_PATH}"]. Leave one of them out.'
        )
    return request


def _with_option(request: Request, key: str, value: object) -> Request:
    options = {**request.meta.get(META_KEY, {}), key: value}
    return request.replace(meta={**request.meta, META_KEY: options})


def _request(one: OneRequest, base_url: str | None) -> Request:
    if isinstance(one, Request):
        check_url(one.url, where="requests")
        meta = dict(one.meta)
        if not own_options(meta.get(META_KEY)):
            meta.pop(META_KEY, None)
        return one.replace(meta=meta, callback=None, errback=None)
    if not isinstance(one, str):
        raise BadRequestError(
            f"requests holds {one!r:.100}: each of them must be a URL or a "
            "scrapy.Request."
        )
    return Request(resolve_url(one, base_url, where="requests"))
