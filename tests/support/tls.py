"""Servers that speak TLS, with a certificate of nobody."""

from __future__ import annotations

import ssl

import trustme


def server_context(*names: str, authority: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the TLS of a server that has these names, 127.0.0.1 without any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = names or ("127.0.0.1",)
    (authority or trustme.CA()).issue_cert(*names).configure_cert(context)
    return context
