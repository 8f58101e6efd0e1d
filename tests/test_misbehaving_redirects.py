"""Redirects to what is no URL."""

from __future__ import annotations

import pytest

from tests.support.misbehaving import FAST, misbehaving, sends, whole


@pytest.fixture
def wrong(caplog):
    with misbehaving(caplog) as server:
        yield server


@pytest.mark.parametrize(
    "there",
    [
        "javascript:alert(1)",
        "mailto:a@example.com",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
    ],
)
async def test_a_redirect_to_a_bad_address_fails_without_a_traceback(
    fetched, wrong, there
):
    moved = sends(whole(b"moved", f"Location: {there}", status="302 Found"))
    handle = await fetched(wrong.at("/x", moved), **FAST)
    assert handle.result == "failure"
    assert handle.records[0].error
    assert len(wrong.peers) == 1
