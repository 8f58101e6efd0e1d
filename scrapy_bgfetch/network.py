"""What Scrapy's own settings say about connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy.crawler import Crawler


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
