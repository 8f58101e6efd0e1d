"""BGFETCH_PERMISSION: whether background fetches may be, and begin (14, 87, 189)."""

from __future__ import annotations

import logging

from scrapy_bgfetch.exceptions import NotAllowedError

logger = logging.getLogger(__name__)


class Permission:
    """What BGFETCH_PERMISSION says: ``granted``, ``prompt`` or ``denied``."""

    def __init__(self, setting: str) -> None:
        self._setting = setting
        self._told = False

    @property
    def asks(self) -> bool:
        """Whether a new background fetch starts paused."""
        return self._setting == "prompt"

    def check(self) -> None:
        """Check that anything new may be fetched.

        :raises NotAllowedError: it may not.
        """
        if self._setting == "denied":
            raise NotAllowedError(
                'the setting BGFETCH_PERMISSION = "denied" forbids background fetches: '
                'set it to "granted", or to "prompt" to start them one by one.'
            )

    def tell_paused(self, id: str) -> None:
        """Say, once, how to go on with what starts paused."""
        if not self._told:
            self._told = True
            logger.info(
                "The background fetch %r starts paused, as all will "
                '(BGFETCH_PERMISSION = "prompt"): `await registration.resume()` lets '
                "it begin.",
                id,
            )
