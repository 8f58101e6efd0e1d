"""The add-on: one line in ADDONS turns everything on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.settings import SETTINGS_PRIORITIES
from scrapy.utils.misc import load_object

from scrapy_bgfetch.exceptions import SettingsError
from scrapy_bgfetch.extension import BackgroundFetchExtension
from scrapy_bgfetch.handler import BackgroundFetchDownloadHandler
from scrapy_bgfetch.middleware import BackgroundFetchMiddleware
from scrapy_bgfetch.perform.attempt import SLOT_PREFIX
from scrapy_bgfetch.settings import read_setting

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

_SCHEMES = ("http", "https")
_MIDDLEWARE_ORDER = 10  # before all others: a parked request is none of theirs
_EXTENSION_ORDER = 500


class Addon:
    """Enables the extension, the downloader middleware and the download handler.

    What the user had configured stays: the download handler falls back to the one
    that was there, components that are listed already keep their order.
    """

    def update_settings(self, settings: BaseSettings) -> None:
        """Change the settings of a crawl, with the priority of add-ons."""
        settings.setdefault_in_component_priority_dict(
            "EXTENSIONS", BackgroundFetchExtension, _EXTENSION_ORDER
        )
        settings.setdefault_in_component_priority_dict(
            "DOWNLOADER_MIDDLEWARES", BackgroundFetchMiddleware, _MIDDLEWARE_ORDER
        )
        self._keep_handlers(settings)
        self._keep_slots(settings)
        self._make_room(settings)

    @staticmethod
    def _keep_handlers(settings: BaseSettings) -> None:
        ours = BackgroundFetchDownloadHandler
        handlers = settings.getdict("DOWNLOAD_HANDLERS")
        try:
            kept = settings.getdict("BGFETCH_FALLBACK_HANDLERS")
        except (TypeError, ValueError):
            kept = {}  # the extension says so, and closes the spider
        for scheme in _SCHEMES:
            before = handlers.get(scheme)
            if scheme in handlers and (
                before is None or load_object(before) is not ours
            ):
                kept.setdefault(scheme, before)
            handlers[scheme] = ours
        settings.set("BGFETCH_FALLBACK_HANDLERS", kept, "addon")
        _set(settings, "DOWNLOAD_HANDLERS", handlers)

    @staticmethod
    def _keep_slots(settings: BaseSettings) -> None:
        """Let what was said of a download slot hold for background downloads too."""
        slots = settings.getdict("DOWNLOAD_SLOTS")
        for name, options in list(slots.items()):
            slots.setdefault(f"{SLOT_PREFIX}{name}", options)
        if slots:
            _set(settings, "DOWNLOAD_SLOTS", slots)

    @staticmethod
    def _make_room(settings: BaseSettings) -> None:
        """Add our concurrency to the crawl's, 0 being no limit already."""
        try:
            more = read_setting(settings, "concurrent_records")
        except SettingsError:
            return  # the extension says so, and closes the spider
        total = settings.getint("CONCURRENT_REQUESTS")
        if total > 0:
            _set(settings, "CONCURRENT_REQUESTS", total + more)


def _set(settings: BaseSettings, name: str, value: object) -> None:
    """Change a setting whatever the priority it was set with: it adds, never drops.

    Not below the project's: without a reactor Scrapy puts its own download handlers
    in at that priority.
    """
    priority = max(settings.getpriority(name) or 0, SETTINGS_PRIORITIES["project"])
    settings.set(name, value, priority)
