"""What the work on records is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from scrapy_bgfetch.bodies.writing import Writing
from scrapy_bgfetch.perform.extras import Extras
from scrapy_bgfetch.perform.pacing import RateLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from scrapy import Request
    from scrapy.http import Response

    from scrapy_bgfetch.bodies.local import LocalBodies
    from scrapy_bgfetch.perform.attempt import Attempt
    from scrapy_bgfetch.perform.ledger import Ledger
    from scrapy_bgfetch.perform.space import Space
    from scrapy_bgfetch.rules.backoff import Budgets
    from scrapy_bgfetch.settings import Settings
    from scrapy_bgfetch.store.base import Store


@frozen
class Context:
    """What attempts work with; ``pool`` computes digests, ``limit`` is everybody's.

    ``asking`` has the tokens of the attempts that are not answered yet: those are in
    Scrapy's downloader.
    """

    store: Store
    bodies: LocalBodies
    settings: Settings
    fetch: Callable[[Request], Awaitable[Response]]
    budgets: Budgets
    ledger: Ledger
    space: Space
    pool: Executor
    attempts: dict[str, Attempt] = field(factory=dict)
    asking: set[str] = field(factory=set)
    extras: Extras = field(factory=Extras)
    writing: Writing = field(factory=Writing)
    limit: RateLimit = field(init=False)

    @limit.default
    def _overall_limit(self) -> RateLimit:
        return RateLimit(self.settings.rate_limit)
