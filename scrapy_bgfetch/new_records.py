"""The rows of new records, made of the requests that somebody gave."""

from __future__ import annotations

from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from scrapy_bgfetch.model import RecordRow
from scrapy_bgfetch.perform.requests import to_json
from scrapy_bgfetch.rules.revalidation import PREVIOUS, Previous
from scrapy_bgfetch.rules.uploads import UPLOAD
from scrapy_bgfetch.uploading import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler

    from scrapy_bgfetch.registration import Workshop
    from scrapy_bgfetch.settings import Settings
    from scrapy_bgfetch.uploading import Taken

_NONE: Mapping[int, Previous] = MappingProxyType({})


class NewRecords:
    """Makes the rows of new records; the bodies that they send are theirs then."""

    def __init__(
        self, crawler: Crawler, workshop: Workshop, settings: Settings
    ) -> None:
        self._crawler = crawler
        self._settings = settings
        self._files = workshop.bodies.uploads
        self._uploads = Uploads(workshop)

    async def make(
        self,
        uid: str,
        requests: Sequence[Request],
        *,
        files: Sequence[BinaryIO | None] = (),
        grouped: bool = False,
        first: int = 0,
        previous: Mapping[int, Previous] = _NONE,
    ) -> tuple[list[Request], list[RecordRow]]:
        """Return the requests as they are sent, and their rows.

        The rows are of the registration ``uid``, numbered from ``first`` on.
        ``files`` are the bodies that are file objects; ``previous`` are earlier files
        that requests, by their number in the list, may find not modified.

        :raises BadRequestError: a request cannot be kept, or its body not be had.
        """
        taken = await self._uploads.take(uid, first, requests, files)
        with self._uploads.undone(taken):
            rows = [
                self._row(uid, first + number, one, grouped, previous.get(number))
                for number, one in enumerate(taken)
            ]
        return [request for request, _ in taken], rows

    @contextmanager
    def undone(self, rows: Sequence[RecordRow]) -> Iterator[None]:
        """Drop their bodies when what is done with them fails."""
        try:
            yield
        except BaseException:
            self.undo(rows)
            raise

    def undo(self, rows: Sequence[RecordRow]) -> None:
        """Drop the bodies of records that will not be."""
        for row in rows:
            self._files.discard(row.request.get(UPLOAD))

    def _row(
        self,
        uid: str,
        index: int,
        taken: Taken,
        grouped: bool,
        previous: Previous | None,
    ) -> RecordRow:
        request, upload = taken
        kept = to_json(
            request,
            spider=self._crawler.spider if grouped else None,
            credentials=self._settings.store_credentials,
        )
        if upload is not None:
            kept[UPLOAD] = upload
        if previous is not None:
            kept[PREVIOUS] = previous.to_json()
        return RecordRow(uid, index, request.url, request.method, kept)
