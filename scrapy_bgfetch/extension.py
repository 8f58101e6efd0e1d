"""The extension: puts the parts together and follows the life of the spider."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy import Request, signals
from scrapy.exceptions import DontCloseSpider, IgnoreRequest, NotConfigured
from scrapy.utils.asyncio import is_asyncio_available
from scrapy.utils.job import job_dir
from scrapy.utils.misc import load_object
from scrapy.utils.project import data_path

from scrapy_bgfetch.bodies.local import LocalBodies
from scrapy_bgfetch.exceptions import BackgroundFetchError, SettingsError, StoreError
from scrapy_bgfetch.grouping import Grouping, is_parked, parked
from scrapy_bgfetch.manager import BackgroundFetchManager
from scrapy_bgfetch.network import Network
from scrapy_bgfetch.perform.attempt import SLOT_PREFIX, Attempt
from scrapy_bgfetch.perform.context import Context
from scrapy_bgfetch.perform.groups import Performer
from scrapy_bgfetch.perform.ledger import Ledger
from scrapy_bgfetch.perform.space import Space
from scrapy_bgfetch.plugins.dispatcher import Dispatcher
from scrapy_bgfetch.plugins.integrity import Integrity
from scrapy_bgfetch.plugins.naming import FileNames
from scrapy_bgfetch.registration import Workshop
from scrapy_bgfetch.registry import Registry
from scrapy_bgfetch.rules.backoff import Budgets
from scrapy_bgfetch.rules.file_names import safe_name
from scrapy_bgfetch.rules.validation import shown
from scrapy_bgfetch.settings import Settings
from scrapy_bgfetch.store.lock import FolderLock
from scrapy_bgfetch.store.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.http import Response
    from typing_extensions import Self

    from scrapy_bgfetch.perform.live import Group

logger = logging.getLogger(__name__)

_CLOSE_REASON = "bgfetch_error"
_WATCH_INTERVAL = 0.2  # seconds between two looks at whether the engine closes
_HANDLER = "scrapy_bgfetch.BackgroundFetchDownloadHandler"
_FORGET_INTERVAL = 60.0  # seconds between two looks at the length of the history
_FORGET_AT_CLOSE = 10  # transactions
_HASHERS = 2  # threads that compute digests
_STATE_FILE = "state.sqlite"


class BackgroundFetchExtension:
    """Owns everything that background fetches need during one crawl.

    :ivar manager: what the spider has as ``background_fetch``.
    """

    def __init__(self, crawler: Crawler, settings: Settings) -> None:
        self.crawler = crawler
        self.settings = settings
        self.attempts: dict[str, Attempt] = {}
        assert crawler.spider is not None
        folder = (settings.dir or _default_dir(crawler)).absolute()
        files = (settings.files_store or folder / "files").absolute()
        self._bodies = LocalBodies(folder / "parts", files)
        self._store = SQLiteStore(
            folder / _STATE_FILE,
            durable=settings.durability == "power",
            patient=settings.on_full == "pause",
        )
        self._lock = FolderLock(folder)
        self._pool = ThreadPoolExecutor(_HASHERS, thread_name_prefix="bgfetch-digest")
        self._performer = self._make_performer()
        workshop = Workshop(self._performer, self._store, self._bodies, self._space)
        builtin = (FileNames(), Integrity())
        dispatcher = Dispatcher.from_crawler(crawler, settings, builtin)
        scope = crawler.spider.name
        registry = Registry(crawler, settings, workshop, dispatcher, scope)
        self._registry = registry
        self.grouping = Grouping(crawler, registry, self._performer, self._store)
        self.manager = BackgroundFetchManager(registry)
        self._tasks: list[asyncio.Task[None]] = []
        self._problem: BackgroundFetchError | None = None
        self._told_paused = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Make the extension and connect it.

        :raises NotConfigured: Scrapy runs on a reactor that is not asyncio's, or a
            setting cannot be used.
        """
        require_spider(crawler)
        try:
            require_asyncio()
        except NotConfigured as error:
            manager = BackgroundFetchManager(None)
            manager.refuse(BackgroundFetchError(str(error)))
            crawler.spider.background_fetch = manager  # type: ignore[union-attr]
            raise
        problem: SettingsError | None = None
        try:
            settings = Settings.from_crawler(crawler)
        except SettingsError as error:
            problem, settings = error, Settings.defaults()
        extension = cls(crawler, settings)
        extension._problem = problem
        extension._connect()
        return extension

    def _connect(self) -> None:
        connect = self.crawler.signals.connect
        connect(self._spider_opened, signals.spider_opened)
        connect(self._engine_started, signals.engine_started)
        connect(self._request_scheduled, signals.request_scheduled)
        connect(self._spider_idle, signals.spider_idle)
        connect(self._spider_closed, signals.spider_closed)

    def _make_performer(self) -> Performer:
        settings = self.settings
        self._space = Space(self._bodies, settings, self._live_bytes)
        context = Context(
            self._store,
            self._bodies,
            settings,
            self._fetch,
            Budgets(settings.restarts, settings.resumptions),
            Ledger(self._store, self._bodies, settings),
            self._space,
            self._pool,
            self.attempts,
        )
        return Performer(
            context,
            host_limit=_host_limit(Network.from_crawler(self.crawler)),
            idle=self._nudge,
            broken=self._broken,
        )

    def _live_bytes(self) -> int:
        return sum(group.downloaded for group in self._performer.groups.values())

    async def _fetch(self, request: Request) -> Response:
        assert self.crawler.engine is not None
        return await self.crawler.engine.download_async(request)

    # -- the life of the spider ---------------------------------------------------

    async def _spider_opened(self, spider: Spider) -> None:
        spider.background_fetch = self.manager  # type: ignore[attr-defined]
        try:
            if self._problem is not None:
                raise self._problem
            await asyncio.to_thread(self._bodies.prepare)
            self._lock.acquire()
            await self._store.open()
            await self._registry.take_up()
        except BackgroundFetchError as error:
            self._refuse(error)
        except Exception as error:
            logger.exception("The state of earlier runs cannot be taken up.")
            self._refuse(StoreError(f"{type(error).__name__}: {error}"))

    def _refuse(self, error: BackgroundFetchError) -> None:
        self._problem = error
        self.manager.refuse(error)

    async def _engine_started(self) -> None:
        if self._problem is not None:
            logger.error("The spider cannot start: %s", self._problem)
            await self._close(_CLOSE_REASON)
            return
        self._check_handlers()
        self._tasks = [
            asyncio.ensure_future(self._watch()),
            asyncio.ensure_future(self._forget()),
        ]
        self._performer.open()

    def _check_handlers(self) -> None:
        """Warn when an attempt would not come to our transport."""
        handlers = self.crawler.settings.getwithbase("DOWNLOAD_HANDLERS")
        for scheme in ("http", "https"):
            path = handlers.get(scheme)
            if path is None or not hasattr(load_object(path), "for_background_fetch"):
                logger.warning(
                    "%s:// URLs of background fetches go to the download handler %s, "
                    "which may hold whole files in memory. Set DOWNLOAD_HANDLERS[%r] "
                    "to %r.",
                    *(scheme, path, scheme, _HANDLER),
                )

    def _request_scheduled(self, request: Request) -> None:
        if is_parked(request):
            raise IgnoreRequest("it has become a record of a background fetch")

    def _spider_idle(self) -> None:
        self.grouping.close_idle()
        if self.settings.on_close == "suspend":
            return
        groups = self._performer.groups.values()
        if self._registry.busy or any(_unfinished(group) for group in groups):
            raise DontCloseSpider
        self._tell_paused([group.row.id for group in groups])

    def _tell_paused(self, ids: list[str]) -> None:
        """Say, once, what the spider does not wait for, and how to go on."""
        if ids and not self._told_paused:
            self._told_paused = True
            logger.warning(
                "The spider does not wait for %d paused background fetches (%s). They "
                "are kept, paused, for its next start: they go on when "
                "`await registration.resume()` is called.",
                *(len(ids), shown(ids)),
            )

    async def _spider_closed(self, reason: str) -> None:
        for task in self._tasks:
            task.cancel()
        await self._performer.suspend()
        if reason == "finished" and self._problem is None:
            await self._registry.forget(most=_FORGET_AT_CLOSE)
        await self._store.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._lock.release()

    async def _watch(self) -> None:
        """Suspend as soon as the engine closes: it waits for what we hold.

        The engine sends no signal at that moment.
        """
        engine = self.crawler.engine
        assert engine is not None
        while not engine.running and self.crawler.crawling:
            await asyncio.sleep(_WATCH_INTERVAL)
        while not _closing(self.crawler):
            await asyncio.sleep(_WATCH_INTERVAL)
        await self._performer.suspend()

    async def _forget(self) -> None:
        """Keep the history bounded."""
        try:
            while not job_dir(self.crawler.settings):  # its queue may ask for any
                await asyncio.sleep(_FORGET_INTERVAL)  # the first requests come first
                if not self.grouping.unanswered:
                    await self._registry.forget()
        except StoreError as error:
            self._broken(error)

    def _nudge(self) -> None:
        """Let the engine look at once whether the spider is idle, not in 5 s.

        Scheduling a request makes it look; this one is dropped on its way.
        """
        engine = self.crawler.engine
        if engine is not None and engine.running and engine.spider is not None:
            engine.crawl(parked(Request("data:,")))

    def _broken(self, error: StoreError) -> None:
        if self._problem is None:
            self._refuse(error)
            logger.error("The state cannot be written any more: %s", error)
            self._closer = asyncio.ensure_future(self._close(_CLOSE_REASON))

    async def _close(self, reason: str) -> None:
        assert self.crawler.engine is not None
        await self.crawler.engine.close_spider_async(reason=reason)


def require_spider(crawler: Crawler) -> None:
    """Check that there is a spider to work for: the Scrapy shell has none yet.

    :raises NotConfigured: there is none; it says nothing, as nothing is wrong.
    """
    if crawler.spider is None:
        raise NotConfigured


def require_asyncio() -> None:
    """Check that Scrapy runs on asyncio.

    :raises NotConfigured: it does not; the message says what to set.
    """
    if not is_asyncio_available():
        raise NotConfigured(
            "scrapy-bgfetch works on asyncio: set TWISTED_REACTOR = "
            '"twisted.internet.asyncioreactor.AsyncioSelectorReactor" (Scrapy\'s '
            "default), or TWISTED_REACTOR_ENABLED = False."
        )


def _unfinished(group: Group) -> bool:
    """Whether an idle spider waits for it: not while it is paused."""
    return group.ending or not group.paused


def _closing(crawler: Crawler) -> bool:
    """Whether the engine has begun to close the spider."""
    engine = crawler.engine
    assert engine is not None
    if not engine.running:
        return True
    scraper = engine.scraper.slot
    busy = engine.downloader.needs_backout() or (
        scraper is not None and scraper.needs_backout()
    )
    return engine.needs_backout() and not busy


def _default_dir(crawler: Crawler) -> Path:
    jobdir = job_dir(crawler.settings)
    if jobdir:
        return Path(jobdir, "bgfetch")
    assert crawler.spider is not None
    return Path(data_path("bgfetch"), safe_name(crawler.spider.name))


def _host_limit(network: Network) -> Callable[[str], int]:
    def limit(host: str) -> int:
        slot = network.slots.get(SLOT_PREFIX + host, {})
        return int(slot.get("concurrency", network.per_host))

    return limit
