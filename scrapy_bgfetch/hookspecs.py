"""The hooks of scrapy-bgfetch: where plug-ins choose, change or veto.

An implementation is a function or method marked with :data:`hookimpl`; it takes
any of the arguments named here and may be ``async``. Implementations are called
one after another, the last registered first, ``tryfirst`` and ``trylast`` as in
pluggy (hook wrappers are not supported). One that fails is logged with its
plug-in's name and counted in ``bgfetch/plugin_errors``; it stops neither the
others nor the crawl, unless the hook says that it may refuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from scrapy import Request

    from scrapy_bgfetch.exceptions import RecordError
    from scrapy_bgfetch.record import BackgroundFetchRecord
    from scrapy_bgfetch.registration import BackgroundFetchRegistration
    from scrapy_bgfetch.response import BackgroundFetchResponse

PROJECT = "scrapy_bgfetch"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def bgfetch_register(registration: BackgroundFetchRegistration) -> None:
    """Look at a background fetch before anything of it is stored.

    Raising refuses it: the caller of ``fetch`` gets a NotAllowedError.
    """


@hookspec(firstresult=True)
def bgfetch_file_name(
    registration: BackgroundFetchRegistration,
    record: BackgroundFetchRecord,
    response: BackgroundFetchResponse,
) -> str | None:
    """Name the file of a record that succeeded; the first answer not None counts.

    The answer is a path relative to the background fetch's own folder. It is
    made safe, and unique in that folder, afterwards.
    """


@hookspec
def bgfetch_response_started(
    registration: BackgroundFetchRegistration,
    record: BackgroundFetchRecord,
    response: BackgroundFetchResponse,
) -> None:
    """Look at the head of a response whose body is about to be read.

    Raising refuses the body: the record fails with fetch-error. Called again
    when a record starts anew from its first byte.
    """


@hookspec
def bgfetch_body_complete(
    registration: BackgroundFetchRegistration,
    record: BackgroundFetchRecord,
    response: BackgroundFetchResponse,
) -> None:
    """Look at a complete body before its file appears at its final name.

    ``response.path`` is where it is, ``record.checksums`` has its digests. Raising
    refuses it: the record fails with fetch-error and the file is dropped.
    """


@hookspec
def bgfetch_record_settled(
    registration: BackgroundFetchRegistration, record: BackgroundFetchRecord
) -> None:
    """One record has ended: post-process its file. Delivered at least once."""


@hookspec
def bgfetch_settled(registration: BackgroundFetchRegistration) -> None:
    """The background fetch has ended, after its signal. Delivered at least once."""


@hookspec(firstresult=True)
def bgfetch_refresh_request(
    registration: BackgroundFetchRegistration,
    record: BackgroundFetchRecord,
    failure: RecordError,
) -> Request | None:
    """Renew the request of a record that was answered 401, 403, 404 or 410.

    The first answer not None is asked instead, with a new URL or new
    credentials; the bytes are kept while the validator still matches.
    """
