"""Requests that join a background fetch after it was registered."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from weakref import WeakKeyDictionary

from scrapy_bgfetch.exceptions import BadRequestError
from scrapy_bgfetch.perform.live import LiveRecord
from scrapy_bgfetch.rules.fetch_options import GROUP
from scrapy_bgfetch.rules.hosts import check_allowed
from scrapy_bgfetch.store.base import Verdict
from scrapy_bgfetch.uploading import positions, rewind

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from scrapy import Request

    from scrapy_bgfetch.adoption import Adoption
    from scrapy_bgfetch.model import RecordRow
    from scrapy_bgfetch.new_records import NewRecords
    from scrapy_bgfetch.perform.live import Group
    from scrapy_bgfetch.registration import Workshop
    from scrapy_bgfetch.rules.revalidation import Previous

T = TypeVar("T")


class Appending:
    """Adds requests to active background fetches."""

    def __init__(
        self, workshop: Workshop, adoption: Adoption, new_records: NewRecords
    ) -> None:
        self._workshop = workshop
        self._adoption = adoption
        self._new_records = new_records
        self._turns: WeakKeyDictionary[Group, asyncio.Lock] = WeakKeyDictionary()

    async def add(
        self,
        group: Group,
        requests: Sequence[Request],
        files: Sequence[BinaryIO | None],
        previous: Mapping[int, Previous],
    ) -> bool:
        """Add all of the requests in one transaction; False when the group has ended.

        One call after another adds to a group, which does not end for want of records
        meanwhile. After False the file objects stand where they stood before.

        :raises BadRequestError: the group cannot take one of them; or it has ended,
            and a file object cannot be read again.
        """
        return await to_its_end(self._add(group, requests, files, previous))

    async def join(self, group: Group, requests: Sequence[Request]) -> bool:
        """Add grouped requests in one transaction; False when the group has ended.

        They are among those that it expects. Whoever calls it makes the requests of
        one group take turns (:class:`~scrapy_bgfetch.joining.Queue`).

        :raises BadRequestError: one of them cannot be kept, or its body not be read.
        """
        return await self._extend(group, requests, grows=False, grouped=True)

    async def _add(
        self,
        group: Group,
        requests: Sequence[Request],
        files: Sequence[BinaryIO | None],
        previous: Mapping[int, Previous],
    ) -> bool:
        async with self._turns.setdefault(group, asyncio.Lock()):
            if group.ending:
                return False
            _check_joins(group, requests)
            starts = positions(files)
            with self._workshop.performer.growing(group):
                added = await self._extend(
                    group, requests, grows=True, files=files, previous=previous
                )
                if not added:
                    rewind(files, starts)
            return added

    async def _extend(
        self, group: Group, requests: Sequence[Request], *, grows: bool, **given: Any
    ) -> bool:
        """Make, keep and take in records; ``given`` says how they are made."""
        sent, bare = await self._new_records.make(
            group.uid, requests, first=len(group.records), **given
        )
        with self._new_records.undone(bare):
            kept = await self._keep(group, bare, grows=grows)
        if kept is None:
            self._new_records.undo(bare)
            return False
        if grows and group.expected is not None:
            group.expected += len(kept)
        self._take_in(group, kept, sent)
        return True

    async def _keep(
        self, group: Group, bare: Sequence[RecordRow], *, grows: bool
    ) -> Sequence[RecordRow] | None:
        """Write them down; return them as they were kept, None when it is too late."""
        rows, adopted = await self._adoption.take(
            group.row.id,
            bare,
            download_total=group.download_total,
            stored=group.downloaded,
        )
        whose = [(row.uid, row.index) for row in adopted]
        extend = partial(self._workshop.store.extend, grows=grows)
        with self._adoption.undone(rows):
            verdict = await extend(group.uid, rows, whose)
        if verdict is not Verdict.KEPT:
            self._adoption.undo(rows)
        if verdict is Verdict.OVER_BUDGET:  # others have written meanwhile
            rows, adopted = list(bare), []
            verdict = await extend(group.uid, rows)
        if verdict is not Verdict.KEPT:
            return None
        self._adoption.taken(adopted)
        return rows

    def _take_in(
        self, group: Group, rows: Sequence[RecordRow], requests: Sequence[Request]
    ) -> None:
        for row, request in zip(rows, requests, strict=True):
            live = LiveRecord(group, row, request=request)
            group.downloaded += row.stored
            group.upload_total += live.upload_size
            group.add(live)
            if not group.ending:
                self._workshop.performer.take_up(live)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Return what the work does, which whoever gives up waiting does not stop.

    The state and what is here would differ otherwise.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)


def _check_joins(group: Group, requests: Sequence[Request]) -> None:
    if GROUP in group.row.options:
        raise BadRequestError(
            f"the id {group.row.id!r} names a group of grouped requests: nothing can "
            'be appended to it. Yield requests with that id in meta["bgfetch"], or use '
            "another id."
        )
    for request in requests:
        check_allowed(request.url, group.options.allowed_hosts, where="requests")
    held = group.paused and all(live.row.method == "GET" for live in group.records)
    if held and any(request.method != "GET" for request in requests):
        raise BadRequestError(
            f"{group.row.id!r} is paused, and all of its requests are GET: resume it "
            "before you append others."
        )
