"""What the meta key ``bgfetch`` of a request says of its own record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.rules.integrity import parse_integrity
from scrapy_bgfetch.rules.validation import shown

INTEGRITY = "integrity"
BODY_PATH = "body_path"
RECORD_KEYS = frozenset({INTEGRITY, BODY_PATH})


def record_options(value: object) -> dict[str, Any]:
    """Return what a meta value says of one record, as JSON values; {} for nothing.

    ``integrity`` is there in the form of
    :func:`~scrapy_bgfetch.rules.integrity.parse_integrity`, ``body_path`` as it is.

    :raises BadRequestError: a value cannot be used.
    """
    if not isinstance(value, Mapping):
        return {}
    return {
        key: check(value[key], where=f'meta["bgfetch"]["{key}"]')
        for key, check in _CHECKS.items()
        if value.get(key) is not None
    }


def without_record_options(value: object) -> object:
    """Return what a meta value says besides, of its group."""
    if not isinstance(value, Mapping):
        return value
    return {key: said for key, said in value.items() if key not in RECORD_KEYS}


def check_body_path(value: object, *, where: str) -> str:
    """Return the path of a file that holds the body of a request.

    :raises BadRequestError: it is no text that can be a path.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadRequestError(
            f"{where} must be the path of a file, not {shown(value)}."
        )
    return value


_CHECKS: Mapping[str, Callable[..., Any]] = {
    INTEGRITY: parse_integrity,
    BODY_PATH: check_body_path,
}


def own_options(value: object) -> dict[str, Any]:
    """Return what the meta value of a request that is given to ``fetch`` says.

    One that names an ``id`` is a group's, copied from another request: it says
    nothing here.

    :raises BadRequestError: it has an unknown key.
    """
    if not isinstance(value, Mapping) or "id" in value:
        return {}
    for key in value:
        if key not in RECORD_KEYS:
            raise BadRequestError(
                f'meta["bgfetch"] of a request given to fetch() has the unknown key '
                f"{shown(key)}. The keys are {', '.join(sorted(RECORD_KEYS))}; what "
                "belongs to the whole background fetch is an argument of fetch()."
            )
    return dict(value)
