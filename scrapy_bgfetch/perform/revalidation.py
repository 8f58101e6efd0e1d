"""Ask whether an earlier file is the same still, and let a record succeed with it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrapy_bgfetch.bodies.digests import Digests
from scrapy_bgfetch.exceptions import NotAllowedError
from scrapy_bgfetch.perform.intake import wanted_digests
from scrapy_bgfetch.perform.outcome import NotModified, Unconfirmed
from scrapy_bgfetch.rules.revalidation import conditions, contradiction, freshened

if TYPE_CHECKING:
    from scrapy_bgfetch.model import Head
    from scrapy_bgfetch.perform.context import Context
    from scrapy_bgfetch.perform.live import LiveRecord
    from scrapy_bgfetch.rules.revalidation import Previous

logger = logging.getLogger(__name__)


def earlier_file(context: Context, record: LiveRecord) -> Previous | None:
    """Return the earlier file to ask about.

    None when there is none, or not with its size, or when bytes of a new one are
    stored: those are resumed.
    """
    previous = record.previous
    if previous is None or record.stored or not _is_there(context, previous):
        return None
    return previous


def condition(previous: Previous | None) -> dict[str, str]:
    """Return the request fields that ask about it; {} for None."""
    return {} if previous is None else conditions(previous.head)


async def confirmed(
    context: Context, record: LiveRecord, previous: Previous, answer: Head
) -> NotModified | Unconfirmed:
    """Return what a 304 comes to; show its head when it confirms the earlier file.

    :raises NotAllowedError: a plug-in does not want the body.
    """
    why = contradiction(previous.head, answer)
    if not (why or _is_there(context, previous)):
        why = f"its earlier file {previous.path} has gone"
    if why:
        return Unconfirmed(why)
    head = freshened(previous.head, answer)
    record.head, record.size, record.encoded = head, previous.size, previous.encoded
    assert record.group.delegate is not None
    await record.group.delegate.response_started(record)
    record.wake()
    return NotModified(previous, head)


async def accept(
    context: Context, record: LiveRecord, outcome: NotModified | Unconfirmed
) -> bool:
    """Give the earlier file to the record, once the plug-ins have looked at it.

    False when it is no good: the record asks for a file of its own from now on.
    """
    why = await _refusal(context, record, outcome)
    if why is None:
        context.bodies.discard(record.part)
        return True
    disown(record)
    if not (record.group.ending or record.group.suspended):
        record.previous = None
        logger.info("%s is fetched after all: %s", record.url, why)
    return False


def disown(record: LiveRecord) -> None:
    """Take the earlier file away from the record again."""
    record.head, record.size, record.encoded = None, None, False
    record.path, record.checksums, record.not_modified = None, {}, False
    record.generation += 1


async def _refusal(
    context: Context, record: LiveRecord, outcome: NotModified | Unconfirmed
) -> str | None:
    if isinstance(outcome, Unconfirmed):
        return outcome.why
    previous = outcome.previous
    record.path, record.not_modified = previous.path, True
    record.checksums = dict(previous.checksums)
    assert record.group.delegate is not None
    try:
        await _compute_digests(context, record, previous)
        await record.group.delegate.body_complete(record)
    except (OSError, NotAllowedError) as error:
        return f"its earlier file is no good, {error}"
    except BaseException:
        disown(record)
        raise
    return None


async def _compute_digests(
    context: Context, record: LiveRecord, previous: Previous
) -> None:
    """Compute the digests that somebody wants and the earlier fetch did not have."""
    missing = wanted_digests(context, record) - previous.checksums.keys()
    if not missing:
        return
    path = context.bodies.files / previous.path
    record.digests = Digests(path, sorted(missing), context.pool)
    try:
        record.checksums |= await record.digests.finish(previous.size)
    finally:
        record.stop_digests()


def _is_there(context: Context, previous: Previous) -> bool:
    return context.bodies.file_length(previous.path) == previous.size
