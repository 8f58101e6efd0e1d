"""Finds plug-ins and calls their hooks, one after another, each on its own.

pluggy knows no await: it keeps the plug-ins and their order, the calls are made
here. What a plug-in gets wrong stays its own: it is logged with its name and
counted, and the next one is called.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pluggy
from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.misc import build_from_crawler, load_object

from scrapy_bgfetch import hookspecs
from scrapy_bgfetch.exceptions import NotAllowedError
from scrapy_bgfetch.stats import PLUGIN_ERRORS, PLUGIN_ERRORS_OF

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluggy import HookImpl
    from scrapy.crawler import Crawler

    from scrapy_bgfetch.settings import Settings

logger = logging.getLogger(__name__)


class Lazy:
    """An argument of a hook that is made when the first implementation takes it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def get(self) -> Any:
        """Return it, the same each time."""
        if self._made is None:
            self._made = self._make()
        return self._made


class Dispatcher:
    """The plug-ins of one crawl.

    :param count: called with the name of a stat for each failure of a plug-in.
    """

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)

    @classmethod
    def from_crawler(
        cls, crawler: Crawler, settings: Settings, builtin: tuple[Any, ...]
    ) -> Dispatcher:
        """Load the built-in plug-ins, the installed ones and BGFETCH_PLUGINS.

        One that cannot be loaded is logged and left out.
        """
        stats = crawler.stats
        assert stats is not None
        dispatcher = cls(stats.inc_value)
        for name in settings.disabled_plugins:
            dispatcher.block(name)
        for plugin in builtin:
            dispatcher.load(plugin_name(plugin), partial(_find, plugin), crawler)
        for entry_point in entry_points(group=hookspecs.PROJECT):
            dispatcher.load(entry_point.name, entry_point.load, crawler)
        for plugin in settings.plugins:
            dispatcher.load(plugin_name(plugin), partial(_find, plugin), crawler)
        return dispatcher

    @property
    def names(self) -> list[str]:
        """The names of the plug-ins that were loaded, in their order."""
        return [name for name, plugin in self._manager.list_name_plugin() if plugin]

    def block(self, name: str) -> None:
        """Never load the plug-in of that name."""
        self._manager.set_blocked(name)

    def load(self, name: str, find: Callable[[], Any], crawler: Crawler) -> None:
        """Load the plug-in that ``find`` returns, a class or an object.

        When that fails, say so and go on without it.
        """
        if self._manager.is_blocked(name):
            return
        try:
            plugin = find()
            if inspect.isclass(plugin):
                plugin = build_from_crawler(plugin, crawler)
            self._register(plugin, name)
        except Exception as error:
            self._failed(name, "could not be loaded", error)

    def _register(self, plugin: Any, name: str) -> None:
        if self._manager.register(plugin, name) is None:
            return
        callers = self._manager.get_hookcallers(plugin) or []
        wrong = [
            f"{impl.function.__name__} ({problem})"
            for caller in callers
            for impl in caller.get_hookimpls()
            if impl.plugin is plugin
            and (problem := _problem(impl, known=caller.has_spec()))
        ]
        if wrong:
            self._manager.unregister(plugin)
            raise TypeError(f"these are no hooks of scrapy-bgfetch: {', '.join(wrong)}")

    def has(self, hook: str) -> bool:
        """Whether any plug-in implements a hook."""
        return bool(self._implementations(hook))

    async def call(self, hook: str, **arguments: Any) -> None:
        """Call all implementations of a hook."""
        for impl in self._implementations(hook):
            await self._result(hook, impl, arguments)

    async def first(self, hook: str, **arguments: Any) -> Any:
        """Return the first answer that is not None; the rest is not called."""
        for impl in self._implementations(hook):
            result = await self._result(hook, impl, arguments)
            if result is not None:
                return result
        return None

    async def ask(self, hook: str, **arguments: Any) -> None:
        """Call all implementations of a hook that may refuse.

        :raises NotAllowedError: one raised; it has the plug-in's name, and the
            exception as its cause.
        """
        for impl in self._implementations(hook):
            try:
                await _invoke(impl, arguments)
            except Exception as error:
                raise NotAllowedError(
                    f"the plug-in {impl.plugin_name} refused it: {_said(error)}"
                ) from error

    async def _result(
        self, hook: str, impl: HookImpl, arguments: dict[str, Any]
    ) -> Any:
        """Return the answer of one implementation, None when it fails."""
        try:
            return await _invoke(impl, arguments)
        except Exception as error:
            self._failed(impl.plugin_name, f"failed in {hook}", error)
            return None

    def _implementations(self, hook: str) -> list[HookImpl]:
        impls: list[HookImpl] = getattr(self._manager.hook, hook).get_hookimpls()
        return impls[::-1]

    def _failed(self, name: str, what: str, error: Exception) -> None:
        logger.error("The plug-in %s %s: %s", name, what, _said(error), exc_info=error)
        self._count(PLUGIN_ERRORS.key())
        self._count(PLUGIN_ERRORS_OF.key(plugin=name))


def plugin_name(plugin: Any) -> str:
    """Return the name of a plug-in: the import path of it, or of its class."""
    if isinstance(plugin, str):
        return plugin
    named = plugin if hasattr(plugin, "__qualname__") else type(plugin)
    module = getattr(named, "__module__", None)
    if inspect.ismodule(plugin) or module is None:
        return getattr(plugin, "__name__", repr(plugin))
    return f"{module}.{named.__qualname__}"


def _find(plugin: Any) -> Any:
    return load_object(plugin) if isinstance(plugin, str) else plugin


def _problem(impl: HookImpl, *, known: bool) -> str:
    if not known:
        return "unknown name"
    if impl.hookwrapper or impl.wrapper:
        return "wrappers are not supported"
    return ""


async def invoke(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of others returns, awaited where it can be.

    What it raises is raised. When it is cancelled, and not the one who calls, that
    is its failure: a RuntimeError.
    """
    result = function(*arguments)
    if not inspect.isawaitable(result):
        return result
    running = ensure_awaitable(result)
    outcome: Any = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(outcome, asyncio.CancelledError):
        raise RuntimeError("it was cancelled") from outcome  # noqa: TRY004
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _invoke(impl: HookImpl, arguments: dict[str, Any]) -> Any:
    given = (arguments[name] for name in impl.argnames)
    return await invoke(
        impl.function, *(one.get() if isinstance(one, Lazy) else one for one in given)
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
