"""The built-in plug-in that names files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.hookspecs import hookimpl
from scrapy_bgfetch.rules.file_names import file_name

if TYPE_CHECKING:
    from scrapy_bgfetch.record import BackgroundFetchRecord


class FileNames:
    """Names a file as its server does, otherwise as its URL does."""

    @hookimpl(trylast=True)
    def bgfetch_file_name(self, record: BackgroundFetchRecord) -> str | None:
        """Use Content-Disposition, the URL's last segment and Content-Type."""
        return None if record.head is None else file_name(record.url, record.head)
