"""The form in which a request is kept, and the request of one attempt."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from attrs import evolve
from scrapy.utils.request import request_from_dict

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.manifest import CREDENTIAL_FIELDS
from scrapy_bgfetch.rules.record_options import RECORD_KEYS, record_options
from scrapy_bgfetch.rules.revalidation import PREVIOUS
from scrapy_bgfetch.rules.uploads import UPLOAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy import Request, Spider

    from scrapy_bgfetch.model import Head

META_KEY = "bgfetch"
GROUPED = "grouped"
_CREDENTIAL_FIELDS = {name.encode() for name in CREDENTIAL_FIELDS}
_OURS = {GROUPED, PREVIOUS, UPLOAD, *RECORD_KEYS}
_JSON_KEYS = ("meta", "cb_kwargs", "flags")
# What most requests say: it is not kept, there are many thousand of them.
_USUAL: dict[str, Any] = {
    "callback": None,
    "errback": None,
    "headers": [],
    "method": "GET",
    "body": "",
    "cookies": {},
    "meta": {},
    "encoding": "utf-8",
    "priority": 0,
    "dont_filter": False,
    "flags": [],
    "cb_kwargs": {},
}


def to_json(
    request: Request, *, spider: Spider | None, credentials: bool
) -> dict[str, Any]:
    """Return the request as JSON values, without credentials unless asked.

    Callback and errback are kept by name, and the form says that it is that of a
    grouped request; without a ``spider`` they are dropped (behaviour 12). What meta
    says of the record stands beside, checked. What is as in most requests is left
    out.

    :raises BadRequestError: the callback is no method of the spider, or meta or
        cb_kwargs hold something that JSON cannot carry, or meta's ``bgfetch``
        something that cannot be used.
    """
    if spider is None and (request.callback or request.errback):
        request = request.replace(callback=None, errback=None)
    try:
        kept = request.to_dict(spider=spider)
    except ValueError as error:
        raise BadRequestError(
            f"{request} cannot be kept, so it could not be resumed: {error}. Use "
            "methods of the spider as callback and errback."
        ) from error
    kept["headers"] = _headers_to_json(request, credentials=credentials)
    kept["body"] = base64.b64encode(request.body).decode("ascii")
    kept |= record_options(request.meta.get(META_KEY))
    if not credentials:
        kept["cookies"] = {}
        kept["meta"] = _without_proxy_credentials(kept["meta"])
    if spider is not None:
        kept[GROUPED] = True
    kept = {k: v for k, v in kept.items() if k not in _USUAL or v != _USUAL[k]}
    _check_json(request, kept)
    return kept


def from_json(kept: Mapping[str, Any], *, spider: Spider | None) -> Request:
    """Return the request that :func:`to_json` kept.

    Without a ``spider`` it has no callback and no errback.
    """
    headers: dict[bytes, list[bytes]] = {}
    for name, value in kept.get("headers", ()):
        headers.setdefault(name.encode("latin-1"), []).append(value.encode("latin-1"))
    body = base64.b64decode(kept.get("body", ""))
    known = {key: value for key, value in kept.items() if key not in _OURS}
    if spider is None:
        known |= {"callback": None, "errback": None}
    return request_from_dict({**known, "headers": headers, "body": body}, spider=spider)


def head_to_keep(head: Head, *, credentials: bool) -> Head:
    """Return the head as it is kept: without Set-Cookie unless credentials are."""
    if credentials:
        return head
    lines = tuple(one for one in head.headers if one[0].lower() != "set-cookie")
    return evolve(head, headers=lines)


def attempt_request(
    request: Request, token: str, slot: str, fields: Mapping[str, str]
) -> Request:
    """Return the request that goes through the downloader for one attempt.

    Retries and the cache are ours (DESIGN 2), so Scrapy's stand aside.
    """
    meta = {
        **request.meta,
        META_KEY: {"attempt": token},
        "download_slot": slot,
        "dont_retry": True,
        "dont_cache": True,
    }
    copy = request.replace(meta=meta, callback=None, errback=None)
    for name, value in fields.items():
        copy.headers[name] = value
    return copy


def _headers_to_json(request: Request, *, credentials: bool) -> list[list[str]]:
    return [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, values in request.headers.items()
        if credentials or name.lower() not in _CREDENTIAL_FIELDS
        for value in values
    ]


def _without_proxy_credentials(meta: dict[str, Any]) -> dict[str, Any]:
    proxy = meta.get("proxy")
    if isinstance(proxy, str) and "@" in proxy:
        return {key: value for key, value in meta.items() if key != "proxy"}
    return meta


def _check_json(request: Request, kept: dict[str, Any]) -> None:
    for key in kept.keys() & _JSON_KEYS:
        try:
            same = json.loads(json.dumps(kept[key])) == _lists(kept[key])
        except (TypeError, ValueError) as error:
            raise _not_json(request, key, str(error)) from error
        if not same:
            raise _not_json(request, key, "it would come back changed")
    json.dumps(kept)


def _not_json(request: Request, key: str, why: str) -> BadRequestError:
    return BadRequestError(
        f"{request} cannot be kept, so it could not be resumed: its {key} must hold "
        f"JSON values only ({why})."
    )


def _lists(value: Any) -> Any:
    """Return the value with its tuples as lists, as JSON gives them back."""
    if isinstance(value, (list, tuple)):
        return [_lists(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _lists(entry) for key, entry in value.items()}
    return value
