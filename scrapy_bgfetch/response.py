"""The response of a record: a head, and a body that is on disk or on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, BinaryIO

from scrapy.http import Response

from scrapy_bgfetch.exceptions import FetchError, SuspendedError, record_error
from scrapy_bgfetch.model import FailureReason
from scrapy_bgfetch.perform.answers import headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.exceptions import RecordError
    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.live import LiveRecord

CHUNK_SIZE = 256 * 1024
_HIDDEN = {"content-range", "content-length", "transfer-encoding"}
_EXPOSED = {FailureReason.NONE, FailureReason.BAD_STATUS}


class Body:
    """The body of one record, complete or not."""

    def __init__(self, live: LiveRecord, bodies: LocalBodies) -> None:
        self.live = live
        self._bodies = bodies

    @property
    def path(self) -> Path:
        """Where the bytes are now: the part file, or the settled file."""
        live = self.live
        if live.path is not None and (live.settled or live.not_modified):
            return self._bodies.files / live.path
        return self._bodies.parts / live.part

    @property
    def length(self) -> int:
        """How many bytes there are now."""
        live = self.live
        if live.failure_reason is FailureReason.BAD_STATUS:
            return (live.size or 0) if live.path is not None else 0
        return (live.size or 0) if live.not_modified else live.front

    async def chunks(self) -> AsyncIterator[bytes]:
        """Follow the body from its first byte to its end."""
        live, position, file = self.live, 0, None
        generation = live.generation
        try:
            while True:
                self._check(generation)
                if position < self.length:
                    file = file or self.path.open("rb", buffering=0)
                    size = min(CHUNK_SIZE, self.length - position)
                    data = await asyncio.to_thread(file.read, size)
                    if not data:
                        raise FetchError(_shrunk(live.url, position))
                    position += len(data)
                    yield data
                elif live.settled:
                    return
                else:
                    await live.changed()
        finally:
            if file is not None:
                file.close()

    def _check(self, generation: int) -> None:
        live = self.live
        if live.settled and live.failure_reason not in _EXPOSED:
            raise failure_of(live)
        if live.generation != generation:
            raise FetchError(
                f"the body of {live.url} has started again from its first byte: read "
                "it anew."
            )
        if live.group.suspended and not live.settled:
            raise SuspendedError(f"the spider is closing: {live.url} goes on next time")


class BackgroundFetchResponse(Response):
    """The response of a record of a background fetch.

    Its ``body`` is empty: the bytes are at :attr:`path`. It is made as soon as
    the head is there, so the body may still be arriving (behaviour 79).
    Content-Range and Content-Length are not among its headers (behaviour 80).
    """

    attributes = (*Response.attributes, "source")

    def __init__(self, url: str, *args: Any, source: Body, **kwargs: Any) -> None:
        super().__init__(url, *args, **kwargs)
        self.source = source

    @property
    def path(self) -> Path:
        """Where the body is: a part file, at its final name when it has settled."""
        return self.source.path

    @property
    def size(self) -> int | None:
        """The length of the complete body in bytes, None while it is not known."""
        return self.source.live.size

    @property
    def head(self) -> Head:
        """The head as the server sent it, nothing hidden."""
        assert self.source.live.head is not None
        return self.source.live.head

    def open(self) -> BinaryIO:
        """Open the bytes that are there now, for reading.

        While a body arrives over several connections its file has gaps, which read as
        zeros: :meth:`iter_body` waits for what is in them.
        """
        return self.path.open("rb")

    def iter_body(self) -> AsyncIterator[bytes]:
        """Iterate over the body, following it while it still arrives.

        Yields chunks of at most 256 KiB.

        :raises RecordError: the record failed before its body was complete, for
            example AbortError (behaviour 81).
        :raises FetchError: the body had to start again from its first byte.
        :raises SuspendedError: the spider is closing.
        """
        return self.source.chunks()


def _shrunk(url: str, position: int) -> str:
    return (
        f"the file of {url} ends at byte {position}, earlier than its body: something "
        "else has changed it. Read `path` instead."
    )


def response_of(
    live: LiveRecord, bodies: LocalBodies, **kwargs: Any
) -> BackgroundFetchResponse:
    """Return a new response for a record whose head is there."""
    head = live.head
    assert head is not None
    hidden = _HIDDEN | ({"content-encoding"} if live.encoded else set())
    return BackgroundFetchResponse(
        head.url,
        status=head.status,
        headers=headers_of(head, hidden),
        source=Body(live, bodies),
        **kwargs,
    )


def failure_of(live: LiveRecord, **where: Any) -> RecordError:
    """Return the exception of a record that has failed."""
    what = f"record {live.index} of {live.group.row.id!r}"
    if live.url not in live.error:
        what += f", {live.url}"
    return record_error(live.failure_reason, f"{what}: {live.error}", **where)
