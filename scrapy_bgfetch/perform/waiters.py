"""Those who wait for a background fetch: until its id is free, until it has ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import SuspendedError

if TYPE_CHECKING:
    import asyncio

    from scrapy_bgfetch.perform.live import Group, LiveRecord


def release(group: Group, waited_for: asyncio.Future[None] | None) -> None:
    """Wake those who wait; after an exception they are told to try again."""
    if sys.exc_info()[0] is not None:
        tell_suspended(group)
    elif waited_for is not None and not waited_for.done():
        waited_for.set_result(None)


def tell_suspended(group: Group) -> None:
    """Tell those who still wait that it does not end in this run."""
    for waited_for in (group.freed, group.finished):
        if waited_for is not None and not waited_for.done():
            waited_for.set_exception(_suspended(group))
            waited_for.exception()  # nobody has to be waiting for it


async def settled(record: LiveRecord) -> None:
    """Wait until the record has settled, or nobody works on it any more."""
    while not record.settled and record.task is not None:
        await record.changed()


def _suspended(group: Group) -> SuspendedError:
    return SuspendedError(
        f"the spider is closing: the background fetch {group.row.id!r} is suspended "
        "and goes on when the spider is started again."
    )
