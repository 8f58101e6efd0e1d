"""Takes over the bodies of requests that are in files, before they are registered."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from scrapy_bgfetch.bodies.uploads import in_own_thread
from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.perform.requests import META_KEY
from scrapy_bgfetch.rules.file_names import upload_name
from scrapy_bgfetch.rules.record_options import BODY_PATH, record_options
from scrapy_bgfetch.rules.uploads import check_body

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrapy import Request

    from scrapy_bgfetch.registration import Workshop

Taken = tuple["Request", "dict[str, Any] | None"]


class Uploads:
    """Looks at the files that requests send, and copies file objects (17, 18)."""

    def __init__(self, workshop: Workshop) -> None:
        self._files = workshop.bodies.uploads
        self._performer = workshop.performer

    async def take(
        self,
        uid: str,
        first: int,
        requests: Sequence[Request],
        files: Sequence[BinaryIO | None] = (),
    ) -> list[Taken]:
        """Return each request with the kept form of its file, None without one.

        The requests will be the records of ``uid`` from number ``first`` on. The body
        of a request that was a file object is a copy then, to which its meta points.
        Others can register meanwhile, however long it takes (B17).

        :raises BadRequestError: a body cannot be had; no copy is left.
        """
        taken: list[Taken] = []
        listed = files or [None] * len(requests)
        with self.undone(taken):
            for request, file in zip(requests, listed, strict=True):
                name = upload_name(uid, first + len(taken))
                taken.append(await self._take_one(request, file, name))
        return taken

    @contextmanager
    def undone(self, taken: Sequence[Taken]) -> Iterator[None]:
        """Remove the copies when what is done with them fails."""
        try:
            yield
        except BaseException:
            self._discard(taken)
            raise

    def _discard(self, taken: Sequence[Taken]) -> None:
        for _, kept in taken:
            self._files.discard(kept)

    async def _take_one(
        self, request: Request, file: BinaryIO | None, name: str
    ) -> Taken:
        options = record_options(request.meta.get(META_KEY))
        path = options.get(BODY_PATH)
        check_body(
            request.method,
            in_memory=bool(request.body),
            in_file=path is not None or file is not None,
            url=request.url,
        )
        if file is not None:
            return await self._copied(request, file, name)
        if path is None:
            return request, None
        return request, await asyncio.to_thread(self._files.describe, path)

    async def _copied(self, request: Request, file: BinaryIO, name: str) -> Taken:
        kept = await in_own_thread(
            lambda: self._files.copy(name, file, lambda: self._performer.suspended)
        )
        said = {**request.meta.get(META_KEY, {})}
        said[BODY_PATH] = str(self._files.find(kept).path)
        return request.replace(meta={**request.meta, META_KEY: said}), kept


def positions(files: Sequence[BinaryIO | None]) -> list[int | None]:
    """Return where each file object stands, None for what cannot be read again."""
    return [None if file is None else _position(file) for file in files]


def rewind(files: Sequence[BinaryIO | None], starts: Sequence[int | None]) -> None:
    """Let file objects that were read stand where they stood before.

    :raises BadRequestError: one of them cannot.
    """
    for file, start in zip(files, starts, strict=True):
        if file is None:
            continue
        try:
            if start is None:
                raise OSError("it is not seekable")
            file.seek(start)
        except (OSError, ValueError) as error:
            raise BadRequestError(
                "the background fetch ended while a body was read for it, and the file "
                f"object cannot be read again ({error}): nothing was registered. Open "
                "it anew, and fetch again."
            ) from error


def _position(file: BinaryIO) -> int | None:
    try:
        return file.tell() if file.seekable() else None
    except (AttributeError, OSError, ValueError):
        return None
