"""What becomes of a fetch whose id is active, or was fetched before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, BinaryIO

from attrs import frozen

from scrapy_bgfetch.exceptions import IdActiveError
from scrapy_bgfetch.rules.existing import IfExists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Request

    from scrapy_bgfetch.registration import BackgroundFetchRegistration
    from scrapy_bgfetch.registry import Registry
    from scrapy_bgfetch.rules.existing import Policy
    from scrapy_bgfetch.rules.revalidation import Previous


@frozen
class Wanted:
    """What is to be fetched, and what may be used of earlier ones.

    ``files`` are the bodies that are file objects, one for each request or none.
    """

    id: str
    requests: Sequence[Request]
    files: Sequence[BinaryIO | None]
    policy: Policy


async def obtain(
    registry: Registry, wanted: Wanted, **columns: Any
) -> BackgroundFetchRegistration:
    """Return the background fetch that is wanted: an active, a fresh or a new one.

    Calls for one id may race: who finds it taken looks again, as ``if_exists``
    says, when the other has come to an end.

    :raises InvalidStateError: it is called while the id is being registered, by what
        that waits for, and would have to wait for its end.
    :raises IdActiveError: the id is active and ``if_exists`` is ``error`` (16).
    :raises NotAllowedError: BGFETCH_PERMISSION forbids it (14).
    """
    registry.looking += 1  # an idle spider does not close meanwhile
    try:
        return await _obtain(registry, wanted, columns)
    finally:
        registry.looking -= 1


async def _obtain(
    registry: Registry, wanted: Wanted, columns: dict[str, Any]
) -> BackgroundFetchRegistration:
    while True:
        if wanted.policy.if_exists is not IfExists.ERROR:
            await registry.registering(wanted.id)
        if registry.taken(wanted.id):
            found = await _active(registry, wanted)
        else:
            found = await _fresh(registry, wanted)
        if found is not None:
            return found
        if registry.taken(wanted.id) and wanted.policy.if_exists is not IfExists.ERROR:
            continue
        previous = await _previous(registry, wanted)
        try:
            return await registry.register(
                wanted.id,
                wanted.requests,
                files=wanted.files,
                previous=previous,
                **columns,
            )
        except IdActiveError:
            if wanted.policy.if_exists is IfExists.ERROR:
                raise


async def _active(
    registry: Registry, wanted: Wanted
) -> BackgroundFetchRegistration | None:
    """Do what ``if_exists`` says; None when the id is to be registered anew."""
    registration = registry.active.get(wanted.id)
    if registration is None or wanted.policy.if_exists is IfExists.ERROR:
        return None
    if wanted.policy.if_exists is IfExists.KEEP:
        return registration
    registry.permission.check()
    group = registry.groups[registration.uid]
    if wanted.policy.if_exists is IfExists.APPEND:
        previous = await _previous(registry, wanted)
        if await registry.appending.add(group, wanted.requests, wanted.files, previous):
            return registration
    else:
        await registration.abort()
    assert group.freed is not None
    await asyncio.shield(group.freed)  # whoever else ended it may not be done
    return None


async def _fresh(
    registry: Registry, wanted: Wanted
) -> BackgroundFetchRegistration | None:
    lifetime = wanted.policy.lifetime
    if lifetime is None or any(file is not None for file in wanted.files):
        return None
    uid = await registry.earlier.fresh(wanted.id, wanted.requests, lifetime)
    found = None if uid is None else await registry.find(uid)
    if found is None:
        return None
    registration = found[1]
    registry.earlier.skipped(wanted.id, registration.settled_at)
    return registration


async def _previous(registry: Registry, wanted: Wanted) -> dict[int, Previous]:
    if not wanted.policy.revalidate:
        return {}
    return await registry.earlier.previous(wanted.id, wanted.requests)
