"""Where the bytes of a record that ends go: to a file, the next fetch, or nowhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy_bgfetch.model import FailureReason
from scrapy_bgfetch.rules.file_names import file_name

if TYPE_CHECKING:
    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.perform.outcome import Failed

logger = logging.getLogger(__name__)


def keep_error_body(
    context: Context, record: LiveRecord, head: Head | None, body: bytes
) -> str | None:
    """Write the page that came with a bad status; it is exposed too (83).

    None when there is none, or when it cannot be written: the status counts.
    """
    record.head, record.size = head, len(body)
    if head is None or not body:
        return None
    if len(body) > context.space.left:
        logger.warning("There is no room for the error page of %s.", record.url)
        record.size = 0
        return None
    context.space.left -= len(body)
    context.space.settled(len(body))
    try:
        part = context.bodies.open_part(record.part, 0)
        try:
            part.write(body)
        finally:
            part.close()
        name = f"{file_name(record.url, head)}.{head.status}"
        return make_room(context, record, name)
    except OSError as error:
        logger.warning("The error page of %s is not kept: %s", record.url, error)
        context.bodies.discard(record.part)
        record.size = 0
        return None


def make_room(context: Context, record: LiveRecord, name: str) -> str:
    """Return the path that the file will have; its folder is there.

    :raises OSError: the folder cannot be made.
    """
    group = record.group
    path = group.reserve(f"{group.folder}/{name}")
    try:
        context.bodies.make_folder(path)
    except OSError:
        group.give_back(path)
        raise
    return path


def drop(context: Context, record: LiveRecord) -> None:
    """Forget the bytes that came so far, and the head they belong to."""
    record.drop_bytes()
    record.head, record.size, record.encoded = None, None, False
    context.bodies.discard(record.part)


def worth_keeping(record: LiveRecord, failed: Failed) -> bool:
    """Whether its bytes are worth keeping: they are good, and can be resumed.

    Those of a broken transfer must not take room from the rest of a budget.
    """
    resumable = not record.encoded and record.row.method == "GET"
    if failed.reason is FailureReason.FETCH_ERROR:
        resumable = resumable and not record.group.download_total
    elif failed.reason is not FailureReason.QUOTA_EXCEEDED:
        return False
    return failed.keeps and resumable
