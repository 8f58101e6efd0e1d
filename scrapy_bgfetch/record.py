"""What users hold of one request of a background fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.exceptions import SuspendedError
from scrapy_bgfetch.model import FailureReason, RecordState
from scrapy_bgfetch.perform.requests import from_json
from scrapy_bgfetch.response import failure_of, response_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from pathlib import Path

    from scrapy import Request

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.registration import BackgroundFetchRegistration
    from scrapy_bgfetch.response import BackgroundFetchResponse


class BackgroundFetchRecord:
    """One request of a background fetch, and its response."""

    def __init__(
        self,
        registration: BackgroundFetchRegistration,
        live: LiveRecord,
        bodies: LocalBodies,
    ) -> None:
        self.registration = registration
        self._live = live
        self._bodies = bodies

    def __repr__(self) -> str:
        return f"<BackgroundFetchRecord {self.index} {self.url} {self.state}>"

    @property
    def request(self) -> Request:
        """A copy of the request, with its body (78).

        One in a file is named by ``meta["bgfetch"]["body_path"]``; the copy that was
        made of a file object goes when the record has settled.
        """
        live = self._live
        if live.request is not None:
            return live.request.copy()
        return from_json(live.row.request, spider=None)

    @property
    def index(self) -> int:
        """Its number in the background fetch, from 0."""
        return self._live.index

    @property
    def url(self) -> str:
        """The URL of its request, before redirects (59)."""
        return self._live.url

    @property
    def state(self) -> RecordState:
        """``pending``, ``active`` or ``settled``."""
        return self._live.state

    @property
    def failure_reason(self) -> FailureReason:
        """Why it failed; "" while it is under way and after success."""
        return self._live.failure_reason

    @property
    def error(self) -> str:
        """What went wrong, in words; "" when nothing did."""
        return self._live.error

    @property
    def head(self) -> Head | None:
        """The head of its response as the server sent it, None while there is none."""
        return self._live.head

    @property
    def status(self) -> int | None:
        """The status of its response, None while there is none."""
        head = self._live.head
        return head.status if head is not None else None

    @property
    def downloaded(self) -> int:
        """How many bytes of its body are stored now; 0 when it was not modified."""
        return self._live.stored

    @property
    def uploaded(self) -> int:
        """How many bytes of its request's body were sent; it never falls (58)."""
        return self._live.uploaded

    @property
    def size(self) -> int | None:
        """The length of its complete body in bytes, None while it is not known."""
        return self._live.size

    @property
    def path(self) -> Path | None:
        """Where its settled file is; None before, and when it left none."""
        live = self._live
        settled = live.settled and live.path is not None
        return self._bodies.files / str(live.path) if settled else None

    @property
    def not_modified(self) -> bool:
        """Whether its file is that of an earlier background fetch.

        The server has answered 304 to ``revalidate``. ``path`` is where that file has
        always been, the response has its head, freshened by the 304 (RFC 9111 section
        3.2). Nothing was downloaded.
        """
        return self._live.not_modified

    @property
    def integrity(self) -> dict[str, list[str]]:
        """What its body must be: accepted hex digests by algorithm; {} for anything."""
        return self._live.integrity

    @property
    def checksums(self) -> dict[str, str]:
        """The digests of its complete body in hex, by algorithm.

        There are those of BGFETCH_CHECKSUM and of its ``integrity``; {} before it is
        complete.
        """
        return dict(self._live.checksums)

    @property
    def response_ready(self) -> ResponseReady:
        """Await it for the response; it is there as soon as the head is (79)."""
        return ResponseReady(self)

    async def response(self) -> BackgroundFetchResponse:
        """Wait for the head and return a new response.

        :raises RecordError: the record failed without a response that is
            readable: AbortError, FetchError, QuotaExceeded or
            DownloadTotalExceeded (6, 81, 82).
        :raises SuspendedError: the spider is closing.
        """
        live = self._live
        while True:
            if live.settled and live.failure_reason in _UNREADABLE:
                raise self.failure()
            if live.head is not None:
                return response_of(live, self._bodies, request=self.request)
            if live.group.suspended:
                raise SuspendedError(
                    f"the spider is closing: {live.url} goes on next time"
                )
            await live.changed()

    def failure(self) -> Exception:
        """Return the exception of a record that has failed."""
        return failure_of(self._live, registration=self.registration, record=self)


class ResponseReady:
    """Something to await, as often as one likes (behaviours 79, 84)."""

    def __init__(self, record: BackgroundFetchRecord) -> None:
        self._record = record

    def __await__(self) -> Generator[Any, None, BackgroundFetchResponse]:
        waiting: Awaitable[BackgroundFetchResponse] = self._record.response()
        return waiting.__await__()


_UNREADABLE = frozenset(FailureReason) - {FailureReason.NONE, FailureReason.BAD_STATUS}
