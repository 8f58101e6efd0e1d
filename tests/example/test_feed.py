"""What the example makes of any feed, and the table that it prints."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podcast.items import EXTRAS_ALLOWANCE, NAMESPACES, budget, episode_id, read_episode
from podcast.table import clock, collect, plain_table
from podcast.tracking import expected_bytes
from scrapy.selector import Selector

XMLNS = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES)


def item(content):
    selector = Selector(text=f"<rss {XMLNS}><item>{content}</item></rss>", type="xml")
    for prefix, uri in NAMESPACES:
        selector.register_namespace(prefix, uri)
    return selector.xpath("//item")[0]


@pytest.mark.parametrize("guid", ["episode-01", "42", "a-b-c"])
def test_a_guid_that_is_a_good_id_is_the_id(guid):
    assert episode_id(guid) == guid


@given(st.text(min_size=1))
def test_any_guid_gives_a_short_and_safe_id(guid):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,80}", episode_id(guid))


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_guids_never_give_one_id(one, other):
    assert (episode_id(one) == episode_id(other)) == (one == other)


@pytest.mark.parametrize("one", ["https://a.example/?p=1", "Episode 1", "a" * 100])
def test_guids_that_look_alike_give_two_ids(one):
    assert episode_id(one) != episode_id(one + "!")


@pytest.mark.parametrize("length", ["", "0", "1", "-5", "1.5", "unknown", "²"])
def test_a_feed_that_does_not_know_the_length_sets_no_budget(length):
    assert budget(length) == 0


def test_the_budget_has_room_for_artwork_and_transcript():
    assert budget("10000000") == 10_000_000 + EXTRAS_ALLOWANCE


def test_only_the_files_that_there_are_and_can_be_fetched_are_taken():
    episode = read_episode(
        item(
            '<title> Fog </title><enclosure url=" /a.mp3 " length="x"/>'
            '<itunes:image href="data:image/png;base64,AA"/>'
        )
    )
    assert episode.urls == ("/a.mp3",)
    assert (episode.title, episode.artwork, episode.download_total) == ("Fog", None, 0)


def test_an_item_without_files_is_no_episode():
    assert read_episode(item("<title>News</title><guid>1</guid>")) is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (0, "0.0 s"),
        (6.24, "6.2 s"),
        (60, "1 min 00 s"),
        (125, "2 min 05 s"),
    ],
)
def test_durations_are_written_as_people_do(seconds, expected):
    assert clock(seconds) == expected


def registration(**changes):
    values = {
        "id": "e1", "uid": "u", "result": "", "failure_reason": "", "downloaded": 5,
        "download_total": 100, "created_at": 1.0, "settled_at": None, "records": [],
    }  # fmt: skip
    return SimpleNamespace(**values | changes)


def record(**changes):
    values = {"state": "active", "failure_reason": "", "downloaded": 5, "size": 20}
    return SimpleNamespace(**values | changes)


MANIFEST = {
    "id": "e1", "result": "failure", "reason": "bad-status", "bytes": 1_000_000,
    "seconds": 61.0, "files": [{"reason": ""}, {"reason": "bad-status"}],
}  # fmt: skip


def test_this_run_comes_before_an_earlier_one_in_the_table():
    (row,) = collect([registration()], [MANIFEST])
    assert (row.result, row.time) == ("unfinished", "")


def test_the_columns_of_the_table_are_aligned():
    rows = collect([registration(id="e2-other")], [MANIFEST])
    assert plain_table(rows).splitlines() == [
        "id        result      reason       files    bytes                  time",
        "--------  ----------  ----------  ------  -------  --------------------",
        "e1        failure     bad-status  1 of 2   1.0 MB  1 min 01 s (earlier)",
        "e2-other  unfinished              0 of 0  5 Bytes",
    ]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record(), record(size=30)], 50),
        ([record(), record(size=None)], 100),
        ([record(), record(failure_reason="bad-status", size=None)], 20),
        ([record(), record(state="settled", downloaded=7, size=None)], 27),
    ],
)
def test_the_size_expected_is_the_servers_word_or_else_the_budget(records, expected):
    assert expected_bytes(registration(records=records)) == expected


def test_nothing_is_expected_when_nobody_says():
    unknown = registration(records=[record(size=None)], download_total=0)
    assert expected_bytes(unknown) is None
