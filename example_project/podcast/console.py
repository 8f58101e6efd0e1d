"""Warnings and errors on the terminal, while the whole log goes to a file."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from scrapy import signals
from scrapy.exceptions import NotConfigured

if TYPE_CHECKING:
    from scrapy.crawler import Crawler
    from typing_extensions import Self


class _Stderr(logging.Handler):
    """Writes to what ``sys.stderr`` is at the moment: a live display moves it.

    Tracebacks are left to the log file.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname}: {record.getMessage()}"
        if record.exc_info and (error := record.exc_info[1]):
            text += f" ({error!r}, see the log)"
        print(text, file=sys.stderr)


class Warnings:
    """Shows what is a warning or worse."""

    def __init__(self) -> None:
        self._handler = _Stderr(logging.WARNING)
        logging.getLogger().addHandler(self._handler)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Take part when the log goes to a file."""
        if not crawler.settings["LOG_FILE"]:
            raise NotConfigured
        warnings = cls()
        crawler.signals.connect(warnings.close, signal=signals.engine_stopped)
        return warnings

    def close(self) -> None:
        """Stop showing."""
        logging.getLogger().removeHandler(self._handler)
