"""The form in which requests are kept."""

from __future__ import annotations

import json

import pytest
from scrapy import Request

from scrapy_bgfetch.perform.requests import from_json, to_json

URL = "https://example.org/a"
ALL = {
    "method": "POST",
    "headers": {"X-A": ["1", "2"], "Content-Type": "text/plain"},
    "body": b"\x00body",
    "meta": {"a": [1, None]},
    "encoding": "latin-1",
    "priority": 3,
    "dont_filter": True,
    "flags": ["one"],
    "cb_kwargs": {"b": {"c": 1}},
}


def kept(request):
    form = to_json(request, spider=None, credentials=True)
    return json.loads(json.dumps(form))


def test_of_a_usual_request_only_its_url_is_kept():
    assert kept(Request(URL)) == {"url": URL}


@pytest.mark.parametrize("name", ALL)
def test_what_is_unusual_comes_back(name):
    request = Request(URL, **{name: ALL[name]})
    assert kept(request).keys() == {"url", name}
    assert from_json(kept(request), spider=None).to_dict() == request.to_dict()


def test_everything_comes_back_together():
    request = Request(URL, **ALL, cookies={"d": "e"})
    assert from_json(kept(request), spider=None).to_dict() == request.to_dict()


def test_a_form_that_leaves_nothing_out_is_understood():
    form = {
        **Request(URL).to_dict(),
        "headers": [],
        "body": "",
    }
    assert from_json(form, spider=None).to_dict() == Request(URL).to_dict()
