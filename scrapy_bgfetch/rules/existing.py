"""What to do about earlier background fetches of an id: the options that say it."""

from __future__ import annotations

from datetime import timedelta

from attrs import frozen

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.model import StrEnum
from scrapy_bgfetch.rules.fetch_options import check_flag
from scrapy_bgfetch.rules.validation import shown


class IfExists(StrEnum):
    """What ``fetch`` does when the id is active.

    ``error``: it raises IdActiveError.
    ``keep``: it returns the active background fetch as it is.
    ``replace``: it aborts that one and registers a new one.
    ``append``: it adds its requests to that one.
    """

    ERROR = "error"
    KEEP = "keep"
    REPLACE = "replace"
    APPEND = "append"


def check_if_exists(value: object) -> IfExists:
    """Return what to do when the id is active.

    :raises BadRequestError: it is none of the four words.
    """
    if isinstance(value, str) and value in set(IfExists):
        return IfExists(value)
    words = ", ".join(f'"{word}"' for word in IfExists)
    raise BadRequestError(f"if_exists must be one of {words}, not {shown(value)}.")


def check_skip_if_fresh(value: object) -> float | None:
    """Return the seconds during which what was fetched is fresh, None for never.

    :raises BadRequestError: it is no timedelta, or a negative one.
    """
    if value is None:
        return None
    if not isinstance(value, timedelta):
        raise BadRequestError(
            "skip_if_fresh must be a datetime.timedelta, such as timedelta(hours=6), "
            f"not {type(value).__name__} {shown(value)}."
        )
    if value < timedelta(0):
        raise BadRequestError(
            f"skip_if_fresh must not be negative, and is {shown(value)}."
        )
    return value.total_seconds()


def is_fresh(settled_at: float | None, *, now: float, lifetime: float) -> bool:
    """Return whether what settled then, in seconds, is younger than ``lifetime``.

    What settled in the future is not: a clock was set.
    """
    return settled_at is not None and 0 <= now - settled_at < lifetime


@frozen
class Policy:
    """What is done with earlier background fetches of the id.

    ``lifetime`` is the number of seconds during which a settled one is fresh, None
    for never.
    """

    if_exists: IfExists
    lifetime: float | None
    revalidate: bool

    @classmethod
    def of(cls, if_exists: object, skip_if_fresh: object, revalidate: object) -> Policy:
        """Return what the options of ``fetch`` say.

        :raises BadRequestError: one of them cannot be used.
        """
        return cls(
            check_if_exists(if_exists),
            check_skip_if_fresh(skip_if_fresh),
            check_flag(revalidate, where="revalidate"),
        )
