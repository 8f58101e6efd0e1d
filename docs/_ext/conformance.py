"""The conformance table: what it says, and which tests stand behind each row.

The rows are in ``docs/explanation/conformance.ini``, a section for each number; the
tests cite them. The page is made from both when the docs are built, and a test
holds them together.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections import defaultdict
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "explanation" / "conformance.ini"
TESTS = ROOT / "tests"

AS_SPECIFIED, ADAPTED, INSTEAD, NOT_HERE = VERDICTS = (
    "as specified",
    "adapted",
    "instead",
    "not here",
)
SOURCES = ("specification", "web platform tests", "Chromium", "WebKit")
# Title, first and last number of each part of the page.
PARTS = [
    ("The model", "1", "7"),
    ("fetch", "8", "24"),
    ("get and getIds", "25", "29"),
    ("Perform a background fetch", "30", "39"),
    ("Complete a record", "40", "60"),
    ("Partial responses", "61", "66"),
    ("Handles and progress", "67", "70"),
    ("abort", "71", "73"),
    ("match, matchAll and records", "74", "84"),
    ("updateUI, display and click", "85", "90"),
    ("Privacy and storage", "91", "99"),
    ("Where the specification is wrong or silent", "B1", "B26"),
    ("Web platform tests", "100", "151"),
    ("Chromium", "180", "242"),
    ("WebKit", "300", "315"),
]

_NUMBER = r"B?[1-9]\d{0,2}"
_ITEM = rf"{_NUMBER}(?:-{_NUMBER})?"
_LIST = rf"{_ITEM}(?:(?:,\s+and\s+|,\s+|\s+and\s+){_ITEM})*(?![\d-])"
_SAID = re.compile(rf"\b[Bb]ehaviours?\s+({_LIST})")
_IN_PARENTHESES = re.compile(rf"\((?:[A-Z]\d+,\s+)*({_LIST})\)")
_AT_THE_START = re.compile(rf"\A({_LIST})(?=[.:;]\s|[.:;]\Z)")
_BUG = re.compile(r"(?<![\w-])B(?:[1-9]|1\d|2[0-6])(?![\w-])")
_STATUSES = {str(status.value) for status in HTTPStatus}


@frozen
class Row:
    """One behaviour, and what we make of it."""

    number: str
    behaviour: str
    sources: tuple[str, ...]
    us: str
    why: str = ""


def rows(text: str | None = None) -> list[Row]:
    """Return the rows of the table.

    :raises configparser.Error: a number is there twice, or something is no row.
    """
    table = configparser.ConfigParser(interpolation=None)
    table.read_string(TABLE.read_text(encoding="utf-8") if text is None else text)
    return [_row(number, table[number]) for number in table.sections()]


def _row(number: str, section: Any) -> Row:
    values = {key: " ".join(value.split()) for key, value in section.items()}
    sources = tuple(values.pop("source").split(", "))
    return Row(number, sources=sources, **values)


def cited(text: str) -> list[str]:
    """Return the numbers that a text cites, in order.

    ``Behaviour 71``, ``behaviours 8-12, 20 and B4`` and a bare ``B4`` are citations.
    So is a list alone in parentheses, ``(20, 110)``, or at the start, ``20, 110:``,
    unless all of its numbers are HTTP statuses as well: those need the word.
    """
    found: list[str] = []
    for said in _SAID.findall(text):
        found += _expanded(said)
    for said in _AT_THE_START.findall(text) + _IN_PARENTHESES.findall(text):
        numbers = list(_expanded(said))
        if not set(numbers) <= _STATUSES:
            found += numbers
    found += _BUG.findall(text)
    return list(dict.fromkeys(found))


def _expanded(said: str) -> Iterator[str]:
    for item in re.findall(_ITEM, said):
        first, _, last = item.partition("-")
        prefix = "B" if first.startswith("B") else ""
        start, end = (int(one.removeprefix("B")) for one in (first, last or first))
        yield from (f"{prefix}{number}" for number in range(start, end + 1))


def test_files() -> list[Path]:
    """Return all files of tests."""
    return sorted(TESTS.rglob("test_*.py"))


def citations(files: Iterable[Path] | None = None) -> dict[str, set[str]]:
    """Return the test files that cite each number, relative to ``tests``.

    Docstrings of test files and of tests count, and the ids of their parameters.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for path in test_files() if files is None else files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for text in _citing_texts(tree):
            for number in cited(text):
                found[number].add(_place(path))
    return dict(found)


def _place(path: Path) -> str:
    return path.relative_to(TESTS).as_posix() if TESTS in path.parents else path.name


def _citing_texts(tree: ast.Module) -> Iterator[str]:
    yield ast.get_docstring(tree) or ""
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if node.name.startswith("test_"):
            yield ast.get_docstring(node) or ""
            for decorator in node.decorator_list:
                yield from _ids(decorator)


def _ids(decorator: ast.expr) -> Iterator[str]:
    for keyword in ast.walk(decorator):
        if isinstance(keyword, ast.keyword) and keyword.arg in {"id", "ids"}:
            for node in ast.walk(keyword.value):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def part_of(number: str) -> int:
    """Return the place in PARTS of a number.

    :raises ValueError: there is no such number.
    """
    for place, (_, first, last) in enumerate(PARTS):
        bugs = first.startswith("B")
        digits = number.removeprefix("B")
        if digits.isdecimal() and number.startswith("B") == bugs:
            ends = [int(end.removeprefix("B")) for end in (first, last)]
            if ends[0] <= int(digits) <= ends[1]:
                return place
    raise ValueError(f"there is no behaviour {number}")


def all_numbers() -> list[str]:
    """Return every number that must have a row, in the order of the page."""
    return [
        number for _, first, last in PARTS for number in _expanded(f"{first}-{last}")
    ]


def page(linked: Callable[[str], str] = str) -> str:
    """Return the tables of the page, as reStructuredText.

    :param linked: makes links of the names in our own words.
    """
    by_part: dict[int, list[Row]] = defaultdict(list)
    for row in rows():
        by_part[part_of(row.number)].append(row)
    tests = citations()
    lines = [_counts(row for part in by_part.values() for row in part), ""]
    for place, (title, _, _) in enumerate(PARTS):
        lines += [
            title,
            "-" * len(title),
            "",
            *_table(by_part[place], tests, linked),
            "",
        ]
    return "\n".join(lines)


def _counts(all_rows: Iterable[Row]) -> str:
    counts = dict.fromkeys(VERDICTS, 0)
    for row in all_rows:
        counts[row.us] += 1
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"Of {sum(counts.values())} behaviours: {said}."


def _table(
    part: list[Row], tests: dict[str, set[str]], linked: Callable[[str], str]
) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield "   :widths: 7 40 13 40"
    yield ""
    yield from _cells("Number", "Behaviour", "Source", "Here")
    for row in part:
        files = sorted(tests.get(row.number, ()))
        here = f"**{row.us.capitalize()}.** {linked(row.why)}".strip()
        if files:
            here += f" Tests: {', '.join(f'``{file}``' for file in files)}."
        yield from _cells(row.number, row.behaviour, ", ".join(row.sources), here)


def _cells(*cells: str) -> Iterator[str]:
    for place, cell in enumerate(cells):
        yield f"   {' ' if place else '*'} - {cell}"
