"""What earlier runs left in the state: made again, a piece at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from scrapy_bgfetch.perform.live import Group, LiveRecord
from scrapy_bgfetch.perform.requests import from_json
from scrapy_bgfetch.perform.turns import Turns
from scrapy_bgfetch.rules.file_names import part_name, upload_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.model import RecordRow, RegistrationRow
    from scrapy_bgfetch.registration import Workshop

logger = logging.getLogger(__name__)

_PIECE = 500  # records that are read at once


class Recovery:
    """Makes background fetches of what the state knows of them.

    :param scope: whose background fetches they are.
    """

    def __init__(self, crawler: Crawler, workshop: Workshop, scope: str) -> None:
        self._crawler = crawler
        self._store = workshop.store
        self._bodies = workshop.bodies
        self._scope = scope

    async def load(self, row: RegistrationRow) -> Group:
        """Return one, with its records."""
        group = Group(row)
        await self._take_in({row.uid: group}, await self._store.records(row.uid))
        return group

    async def undelivered(self) -> list[Group]:
        """Return what a run takes up: all that is active or not delivered."""
        turns, groups = Turns(), []
        for row in await self._store.undelivered(self._scope):
            groups.append(Group(row))
            if turns.over:
                await turns.next()
        await self._load_all({group.uid: group for group in groups})
        return groups

    async def _load_all(self, groups: Mapping[str, Group]) -> None:
        left, first = sorted(groups), 0
        while left:
            uids = left[:_PIECE]
            rows = await self._store.records_of(uids, first=first, limit=_PIECE)
            await self._take_in(groups, rows)
            if len(rows) < _PIECE:
                left, first = left[_PIECE:], 0
            else:
                left = left[uids.index(rows[-1].uid) :]
                first = rows[-1].index + 1

    async def tidy(self, groups: Sequence[Group]) -> None:
        """Do to the files what the state says, and an earlier run did not come to.

        :raises StoreError: a file cannot be put in its place.
        """
        parts = await self._store.parts()
        await asyncio.to_thread(_tidy, self._bodies, groups, parts)

    async def _take_in(
        self, groups: Mapping[str, Group], rows: Iterable[RecordRow]
    ) -> None:
        turns, restore = Turns(), self._restore
        for row in rows:
            group, again = groups[row.uid], None if row.announced else restore
            group.add(LiveRecord(group, row, restore=again))
            if turns.over:
                await turns.next()

    def _restore(self, live: LiveRecord) -> Request:
        """Make its request again; one whose callback is gone has none any more.

        One whose class is gone, or fails, is a plain one: the same is sent.
        """
        kept = live.row.request
        try:
            return from_json(kept, spider=self._crawler.spider)
        except Exception as error:
            logger.error(  # noqa: TRY400
                "%s of the background fetch %r goes on, but its callback will not be "
                "called: %s.",
                *(live.url, live.group.row.id, error),
            )
            live.has_callback = False
            if not isinstance(error, ValueError):
                kept = {key: value for key, value in kept.items() if key != "_class"}
            return from_json(kept, spider=None)


def _tidy(
    bodies: LocalBodies, groups: Iterable[Group], parts: Iterable[tuple[str, int]]
) -> None:
    """Put settled files in their places, and remove those that no record knows."""
    for group in groups:
        for record in group.records:
            if record.settled and not record.announced:
                _publish_left(bodies, record)
    bodies.discard_orphans({part_name(uid, index) for uid, index in parts})
    bodies.uploads.discard_orphans({upload_name(uid, index) for uid, index in parts})


def _publish_left(bodies: LocalBodies, record: LiveRecord) -> None:
    """Rename or drop the part file that an earlier run settled, and no more."""
    bodies.uploads.discard(record.upload)
    if record.not_modified or (record.path is None and not record.stored):
        bodies.discard(record.part)
    elif record.path is not None and bodies.has_part(record.part):
        bodies.publish(record.part, record.path)
