"""One frozen object with all settings; the only place that reads Scrapy's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import field, fields, frozen
from scrapy.settings import BaseSettings

from scrapy_bgfetch.exceptions import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrapy.crawler import Crawler

MiB = 1024 * 1024


def _refuse(name: str, value: object, wanted: str) -> SettingsError:
    return SettingsError(
        f"the setting {name} = {value!r} cannot be used: it must be {wanted}."
    )


def _whole(minimum: int) -> Callable[[BaseSettings, str, Any], int]:
    def read(settings: BaseSettings, name: str, default: int) -> int:
        value = settings.get(name, default)
        wanted = f"a whole number, {minimum} or more"
        if isinstance(value, bool) or (isinstance(value, float) and value % 1):
            raise _refuse(name, value, wanted)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise _refuse(name, value, wanted) from None
        if number < minimum:
            raise _refuse(name, value, wanted)
        return number

    return read


def _seconds(settings: BaseSettings, name: str, default: float) -> float:
    value = settings.get(name, default)
    wanted = "a number of seconds greater than 0"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _refuse(name, value, wanted) from None
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise _refuse(name, value, wanted)
    return number


def _flag(settings: BaseSettings, name: str, default: bool) -> bool:
    try:
        return settings.getbool(name, default)
    except ValueError:
        raise _refuse(name, settings.get(name), "True or False") from None


def _path(settings: BaseSettings, name: str, default: None) -> Path | None:
    value = settings.get(name, default)
    if not value:
        return None
    try:
        return Path(value)
    except TypeError:
        raise _refuse(name, value, "the path of a folder") from None


def _plugins(settings: BaseSettings, name: str, default: tuple[Any, ...]) -> Any:
    value = settings.get(name, default)
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise _refuse(name, value, "a list of import paths or objects")
    return tuple(value)


def _names(settings: BaseSettings, name: str, default: tuple[str, ...]) -> Any:
    names = _plugins(settings, name, default)
    if not all(isinstance(entry, str) for entry in names):
        raise _refuse(name, settings.get(name), "a list of plug-in names")
    return frozenset(names)


def _handlers(settings: BaseSettings, name: str, default: Mapping[str, Any]) -> Any:
    base = settings.getdict("DOWNLOAD_HANDLERS_BASE")
    try:
        return {**base, **default, **settings.getdict(name)}
    except (TypeError, ValueError):
        wanted = "a dict from URL schemes to download handlers"
        raise _refuse(name, settings.get(name), wanted) from None


def _setting(
    name: str,
    default: Any,
    read: Callable[[BaseSettings, str, Any], Any],
    unit: str,
    doc: str,
) -> Any:
    return field(
        metadata={
            "name": name,
            "default": default,
            "read": read,
            "unit": unit,
            "doc": doc,
        }
    )


@frozen
class Settings:
    """The settings of one crawl, read once and checked.

    Each attribute carries its setting's name, default, unit and meaning as
    metadata: the reference page and the test of it are made from there.
    """

    dir: Path | None = _setting(
        "BGFETCH_DIR", None, _path, "path",
        "Folder of the state, the part files and, by default, the settled files. "
        "None means ``<JOBDIR>/bgfetch`` when there is a JOBDIR, otherwise "
        "``.scrapy/bgfetch/<spider name>``.",
    )  # fmt: skip
    files_store: Path | None = _setting(
        "BGFETCH_FILES_STORE", None, _path, "path",
        "Folder of the settled files, one folder in it for each background fetch. "
        "None means ``files`` in BGFETCH_DIR. It must be on the same file system.",
    )  # fmt: skip
    concurrent_records: int = _setting(
        "BGFETCH_CONCURRENT_RECORDS", 8, _whole(1), "records",
        "How many records are downloaded at a time. The add-on adds it to "
        "CONCURRENT_REQUESTS.",
    )  # fmt: skip
    progress_interval: float = _setting(
        "BGFETCH_PROGRESS_INTERVAL", 0.1, _seconds, "seconds",
        "The shortest time between two progress events of a background fetch. "
        "The last one is always sent.",
    )  # fmt: skip
    checkpoint_interval: float = _setting(
        "BGFETCH_CHECKPOINT_INTERVAL", 0.25, _seconds, "seconds",
        "How often the state records how far the part files have grown: what a "
        "killed crawl has to fetch again.",
    )  # fmt: skip
    stall_timeout: float = _setting(
        "BGFETCH_STALL_TIMEOUT", 60.0, _seconds, "seconds",
        "A transfer that brings no byte for this long is broken off and resumed. "
        "There is no limit on the time of a download that moves.",
    )  # fmt: skip
    restarts: int = _setting(
        "BGFETCH_RESTARTS", 5, _whole(0), "times",
        "How often a record may start again from its first byte.",
    )  # fmt: skip
    resumptions: int = _setting(
        "BGFETCH_RESUMPTIONS", 15, _whole(0), "times",
        "How often in a row a record may be tried again without progress, its "
        "bytes kept.",
    )  # fmt: skip
    retry_delay: float = _setting(
        "BGFETCH_RETRY_DELAY", 1.0, _seconds, "seconds",
        "Wait before the first retry. It doubles with each further one, with "
        "jitter; a Retry-After field comes first.",
    )  # fmt: skip
    retry_max_delay: float = _setting(
        "BGFETCH_RETRY_MAX_DELAY", 120.0, _seconds, "seconds",
        "The longest wait before a retry, also of one that Retry-After asks for.",
    )  # fmt: skip
    error_body_maxsize: int = _setting(
        "BGFETCH_ERROR_BODY_MAXSIZE", MiB, _whole(0), "bytes",
        "How much of the body of an answer that is not 2xx is read and kept. It "
        "counts neither as downloaded nor against the budget.",
    )  # fmt: skip
    quota: int = _setting(
        "BGFETCH_QUOTA", 0, _whole(0), "bytes",
        "What this state folder may hold in all, 0 for no limit. A background "
        "fetch whose download_total does not fit is refused.",
    )  # fmt: skip
    store_credentials: bool = _setting(
        "BGFETCH_STORE_CREDENTIALS", False, _flag, "flag",
        "Whether Authorization, Cookie, Proxy-Authorization and the cookies of a "
        "request are written to the state. Without it a resumed record relies on "
        "the downloader middlewares to add them again.",
    )  # fmt: skip
    plugins: tuple[Any, ...] = _setting(
        "BGFETCH_PLUGINS", (), _plugins, "list",
        "Plug-ins, as objects, classes or import paths, besides the installed "
        "ones of the entry-point group ``scrapy_bgfetch``. Scrapy copies objects with "
        "the settings: prefer classes and import paths.",
    )  # fmt: skip
    disabled_plugins: frozenset[str] = _setting(
        "BGFETCH_DISABLED_PLUGINS", (), _names, "list",
        "Names of plug-ins that must not be loaded: entry-point names, or import "
        "paths of classes.",
    )  # fmt: skip
    fallback_handlers: Mapping[str, Any] = _setting(
        "BGFETCH_FALLBACK_HANDLERS", {}, _handlers, "dict",
        "URL scheme to the download handler that gets the requests that are no "
        "background fetch. The add-on sets it to the handlers it found.",
    )  # fmt: skip

    @classmethod
    def defaults(cls) -> Settings:
        """Return the settings of a project that sets none."""
        return cls.read(BaseSettings())

    @classmethod
    def read(cls, settings: BaseSettings) -> Settings:
        """Read and check all settings.

        :raises SettingsError: one has a value that cannot be used.
        """
        return cls(**{a.name: read_setting(settings, a.name) for a in fields(cls)})

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Settings:
        """Read the settings of a crawler; see :meth:`read`."""
        return cls.read(crawler.settings)


def read_setting(settings: BaseSettings, attribute: str) -> Any:
    """Read and check the one setting of that attribute of :class:`Settings`.

    :raises SettingsError: it has a value that cannot be used.
    """
    meta = getattr(fields(Settings), attribute).metadata
    read = cast("Callable[[BaseSettings, str, Any], Any]", meta["read"])
    return read(settings, meta["name"], meta["default"])


@frozen
class Network:
    """What Scrapy's settings say about connections, for the transport."""

    bind_address: tuple[str, int] | None
    verify_certificates: bool
    tls_minimum: str | None
    tls_maximum: str | None
    tls_ciphers: str | None
    timeout: float
    per_host: int
    slots: Mapping[str, Any]

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Network:
        """Read Scrapy's own settings."""
        settings = crawler.settings
        return cls(
            bind_address=bind_address(settings.get("DOWNLOAD_BIND_ADDRESS")),
            verify_certificates=settings.getbool("DOWNLOAD_VERIFY_CERTIFICATES"),
            tls_minimum=settings.get("DOWNLOAD_TLS_MIN_VERSION"),
            tls_maximum=settings.get("DOWNLOAD_TLS_MAX_VERSION"),
            tls_ciphers=settings.get("DOWNLOADER_CLIENT_TLS_CIPHERS"),
            timeout=settings.getfloat("DOWNLOAD_TIMEOUT"),
            per_host=settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN"),
            slots=settings.getdict("DOWNLOAD_SLOTS"),
        )


def bind_address(value: str | tuple[str, int] | None) -> tuple[str, int] | None:
    """Return the local address of DOWNLOAD_BIND_ADDRESS or of meta's bindaddress."""
    if not value:
        return None
    return (value, 0) if isinstance(value, str) else (value[0], int(value[1]))
