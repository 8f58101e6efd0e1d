"""Every behaviour has a row in the conformance table, and the tests that it needs."""

from __future__ import annotations

import configparser
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load_table():
    """Load what makes the page, as the Sphinx extension does."""
    place = ROOT / "docs" / "_ext" / "conformance.py"
    spec = importlib.util.spec_from_file_location("bgfetch_conformance", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # attrs looks there for its annotations
    spec.loader.exec_module(module)
    return module


table = load_table()
ROWS = table.rows()
TESTED = table.citations()


def needs_a_test(row) -> bool:
    """Say whether a test must cite it: what is here, and how a mistake is mended."""
    if row.us == table.INSTEAD:
        return row.number.startswith("B")
    return row.us in {table.AS_SPECIFIED, table.ADAPTED}


def test_every_number_has_one_row_in_the_order_of_the_page():
    assert [row.number for row in ROWS] == table.all_numbers()
    assert len(ROWS) == 99 + 26 + 52 + 63 + 16


def test_every_row_says_what_it_is_and_where_it_is_from():
    for row in ROWS:
        assert row.us in table.VERDICTS, row
        assert row.sources, row
        assert set(row.sources) <= set(table.SOURCES), row
        assert len(row.behaviour.split()) > 3, row
        assert row.behaviour.endswith((".", ".)")), row


def test_what_is_not_simply_as_specified_says_why():
    for row in ROWS:
        assert bool(row.why) == (row.us != table.AS_SPECIFIED), row
        assert not row.why or row.why.endswith((".", ".)")), row


def test_everything_that_is_here_is_cited_by_a_test():
    missing = {row.number for row in ROWS if needs_a_test(row)} - set(TESTED)
    assert missing == set()


def test_tests_cite_nothing_that_does_not_exist():
    unknown = set(TESTED) - {row.number for row in ROWS}
    assert not unknown, {number: TESTED[number] for number in unknown}


def test_the_page_shows_every_number_with_its_tests():
    page = table.page()
    for row in ROWS:
        assert f"\n   * - {row.number}\n     - {row.behaviour}\n" in page
    assert "``tests/" not in page
    assert "``test_api.py``" in page


@pytest.mark.parametrize(
    ("text", "cites"),
    [
        ("Behaviour 71.", "71"),
        ("behaviour 24", "24"),
        ("Behaviours 28, 29.", "28 29"),
        ("Behaviours 31, 54 and 83: all of it.", "31 54 83"),
        ("Behaviours 7, 8, and B4.", "7 8 B4"),
        ("Behaviours 61-65, B11.", "61 62 63 64 65 B11"),
        ("Behaviours B4-B7.", "B4 B5 B6 B7"),
        ("Behaviours 120,\n    121.", "120 121"),
        ("As it was.\n\nBehaviour 208.", "208"),
        ("B3.", "B3"),
        ("B3: every wait listens to abort.", "B3"),
        ("It is bounded (B4).", "B4"),
        ("The budget (50).", "50"),
        ("A grammar (RFC 9110 section 14.4, B10).", "B10"),
        ("Numbers (20, 110) in parentheses.", "20 110"),
        ("A range (215-218, B11).", "215 216 217 218 B11"),
        ("A status beside others (203, 204, B1).", "203 204 B1"),
        ("With others (N3, 48, 221).", "48 221"),
        ("17, 98, 116.", "17 98 116"),
        ("58, 68, 118: seen in progress events.", "58 68 118"),
        ("43: RFC 9110 section 9.2.2 would allow it.", "43"),
        ("200, 219; over a restart", "200 219"),
        ("Behaviour 206: said with the word.", "206"),
        ("Behaviours 203, 204.", "203 204"),
        ("Behaviour 71, and again behaviour 71 (71).", "71"),
    ],
)
def test_these_are_citations(text, cites):
    assert table.cited(text) == cites.split()


@pytest.mark.parametrize(
    "text",
    [
        "A server that answers 200.",
        "The page of a 404 (404).",
        "No content (204, 205).",
        "204.",
        "206: a part.",
        "16 slow transfers are under way.",
        "60,000 bytes: many.",
        "1.5 seconds.",
        "In lists: 1, 2, 3.",
        "After 60,000 bytes (60,000).",
        "RFC 9110 section 14.4.",
        "(RFC 9110)",
        "In 2020 (2020).",
        "the 3 of them (see 15 above)",
        "The behaviour of 3 servers.",
        "B27 and B0 are none.",
        "A-B4 and xB4 and B4x",
        "utf-8 (UTF-8), SHA-256",
        "javascript:alert(1.5)",
    ],
)
def test_these_are_none(text):
    assert table.cited(text) == []


def test_docstrings_and_ids_of_tests_cite_and_nothing_else(tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text(
        '"""Of a module: behaviour 1."""\n'
        "# behaviour 2\n"
        "CASES = ['behaviour 3']\n"
        "@pytest.mark.parametrize('a', [pytest.param(1, id='behaviour 4')])\n"
        "@pytest.mark.parametrize('b', ['behaviour 5'], ids=['behaviour 6'])\n"
        "async def test_it():\n"
        '    """Behaviour 7."""\n'
        "    'behaviour 8'\n"
        "def helper():\n"
        '    """Behaviour 9."""\n'
    )
    cited = table.citations([path])
    assert cited == {number: {"test_it.py"} for number in ("1", "4", "6", "7")}


def test_a_number_cannot_have_two_rows():
    row = "[1]\nbehaviour = x\nsource = WebKit\nus = as specified\n"
    with pytest.raises(configparser.DuplicateSectionError):
        table.rows(row + row)
    with pytest.raises(TypeError):
        table.rows(row + "other = y\n")


@pytest.mark.parametrize("number", ["0", "152", "179", "243", "299", "B27", "B", "x"])
def test_reserved_numbers_have_no_place(number):
    with pytest.raises(ValueError, match="there is no behaviour"):
        table.part_of(number)
