"""Bytes that failed records left behind, for the next background fetch of their id."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import evolve

from scrapy_bgfetch.rules.budget import would_exceed
from scrapy_bgfetch.rules.file_names import part_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrapy_bgfetch.model import RecordRow
    from scrapy_bgfetch.registration import Workshop


class Adoption:
    """Lets new records go on where failed ones of the same id and URL had come to."""

    def __init__(self, workshop: Workshop, scope: str) -> None:
        self._store = workshop.store
        self._bodies = workshop.bodies
        self._space = workshop.space
        self._scope = scope
        self._ids: set[str] = set()

    async def open(self) -> None:
        """Find out which ids have kept bytes."""
        self._ids = await self._store.kept_ids(self._scope)

    def left(self, id: str) -> None:
        """Note that a background fetch of this id has left bytes behind."""
        self._ids.add(id)

    async def take(
        self,
        id: str,
        rows: Sequence[RecordRow],
        *,
        download_total: int,
        stored: int = 0,
    ) -> tuple[list[RecordRow], list[RecordRow]]:
        """Return the rows with the bytes they can have, and whose bytes those were.

        No more than what ``download_total`` lets a group have that has ``stored``
        bytes already. The part files have a second name then: that of the new rows.
        """
        if id not in self._ids:
            return list(rows), []
        kept = {
            row.url: row for row in reversed(await self._store.kept(self._scope, id))
        }
        taken: list[RecordRow] = []
        made = []
        for row in rows:
            old = kept.get(row.url) if row.method == "GET" else None
            if old and not would_exceed(download_total, stored, old.stored):
                new = self._link(old, row)
                if new is not None:
                    row, stored = new, stored + old.stored  # noqa: PLW2901
                    taken.append(kept.pop(row.url))
            made.append(row)
        if taken:
            await asyncio.to_thread(self._bodies.flush_names)
        return made, taken

    def taken(self, old: Sequence[RecordRow]) -> None:
        """The state knows of it: take the first name of the part files away."""
        for row in old:
            self._bodies.discard(part_name(row.uid, row.index))
            self._space.settled(-row.stored)

    @contextmanager
    def undone(self, new: Sequence[RecordRow]) -> Iterator[None]:
        """Undo it when what is done with the new rows fails."""
        try:
            yield
        except BaseException:
            self.undo(new)
            raise

    def undo(self, new: Sequence[RecordRow]) -> None:
        """The state will not know of it: take the second name away."""
        for row in new:
            if row.stored:
                self._bodies.discard(part_name(row.uid, row.index))

    def _link(self, old: RecordRow, new: RecordRow) -> RecordRow | None:
        name = part_name(new.uid, new.index)
        if not self._bodies.adopt(part_name(old.uid, old.index), name):
            return None
        return evolve(
            new,
            stored=old.stored,
            segments=old.segments,
            size=old.size,
            head=old.head,
            encoded=old.encoded,
        )
