"""The house of DESIGN sections 3 and 4: floors, lengths, nothing private."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scrapy_bgfetch

PACKAGE = Path(scrapy_bgfetch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# From the ground up; a file may import from its own floor and from below.
FLOORS = [
    {"model", "signals", "exceptions", "stats"},
    {"rules", "hookspecs", "network"},
    {"reading"},
    {"settings"},
    {"bodies", "store", "transport"},
    {"perform", "plugins", "display"},
    {"manifest"},
    {"response", "record", "events", "matching", "registration"},
    {"uploading", "permission"},
    {"new_records", "recovery"},
    {"reporting", "registry", "adoption", "appending", "earlier"},
    {"given", "grouping", "joining", "existing", "page"},
    {"manager"},
    {"extension"},
    {"middleware", "handler", "addon", "commands", "pipeline"},
    {"__init__"},
]


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST) -> list[str]:
    """Return the modules that are imported when the program runs."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""]
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        found += imports(node)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    for module in imports(ast.parse(path.read_text())):
        parts = module.split(".")
        if parts[0] == "scrapy_bgfetch" and len(parts) > 1:
            is_a_file = (PACKAGE / f"{parts[1]}.py").exists()
            if is_a_file or (PACKAGE / parts[1]).is_dir():
                assert floor(parts[1]) <= floor(of(path)), module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_private_of_scrapy_and_no_reactor_is_imported(path):
    for module in imports(ast.parse(path.read_text())):
        parts = module.split(".")
        if parts[0] in {"scrapy", "twisted", "aiohttp"}:
            assert not any(part.startswith("_") for part in parts), module
            assert module != "twisted.internet.reactor"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") < 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            doc = ast.get_docstring(node, clean=False) or ""
            length = node.end_lineno - node.lineno - doc.count("\n")
            assert length <= 40, f"{node.name} has {length} lines"


def test_rules_know_neither_scrapy_nor_files():
    for path in (PACKAGE / "rules").glob("*.py"):
        known = {
            module.split(".")[0] for module in imports(ast.parse(path.read_text()))
        }
        assert not known & {"scrapy", "twisted", "aiohttp", "asyncio", "os", "pathlib"}


def test_the_public_names_are_sorted_and_all_there():
    names = scrapy_bgfetch.__all__
    assert names == sorted(names)
    assert all(hasattr(scrapy_bgfetch, name) for name in names)
