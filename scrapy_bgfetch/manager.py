"""The entry: ``spider.background_fetch``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from scrapy import Request
from scrapy.http import Response

from scrapy_bgfetch.exceptions import BackgroundFetchError, BadRequestError
from scrapy_bgfetch.rules.validation import (
    check_download_total,
    check_icons,
    check_id,
    check_title,
    check_url,
    resolve_url,
)

if TYPE_CHECKING:
    from scrapy_bgfetch.registration import BackgroundFetchRegistration
    from scrapy_bgfetch.registry import Registry

    OneRequest = str | Request


class BackgroundFetchManager:
    """Registers background fetches and finds the active ones.

    A spider has it as ``self.background_fetch``.
    """

    def __init__(self, registry: Registry | None) -> None:
        self._registry_or_none = registry
        self._problem: BackgroundFetchError | None = None

    async def fetch(
        self,
        id: str,
        requests: OneRequest | Iterable[OneRequest],
        *,
        title: str = "",
        icons: Sequence[dict[str, Any]] = (),
        download_total: int = 0,
        base_url: str | Response | None = None,
        fail_fast: bool = False,
    ) -> BackgroundFetchRegistration:
        """Register a background fetch and let it begin (behaviours 8-24).

        :param id: unique among the active background fetches of this spider.
        :param requests: one URL or :class:`scrapy.Request`, or several of them.
            Callbacks and errbacks of requests are not called: use the signals,
            :meth:`~BackgroundFetchRegistration.settled` or ``response_ready``.
        :param title: what to call it when talking to people.
        :param icons: dicts with ``src``, and maybe ``sizes`` and ``type``.
        :param download_total: the most bytes that it may store, over all of its
            records, decoded. 0 for no limit.
        :param base_url: a URL or a response, against which relative URLs are
            resolved here and in ``match``.
        :param fail_fast: whether the first record that fails ends all of it.

        Returns as soon as it is stored: from then on it survives a crash.

        :raises BadRequestError: an argument is unusable; it says which (a
            TypeError too). IdActiveError is one of them (16).
        :raises QuotaExceededError: download_total is more than the disk or
            BGFETCH_QUOTA has left (20).
        :raises NotAllowedError: a plug-in refused it (14).
        :raises StoreError: the state cannot be written.
        """
        registry = self._registry
        listed = _listed(requests)
        base = base_url.url if isinstance(base_url, Response) else base_url
        if base is not None:
            base = check_url(base, where="base_url")
        return await registry.register(
            check_id(id),
            [_request(one, base) for one in listed],
            title=check_title(title),
            icons=check_icons(icons),
            download_total=check_download_total(download_total),
            base_url=base,
            expected=len(listed),
            options={"fail_fast": True} if _flag(fail_fast) else {},
        )

    async def get(self, id: str) -> BackgroundFetchRegistration | None:
        """Return the active background fetch of that id, None without one (25).

        :raises BadRequestError: the id is empty or no string (124).
        """
        return self._registry.active.get(check_id(id))

    async def get_ids(self) -> list[str]:
        """Return the ids of the active background fetches, the oldest first (27)."""
        return list(self._registry.active)

    def refuse(self, problem: BackgroundFetchError) -> None:
        """Raise this problem at every call from now on."""
        self._problem = problem

    @property
    def _registry(self) -> Registry:
        if self._problem is not None:
            raise self._problem
        assert self._registry_or_none is not None
        return self._registry_or_none


def _listed(requests: OneRequest | Iterable[OneRequest]) -> list[OneRequest]:
    if isinstance(requests, (str, Request)):
        return [requests]
    if not isinstance(requests, Iterable) or isinstance(requests, (bytes, dict)):
        raise BadRequestError(
            "requests must be a URL, a scrapy.Request or a list of them, not "
            f"{type(requests).__name__}."
        )
    listed = list(requests)
    if not listed:
        raise BadRequestError(
            "requests is empty: a background fetch needs at least one request."
        )
    return listed


def _flag(fail_fast: object) -> bool:
    if not isinstance(fail_fast, bool):
        raise BadRequestError(f"fail_fast must be True or False, not {fail_fast!r}.")
    return fail_fast


def _request(one: OneRequest, base_url: str | None) -> Request:
    if isinstance(one, Request):
        check_url(one.url, where="requests")
        return one.replace(callback=None, errback=None)
    if not isinstance(one, str):
        raise BadRequestError(
            f"requests holds {one!r:.100}: each of them must be a URL or a "
            "scrapy.Request."
        )
    return Request(resolve_url(one, base_url, where="requests"))
