"""The entry: ``spider.background_fetch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy_bgfetch.existing import Wanted, obtain
from scrapy_bgfetch.given import base_of, check_hosts, requests_of, with_bodies
from scrapy_bgfetch.page import carried
from scrapy_bgfetch.rules.existing import Policy
from scrapy_bgfetch.rules.fetch_options import kept_options
from scrapy_bgfetch.rules.hosts import ALLOWED_HOSTS
from scrapy_bgfetch.rules.validation import (
    check_download_total,
    check_icons,
    check_id,
    check_limit,
    check_title,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from scrapy import Request
    from scrapy.http import Response

    from scrapy_bgfetch.exceptions import BackgroundFetchError
    from scrapy_bgfetch.given import Body, Integrity, OneRequest
    from scrapy_bgfetch.registration import BackgroundFetchRegistration
    from scrapy_bgfetch.registry import Registry


class BackgroundFetchManager:
    """Registers background fetches, finds the active ones, and those that were.

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
        rate_limit: int = 0,
        integrity: Integrity | Sequence[Integrity | None] | None = None,
        body: Body | Sequence[Body | None] | None = None,
        retry_uploads: bool = False,
        if_exists: str = "error",
        skip_if_fresh: timedelta | None = None,
        revalidate: bool = False,
        priority: int = 0,
        max_concurrent_records: int = 0,
        allowed_hosts: Sequence[str] | None = None,
        connections_per_record: int | None = None,
        headers: Mapping[str, Any] | None = None,
        referer: str | Response | None = None,
        cookies_from: Response | None = None,
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
        :param rate_limit: how many bytes a second may come from the network, over
            all of its records, before decoding. 0 for no limit. BGFETCH_RATE_LIMIT
            holds besides.
        :param integrity: what the body must be, as in Subresource Integrity
            (``"sha256-<base64>"``) or as hex digests by algorithm
            (``{"sha256": "<hex>"}``); for several requests a list with one entry, or
            None, for each. A body that does not match fails with fetch-error.
        :param body: the file that the request sends, streamed: a
            :class:`pathlib.Path`, which must not change until its record has settled,
            or an open binary file, whose bytes from where it stands are copied before
            this returns (17); for several requests a list with one entry, or None,
            for each. What is in memory is the ``body`` of its :class:`scrapy.Request`.
        :param retry_uploads: whether requests that are not GET may be sent again, from
            the first byte, after an error or a restart. Otherwise they are sent once
            (43, 219).
        :param if_exists: what to do when the id is active, also from an earlier run.
            ``"error"`` raises IdActiveError. ``"keep"`` returns the active one as it
            is, ``"append"`` adds the requests to it and returns it; what else is said
            here plays no role then, and its own allowed_hosts hold. ``"replace"``
            aborts it first, also when the new one is then refused, but not where
            BGFETCH_PERMISSION forbids it. Without an active one all four register.
        :param skip_if_fresh: when the last fetch of the id succeeded less than that
            long ago, with the same requests (method, URL, body, in their order),
            its integrity is what is asked for, and its files are there with their
            sizes, nothing is fetched: that settled one is returned. There is no
            event, and no hook is called; read its ``records``.
        :param revalidate: GET requests that the last fetch of the id had an answer to
            ask whether it is the same still (RFC 9110 section 13.1). When it is,
            the record succeeds with the old file: see ``not_modified``.
        :param priority: records of a higher one get free slots first, as with
            Scrapy's requests; those that are active are not stopped.
        :param max_concurrent_records: how many of its records may be active at
            once. 0 for no limit besides BGFETCH_CONCURRENT_RECORDS.
        :param allowed_hosts: the only hosts that anything may be sent to, as in
            Scrapy's ``allowed_domains``: names with their subdomains, or IP
            addresses. A redirect to another one, or a refreshed request, fails its
            record with fetch-error before anything is sent there.
        :param connections_per_record: how many connections a record may have at once,
            1 to 16, each for another part of its body: faster where the server limits
            each of them. It takes a strong validator and ranges; otherwise, and for
            less than 2 MiB, there is one. None for BGFETCH_CONNECTIONS_PER_RECORD.
        :param headers: fields for the requests that do not have them.
        :param referer: the URL or the response of the page they were found on.
            It is sent as Referrer-Policy asks, by the field of that name of the
            response, otherwise by strict-origin-when-cross-origin.
        :param cookies_from: a response; the requests carry the cookies that requests
            found on it would: its ``cookiejar``, and what its own request had as
            Cookie field to the same host. Cookies are credentials: see
            BGFETCH_STORE_CREDENTIALS.

        Returns as soon as it is stored: from then on it survives a crash.

        :raises BadRequestError: an argument is unusable; it says which (a
            TypeError too). IdActiveError is one of them (16).
        :raises QuotaExceededError: download_total is more than the disk or
            BGFETCH_QUOTA has left (20).
        :raises NotAllowedError: BGFETCH_PERMISSION or a plug-in refused it (14).
        :raises StoreError: the state cannot be written.
        """
        base = base_of(base_url)
        made = requests_of(requests, base, integrity=integrity)
        made = carried(made, headers, referer=referer, cookies_from=cookies_from)
        options = kept_options(
            fail_fast=fail_fast,
            rate_limit=rate_limit,
            retry_uploads=retry_uploads,
            priority=priority,
            max_concurrent_records=max_concurrent_records,
            allowed_hosts=allowed_hosts,
            connections_per_record=connections_per_record,
        )
        policy = Policy.of(if_exists, skip_if_fresh, revalidate)
        columns = _columns(title, icons, download_total, base) | {"options": options}
        return await self._obtain(check_id(id), made, body, policy, columns)

    async def get(self, id: str) -> BackgroundFetchRegistration | None:
        """Return the active background fetch of that id, None without one (25).

        :raises BadRequestError: the id is empty or no string (124).
        """
        return self._registry.active.get(check_id(id))

    async def get_ids(self) -> list[str]:
        """Return the ids of the active background fetches, the oldest first (27)."""
        return list(self._registry.active)

    async def history(self, *, limit: int = 100) -> list[BackgroundFetchRegistration]:
        """Return the background fetches that have settled, the last settled first.

        Beyond the specification, which forgets them (99). Those of earlier runs of
        this spider are among them, as long as BGFETCH_HISTORY lets the state remember
        them; their ``records`` and ``manifest`` can be read. One that anybody still
        has is the same object (24). The records of all of them are read into memory.

        :param limit: how many at most.
        :raises BadRequestError: ``limit`` is no int of at least 1.
        :raises StoreError: the state cannot be read.
        """
        return await self._registry.history(check_limit(limit))

    def refuse(self, problem: BackgroundFetchError) -> None:
        """Raise this problem at every call from now on."""
        self._problem = problem

    async def _obtain(
        self,
        id: str,
        made: list[Request],
        body: Body | Sequence[Body | None] | None,
        policy: Policy,
        columns: dict[str, Any],
    ) -> BackgroundFetchRegistration:
        requests, files = with_bodies(made, body)
        check_hosts(requests, columns["options"].get(ALLOWED_HOSTS))
        wanted = Wanted(id, requests, files, policy)
        return await obtain(self._registry, wanted, expected=len(requests), **columns)

    @property
    def _registry(self) -> Registry:
        if self._problem is not None:
            raise self._problem
        assert self._registry_or_none is not None
        return self._registry_or_none


def _columns(
    title: object, icons: object, download_total: object, base_url: str | None
) -> dict[str, Any]:
    return {
        "title": check_title(title),
        "icons": check_icons(icons),
        "download_total": check_download_total(download_total),
        "base_url": base_url,
    }
