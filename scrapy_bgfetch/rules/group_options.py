"""The value of the request meta key ``bgfetch``: how ordinary requests are grouped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import asdict, frozen

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.fetch_options import KEPT_CHECKS
from scrapy_bgfetch.rules.record_options import RECORD_KEYS
from scrapy_bgfetch.rules.validation import (
    check_count,
    check_download_total,
    check_icons,
    check_id,
    check_title,
    shown,
)

_EXAMPLE = (
    'For example: meta={"bgfetch": {"id": "ep-5", "requests": 2}} on the first'
    ' request of a group, meta={"bgfetch": "ep-5"} on the others.'
)
_CHECKS: dict[str, Callable[..., Any]] = {
    "id": check_id,
    "requests": check_count,
    "download_total": check_download_total,
    "title": check_title,
    "icons": check_icons,
    **KEPT_CHECKS,
}


@frozen
class GroupOptions:
    """What one request, or all so far, said of their group. None: nothing.

    ``requests`` is the number of requests after which the group settles,
    ``download_total`` a number of bytes, ``rate_limit`` one of bytes per second.
    The others are those of :class:`~scrapy_bgfetch.rules.fetch_options.KeptOptions`.
    """

    id: str
    requests: int | None = None
    download_total: int | None = None
    title: str | None = None
    icons: tuple[dict[str, Any], ...] | None = None
    rate_limit: int | None = None
    fail_fast: bool | None = None
    retry_uploads: bool | None = None
    priority: int | None = None
    max_concurrent_records: int | None = None
    allowed_hosts: list[str] | None = None
    connections_per_record: int | None = None


def parse_group_options(value: object) -> GroupOptions:
    """Return what a meta value says; a str is an id, None is nothing said.

    :raises BadRequestError: it has another shape, an unknown key, no id, or a
        value that cannot be used.
    """
    said = {"id": value} if isinstance(value, str) else value
    if not isinstance(said, Mapping):
        raise BadRequestError(
            'meta["bgfetch"] must be an id or a dict of options, not'
            f" {type(value).__name__} {shown(value)}. {_EXAMPLE}"
        )
    for key in said:
        _check_key(key)
    if said.get("id") is None:
        raise BadRequestError(f'meta["bgfetch"] must say the "id". {_EXAMPLE}')
    return GroupOptions(**{key: _checked(key, said[key]) for key in said})


def merge(first: GroupOptions, later: GroupOptions) -> GroupOptions:
    """Return what both say: the later may repeat, and say what nobody has said yet.

    :raises BadRequestError: they contradict each other.
    """
    merged = asdict(first, recurse=False)
    for key, value in asdict(later, recurse=False).items():
        if value is None:
            continue
        if merged[key] not in (None, value):
            raise BadRequestError(
                f'meta["bgfetch"]["{key}"] of the group {shown(first.id)} is'
                f" {shown(merged[key])}, and a later request says {shown(value)}: say"
                " it once, or the same each time."
            )
        merged[key] = value
    return GroupOptions(**merged)


def _check_key(key: object) -> None:
    if key in _CHECKS:
        return
    close = get_close_matches(str(key), _CHECKS, n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    raise BadRequestError(
        f'meta["bgfetch"] has the unknown key {shown(key)}.{hint} The keys are'
        f" {', '.join([*_CHECKS, *sorted(RECORD_KEYS)])}. {_EXAMPLE}"
    )


def _checked(key: str, value: object) -> Any:
    if value is None:
        return None
    return _CHECKS[key](value, where=f'meta["bgfetch"]["{key}"]')
