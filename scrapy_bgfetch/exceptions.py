"""All exceptions of scrapy-bgfetch, under one :class:`BackgroundFetchError`.

What the specification calls a TypeError is a subclass of :class:`TypeError` too.
"""

from __future__ import annotations

from typing import Any

from scrapy.exceptions import CloseSpider

from scrapy_bgfetch.model import FailureReason


class BackgroundFetchError(Exception):
    """The root of this package's exceptions."""


class SettingsError(BackgroundFetchError, ValueError):
    """A ``BGFETCH_*`` setting has a value that cannot be used."""


class StoreError(BackgroundFetchError):
    """The state in ``BGFETCH_DIR`` cannot be used."""


class QuotaExceededError(BackgroundFetchError):
    """More bytes are asked for than the quota or the disk has left (20, 110)."""


class StoreFull(StoreError, QuotaExceededError):  # noqa: N818
    """The disk is full: the state in ``BGFETCH_DIR`` is whole, but nothing was added.

    Free some space, or let it be waited for (``BGFETCH_ON_FULL``). It is a
    QuotaExceededError too (19).
    """


class BadRequestError(BackgroundFetchError, TypeError):
    """What was given to ``fetch``, ``get``, ``match`` or the meta key is unusable."""


class IdActiveError(BadRequestError):
    """The id names a background fetch that is still active (behaviour 16)."""


class NotAllowedError(BackgroundFetchError):
    """The background fetch was denied, by permission or a plug-in (behaviour 14)."""


class InvalidStateError(BackgroundFetchError):
    """The call came too early, too late or twice (behaviours 74, 85)."""


class ManifestError(BackgroundFetchError, ValueError):
    """No manifest, or none that is safe to verify; the message says where and why."""


class SuspendedError(BackgroundFetchError, CloseSpider):
    """The spider is closing: what was awaited goes on at its next start.

    As a CloseSpider it ends a callback quietly: nobody has done anything wrong.
    """

    def __init__(self, message: str) -> None:
        CloseSpider.__init__(self, "shutdown")
        self.args = (message,)


class RecordError(BackgroundFetchError):
    """A record failed.

    :ivar registration: the :class:`BackgroundFetchRegistration` it belongs to.
    :ivar record: the :class:`BackgroundFetchRecord`.
    """

    reason = FailureReason.NONE

    def __init__(
        self,
        message: str,
        *,
        registration: Any = None,
        record: Any = None,
    ) -> None:
        super().__init__(message)
        self.registration = registration
        self.record = record


class AbortError(RecordError):
    """The record was aborted before it was complete (behaviour 81)."""

    reason = FailureReason.ABORTED


class BadStatus(RecordError):  # noqa: N818
    """The server answered with a status that is not 2xx (behaviour 54)."""

    reason = FailureReason.BAD_STATUS


class FetchError(RecordError, TypeError):
    """The body could not be had: network, protocol, policy (44, 46, 82)."""

    reason = FailureReason.FETCH_ERROR


class QuotaExceeded(RecordError, TypeError):  # noqa: N818
    """The body did not fit the quota or the disk (behaviour 51)."""

    reason = FailureReason.QUOTA_EXCEEDED


class DownloadTotalExceeded(RecordError, TypeError):  # noqa: N818
    """The group's bytes would have passed its ``download_total`` (behaviour 50)."""

    reason = FailureReason.DOWNLOAD_TOTAL_EXCEEDED


_BY_REASON: dict[FailureReason, type[RecordError]] = {
    cls.reason: cls
    for cls in (AbortError, BadStatus, FetchError, QuotaExceeded, DownloadTotalExceeded)
}


def record_error(reason: FailureReason, message: str, **where: Any) -> RecordError:
    """Return the exception of a failure reason."""
    return _BY_REASON[reason](message, **where)
