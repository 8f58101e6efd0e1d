"""The built-in plug-in that names files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy_bgfetch.hookspecs import hookimpl
from scrapy_bgfetch.rules.file_names import file_name

if TYPE_CHECKING:
    from scrapy_bgfetch.record import BackgroundFetchRecord
    from scrapy_bgfetch.response import BackgroundFetchResponse


class FileNames:
    """Names a file as its server does, otherwise as its URL does."""

    @hookimpl(trylast=True)
    def bgfetch_file_name(
        self, record: BackgroundFetchRecord, response: BackgroundFetchResponse
    ) -> str:
        """Use Content-Disposition, the URL's last segment and Content-Type."""
        return file_name(record.url, response.head)
