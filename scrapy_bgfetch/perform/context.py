"""What the work on records is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrapy import Request
    from scrapy.http import Response

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.perform.attempt import Attempt
    from scrapy_bgfetch.rules.backoff import Budgets
    from scrapy_bgfetch.settings import Settings
    from scrapy_bgfetch.store.base import Store


@frozen
class Context:
    """What attempts work with."""

    store: Store
    bodies: LocalBodies
    settings: Settings
    fetch: Callable[[Request], Awaitable[Response]]
    budgets: Budgets
    attempts: dict[str, Attempt] = field(factory=dict)
