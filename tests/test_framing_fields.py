"""Fields that frame a body belong to the body that is sent (RFC 9112 section 6)."""

from __future__ import annotations

import pytest
from scrapy import Request


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding"])
@pytest.mark.parametrize("by", ["request", "fetch"])
async def test_a_get_announces_no_body(fetched, site, name, by):
    """The server would wait for one, or take the next request for it."""
    fields = {name.lower(): "40" if name == "Content-Length" else "chunked"}
    request = Request(site.url("/file/x"), headers=fields if by == "request" else {})
    options = {"headers": fields} if by == "fetch" else {}
    handle = await fetched(request, options=options, BGFETCH_RESUMPTIONS=0)
    assert handle.result == "success"
    assert name not in site.of("/file/x")[0].headers
