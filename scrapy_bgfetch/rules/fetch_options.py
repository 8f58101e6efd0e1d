"""The options of a background fetch that are kept: how it is performed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import fields_dict, frozen

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.hosts import ALLOWED_HOSTS, check_allowed_hosts
from scrapy_bgfetch.rules.pace import RATE_LIMIT
from scrapy_bgfetch.rules.validation import (
    check_connections,
    check_priority,
    check_rate_limit,
    check_records,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FAIL_FAST = "fail_fast"
RETRY_UPLOADS = "retry_uploads"
PRIORITY = "priority"
MAX_CONCURRENT_RECORDS = "max_concurrent_records"
CONNECTIONS_PER_RECORD = "connections_per_record"
GROUP = "group"


def check_flag(value: object, *, where: str) -> bool:
    """Return the flag.

    :raises BadRequestError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise BadRequestError(f"{where} must be True or False, not {shown(value)}.")
    return value


KEPT_CHECKS: dict[str, Callable[..., Any]] = {
    RATE_LIMIT: check_rate_limit,
    FAIL_FAST: check_flag,
    RETRY_UPLOADS: check_flag,
    PRIORITY: check_priority,
    MAX_CONCURRENT_RECORDS: check_records,
    ALLOWED_HOSTS: check_allowed_hosts,
    CONNECTIONS_PER_RECORD: check_connections,
}


@frozen
class KeptOptions:
    """How a background fetch is performed.

    ``retry_uploads``: whether a request that is not GET may be sent again.
    ``priority``: higher goes first. ``max_concurrent_records``: how many of its
    records may be active at once, 0 for no limit of its own. ``allowed_hosts``: in
    the form of :func:`~scrapy_bgfetch.rules.hosts.check_allowed_hosts`.
    ``connections_per_record``: how many connections a record may have, None for
    BGFETCH_CONNECTIONS_PER_RECORD.
    """

    fail_fast: bool = False
    retry_uploads: bool = False
    priority: int = 0
    max_concurrent_records: int = 0
    allowed_hosts: tuple[str, ...] | None = None
    connections_per_record: int | None = None


_KEPT_FIELDS = tuple(fields_dict(KeptOptions))
_NO_OPTIONS = KeptOptions()


def kept_options(**said: object) -> dict[str, Any]:
    """Return the options as JSON values, without those that say nothing.

    :raises BadRequestError: one of them cannot be used.
    """
    checked = {key: KEPT_CHECKS[key](value, where=key) for key, value in said.items()}
    return {key: value for key, value in checked.items() if value}


def kept_in(options: Mapping[str, Any]) -> KeptOptions:
    """Return what the options of a registration say.

    Those of grouped requests are in what they said of their group.
    """
    said = options.get(GROUP, options)
    known = {key: said[key] for key in _KEPT_FIELDS if key in said}
    if ALLOWED_HOSTS in known:
        known[ALLOWED_HOSTS] = tuple(known[ALLOWED_HOSTS])
    return KeptOptions(**known) if known else _NO_OPTIONS
