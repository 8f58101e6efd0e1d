"""The TLS context of the connections, and the certificates that they bring."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from scrapy_bgfetch.network import Network

_TLS_VERSIONS = {
    "TLSv1.0": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


def ssl_context(network: Network) -> ssl.SSLContext:
    """Return the TLS context that Scrapy's settings ask for."""
    if network.verify_certificates:
        context = ssl.create_default_context()
    else:  # without the certificates of the system: loading them takes 0.1 s
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if network.tls_minimum:
        context.minimum_version = _TLS_VERSIONS[network.tls_minimum]
    if network.tls_maximum:
        context.maximum_version = _TLS_VERSIONS[network.tls_maximum]
    if network.tls_ciphers:
        context.set_ciphers(network.tls_ciphers)
    return context


def peer_certificate(transport: asyncio.Transport | None) -> bytes | None:
    """Return the certificate of the peer, DER-encoded; None without TLS."""
    tls = transport.get_extra_info("ssl_object") if transport else None
    return tls.getpeercert(binary_form=True) if tls else None
