"""The built-in plug-in that checks what a request's ``integrity`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.exceptions import NotAllowedError
from scrapy_bgfetch.hookspecs import hookimpl
from scrapy_bgfetch.rules.integrity import mismatch

if TYPE_CHECKING:
    from scrapy_bgfetch.record import BackgroundFetchRecord


class Integrity:
    """Refuses a body whose digests are not those that its request asked for."""

    @hookimpl(tryfirst=True)
    def bgfetch_body_complete(self, record: BackgroundFetchRecord) -> None:
        """Compare the digests.

        :raises NotAllowedError: one differs; the message has both.
        """
        if record.integrity:
            found = mismatch(record.integrity, record.checksums)
            if found:
                raise NotAllowedError(f"{record.url} has not the right bytes: {found}.")
