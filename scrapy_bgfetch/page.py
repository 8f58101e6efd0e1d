"""What requests carry of the page that they were found on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scrapy.http import Response
from scrapy.spidermiddlewares.referer import (
    NoReferrerPolicy,
    NoReferrerWhenDowngradePolicy,
    OriginPolicy,
    OriginWhenCrossOriginPolicy,
    ReferrerPolicy,
    SameOriginPolicy,
    StrictOriginPolicy,
    StrictOriginWhenCrossOriginPolicy,
    UnsafeUrlPolicy,
)
from scrapy.utils.url import strip_url

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.validation import check_url, shown

if TYPE_CHECKING:
    from scrapy import Request

_POLICIES: dict[str, ReferrerPolicy] = {
    policy.name: policy()
    for policy in (
        NoReferrerPolicy,
        NoReferrerWhenDowngradePolicy,
        OriginPolicy,
        OriginWhenCrossOriginPolicy,
        SameOriginPolicy,
        StrictOriginPolicy,
        StrictOriginWhenCrossOriginPolicy,
        UnsafeUrlPolicy,
    )
}
_DEFAULT_POLICY = StrictOriginWhenCrossOriginPolicy.name
_JAR_KEYS = ("cookiejar", "dont_merge_cookies")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.1
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 section 5.5


def carried(
    requests: list[Request],
    headers: Mapping[str, Any] | None,
    *,
    referer: str | Response | None,
    cookies_from: Response | None,
) -> list[Request]:
    """Add to the requests, which must be ours to change, what they don't have.

    :raises BadRequestError: an argument cannot be used.
    """
    fields = _checked_fields(headers)
    page, policy = _referer_page(referer)
    source = _source_of(cookies_from)
    for request in requests:
        for name, values in fields.items():
            request.headers.setdefault(name, values)
        value = page and policy.referrer(page, request.url)
        if value:
            request.headers.setdefault(b"Referer", value)
        if source is not None:
            _share_cookies(source, request)
    return requests


def _checked_fields(headers: object) -> dict[str, list[str]]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise BadRequestError(
            'headers must be a dict such as {"Accept": "audio/*"}, not '
            f"{type(headers).__name__}."
        )
    return {_field_name(name): _field_values(name, headers[name]) for name in headers}


def _field_name(name: object) -> str:
    text = _decoded(name)
    if text is None or not _NAME.fullmatch(text):
        raise BadRequestError(
            f"headers has the field name {shown(name)}, which is none: give text such "
            'as "Accept".'
        )
    return text


def _field_values(name: object, value: object) -> list[str]:
    """Return the values of a field; they may be secret, so no message shows them."""
    alone = isinstance(value, (str, bytes)) or not isinstance(value, Sequence)
    values = [value] if alone else value
    assert isinstance(values, Sequence)
    texts = [_decoded(one) for one in values]
    if not texts or any(text is None or _NOT_IN_VALUE.search(text) for text in texts):
        raise BadRequestError(
            f"headers has an unusable value for {shown(name)}: give a str, or a list "
            "of them, without line breaks or other control characters."
        )
    return [text for text in texts if text is not None]


def _decoded(value: object) -> str | None:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return value if isinstance(value, str) else None


def _referer_page(referer: object) -> tuple[str | None, ReferrerPolicy]:
    """Return the page's URL, None when there is none to tell, and its policy."""
    policy = _POLICIES[_DEFAULT_POLICY]
    if referer is None:
        return None, policy
    if isinstance(referer, Response):
        http = urlsplit(referer.url).scheme in {"http", "https"}
        return (referer.url if http else None), _policy_of(referer)
    if not isinstance(referer, str):
        raise BadRequestError(
            f"referer must be a URL or a response, not {type(referer).__name__}."
        )
    try:
        bare = strip_url(referer, strip_default_port=False)
    except ValueError:
        bare = referer
    return check_url(bare, where="referer"), policy


def _policy_of(response: Response) -> ReferrerPolicy:
    """Return the last known policy of its Referrer-Policy fields, as browsers do."""
    lines = response.headers.getlist("Referrer-Policy")
    said = b",".join(lines).decode("latin-1").lower().split(",")
    known = [name.strip() for name in said if name.strip() in _POLICIES]
    return _POLICIES[known[-1] if known else _DEFAULT_POLICY]


def _source_of(cookies_from: object) -> Request | None:
    if cookies_from is None:
        return None
    if not isinstance(cookies_from, Response):
        raise BadRequestError(
            f"cookies_from must be a response, not {type(cookies_from).__name__}."
        )
    if cookies_from.request is None:
        raise BadRequestError(
            "cookies_from is a response without a request: give one that a callback "
            "got."
        )
    return cookies_from.request


def _share_cookies(source: Request, request: Request) -> None:
    """Name the same jar; a Cookie field is for the same host alone.

    Where Scrapy's CookiesMiddleware works, it writes that field anew from the jar.
    """
    for key in _JAR_KEYS:
        if key in source.meta:
            request.meta.setdefault(key, source.meta[key])
    here, there = urlsplit(source.url), urlsplit(request.url)
    safe = there.scheme in {here.scheme, "https"} and here.hostname == there.hostname
    cookies = source.headers.getlist("Cookie")
    if cookies and safe and not request.cookies:
        request.headers.setdefault(b"Cookie", cookies)
