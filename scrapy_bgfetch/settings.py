"""One frozen object with all our settings; the only place that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from attrs import field, fields, frozen
from scrapy.settings import BaseSettings

from scrapy_bgfetch import reading
from scrapy_bgfetch.model import WithoutValidator
from scrapy_bgfetch.rules.addresses import AddressRule
from scrapy_bgfetch.rules.validation import MAX_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from scrapy.crawler import Crawler


MiB = 1024 * 1024


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
        "BGFETCH_DIR", None, reading.path, "path",
        "Folder of the state, the part files and, by default, the settled files. "
        "None means ``<JOBDIR>/bgfetch`` when there is a JOBDIR, otherwise "
        "``.scrapy/bgfetch/<spider name>``.",
    )  # fmt: skip
    files_store: Path | None = _setting(
        "BGFETCH_FILES_STORE", None, reading.path, "path",
        "Folder of the settled files, one folder in it for each background fetch. "
        "None means ``files`` in BGFETCH_DIR. It must be on the same file system.",
    )  # fmt: skip
    concurrent_records: int = _setting(
        "BGFETCH_CONCURRENT_RECORDS", 8, reading.whole(1), "records",
        "How many records are downloaded at a time. The add-on adds it to "
        "CONCURRENT_REQUESTS.",
    )  # fmt: skip
    connections_per_record: int = _setting(
        "BGFETCH_CONNECTIONS_PER_RECORD", 1, reading.whole(1, MAX_CONNECTIONS),
        "connections",
        "How many connections a record may have at once, 1 to 16, each for another "
        "part of its body. That takes a server that answers ranges, a strong "
        "validator, a known length, and 2 MiB that are left; otherwise there is one. "
        "Those beyond the first are opened only where CONCURRENT_REQUESTS_PER_DOMAIN "
        "(or DOWNLOAD_SLOTS) leaves room and no other record waits for that host. "
        "What a background fetch says itself, ``connections_per_record``, comes first.",
    )  # fmt: skip
    progress_interval: float = _setting(
        "BGFETCH_PROGRESS_INTERVAL", 0.1, reading.seconds, "seconds",
        "The shortest time between two progress events of a background fetch. "
        "The last one is always sent.",
    )  # fmt: skip
    checkpoint_interval: float = _setting(
        "BGFETCH_CHECKPOINT_INTERVAL", 0.25, reading.seconds, "seconds",
        "How often the state records how far the part files have grown: what a "
        "killed crawl has to fetch again.",
    )  # fmt: skip
    stall_timeout: float = _setting(
        "BGFETCH_STALL_TIMEOUT", 60.0, reading.seconds, "seconds",
        "A transfer that brings no byte for this long is broken off and resumed. "
        "There is no limit on the time of a download that moves.",
    )  # fmt: skip
    restarts: int = _setting(
        "BGFETCH_RESTARTS", 5, reading.whole(0), "times",
        "How often a record may start again from its first byte.",
    )  # fmt: skip
    resumptions: int = _setting(
        "BGFETCH_RESUMPTIONS", 15, reading.whole(0), "times",
        "How often in a row a record may be tried again without progress, its "
        "bytes kept.",
    )  # fmt: skip
    retry_delay: float = _setting(
        "BGFETCH_RETRY_DELAY", 1.0, reading.seconds, "seconds",
        "Wait before the first retry. It doubles with each further one, with "
        "jitter; a Retry-After field can only make the wait longer.",
    )  # fmt: skip
    retry_max_delay: float = _setting(
        "BGFETCH_RETRY_MAX_DELAY", 120.0, reading.seconds, "seconds",
        "The longest wait before a retry, also of one that Retry-After asks for.",
    )  # fmt: skip
    error_body_maxsize: int = _setting(
        "BGFETCH_ERROR_BODY_MAXSIZE", MiB, reading.whole(0), "bytes",
        "How much of the body of an answer that is not 2xx is read and kept. It "
        "counts neither as downloaded nor against the budget.",
    )  # fmt: skip
    record_maxsize: int = _setting(
        "BGFETCH_RECORD_MAXSIZE", 0, reading.whole(0), "bytes",
        "The longest body that a record may have, 0 for no limit. A longer one fails "
        "with quota-exceeded. (DOWNLOAD_MAXSIZE does not count for background "
        "fetches.)",
    )  # fmt: skip
    rate_limit: int = _setting(
        "BGFETCH_RATE_LIMIT", 0, reading.whole(0), "bytes per second",
        "How many bytes a second the bodies of all background fetches of a crawl may "
        "bring from the network together, before decoding, 0 for no limit. They come "
        "smoothly, and active records share it. A background fetch may have a "
        "``rate_limit`` of its own besides: the slower one wins.",
    )  # fmt: skip
    quota: int = _setting(
        "BGFETCH_QUOTA", 0, reading.whole(0), "bytes",
        "What all background fetches of this BGFETCH_DIR may store together, 0 for no "
        "limit. Before anything is refused, the folders are measured: files that were "
        "taken away do not count. A download_total that does not fit is refused at "
        "once.",
    )  # fmt: skip
    disk_reserve: int = _setting(
        "BGFETCH_DISK_RESERVE", 0, reading.whole(0), "bytes",
        "How many bytes of the file system are left free, for others.",
    )  # fmt: skip
    on_full: str = _setting(
        "BGFETCH_ON_FULL", "fail", reading.choice("fail", "pause"), "choice",
        "What happens when the disk, its reserve or BGFETCH_QUOTA is used up: "
        "``fail`` lets the record fail with quota-exceeded, its bytes kept for the "
        "next background fetch of that id and URL; ``pause`` stops all transfers and "
        "goes on when there is room again.",
    )  # fmt: skip
    on_close: str = _setting(
        "BGFETCH_ON_CLOSE", "wait", reading.choice("wait", "suspend"), "choice",
        "What an idle spider does about its unfinished background fetches: ``wait`` "
        "until they have ended, or ``suspend`` them, for its next run to go on with. "
        "A spider that is closed early, by a signal or by CloseSpider, always suspends "
        "them.",
    )  # fmt: skip
    permission: str = _setting(
        "BGFETCH_PERMISSION", "granted",
        reading.choice("granted", "prompt", "denied"), "choice",
        "Whether background fetches may be registered. ``prompt``: each starts paused, "
        "until ``await registration.resume()``; a spider with nothing else to do does "
        "not wait for it, it is there, paused, at its next start. ``denied``: "
        "``fetch`` raises NotAllowedError, which a grouped request gets in its "
        "errback. Those of earlier runs go on in any case.",
    )  # fmt: skip
    durability: str = _setting(
        "BGFETCH_DURABILITY", "process", reading.choice("process", "power"), "choice",
        "What the bytes that the state speaks of survive: the end of the ``process``, "
        "however it ends, or a loss of ``power`` too. The second flushes files to the "
        "disk before the state says that they are there.",
    )  # fmt: skip
    resume_without_validator: WithoutValidator = _setting(
        "BGFETCH_RESUME_WITHOUT_VALIDATOR", WithoutValidator.VERIFY_TAIL,
        reading.without_validator, "choice",
        "How to go on with a body that has neither a strong ETag nor a strong "
        "Last-Modified: ``verify-tail`` fetches the last 64 KiB again and compares "
        "them before anything is appended, ``restart`` begins again from its first "
        "byte, ``trust`` appends what the server sends.",
    )  # fmt: skip
    checksum: str | None = _setting(
        "BGFETCH_CHECKSUM", None, reading.algorithm, "name",
        "Algorithm of hashlib, for example ``sha256``, whose digest every record that "
        "succeeds carries in ``checksums``. None computes none.",
    )  # fmt: skip
    history: int = _setting(
        "BGFETCH_HISTORY", 10_000, reading.whole(0), "background fetches",
        "How many settled background fetches of a spider the state remembers, 0 for "
        "no limit. Older ones are forgotten, now and then and, with a JOBDIR, when the "
        "spider has finished; their files stay.",
    )  # fmt: skip
    store_credentials: bool = _setting(
        "BGFETCH_STORE_CREDENTIALS", False, reading.flag, "flag",
        "Whether Authorization, Cookie, Proxy-Authorization and the cookies of a "
        "request are written to the state. Without it a resumed record relies on "
        "the downloader middlewares to add them again.",
    )  # fmt: skip
    block_private_addresses: bool = _setting(
        "BGFETCH_BLOCK_PRIVATE_ADDRESSES", False, reading.flag, "flag",
        "Whether a background fetch fails, without a retry, whose host is not at a "
        "public address: loopback, private, link-local, shared (100.64.0.0/10), "
        "multicast, documentation and reserved addresses are refused, and the IPv6 "
        "addresses that stand for them. The address that is connected to is checked, "
        "for every redirect and every resumption. Only a proxy may be anywhere. What "
        "a proxy connects to cannot be seen: all addresses that the host has here are "
        "checked instead, and a name that is unknown here passes. Requests that are "
        "not background fetches, such as Scrapy's own for robots.txt, are not checked.",
    )  # fmt: skip
    allowed_addresses: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "BGFETCH_ALLOWED_ADDRESSES", (), reading.networks, "list",
        "IP addresses and networks, such as ``10.1.0.0/16``, that "
        "BGFETCH_BLOCK_PRIVATE_ADDRESSES lets through.",
    )  # fmt: skip
    plugins: tuple[Any, ...] = _setting(
        "BGFETCH_PLUGINS", (), reading.plugins, "list",
        "Plug-ins, as objects, classes or import paths, besides the installed "
        "ones of the entry-point group ``scrapy_bgfetch``. Scrapy copies objects with "
        "the settings: prefer classes and import paths.",
    )  # fmt: skip
    disabled_plugins: frozenset[str] = _setting(
        "BGFETCH_DISABLED_PLUGINS", (), reading.names, "list",
        "Names of plug-ins that must not be loaded: entry-point names, or import "
        "paths of classes.",
    )  # fmt: skip
    fallback_handlers: Mapping[str, Any] = _setting(
        "BGFETCH_FALLBACK_HANDLERS", {}, reading.handlers, "dict",
        "URL scheme to the download handler that gets the requests that are no "
        "background fetch. The add-on sets it to the handlers it found.",
    )  # fmt: skip

    @property
    def addresses(self) -> AddressRule | None:
        """Which addresses may be connected to, None for any."""
        allowed = self.allowed_addresses
        return AddressRule(allowed) if self.block_private_addresses else None

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
