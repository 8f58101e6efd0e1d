"""The Sphinx extension of these docs.

``.. from-code:: settings`` (or ``hooks``, ``stats``) puts entries made from the
code there, ``.. conformance::`` the tables of behaviours. ``setting``, ``signal``,
``hook``, ``stat`` and ``reqmeta`` are kinds of entries, and roles that refer to them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import conformance
import reference
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from scrapy_bgfetch import hookspecs, settings, stats

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

KINDS = ("setting", "signal", "hook", "stat", "reqmeta")

# Behaviour numbers in docstrings are for those who work on the code.
_NUMBER = r"(?:DESIGN|[BN]?\d+(?:-\d+)?)"
_NUMBERS = re.compile(
    rf"\s*\((?:behaviours? )?{_NUMBER}(?:(?:,\s|\sand\s){_NUMBER})*\)"
)


class FromCode(SphinxDirective):
    """Entries that are made from the code."""

    required_arguments = 1
    sources: ClassVar = [reference, settings, hookspecs, stats]

    def run(self) -> list[nodes.Node]:
        """Return the entries as nodes."""
        for module in self.sources:
            self.env.note_dependency(module.__file__)
        return self.parse_text_to_nodes(reference.TEXTS[self.arguments[0]]())


class Conformance(SphinxDirective):
    """The conformance tables, with the tests that cite each number."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each part."""
        for path in (conformance.TABLE, *conformance.test_files()):
            self.env.note_dependency(str(path))
        text = conformance.page(reference.linked)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def parse_entry(_env: BuildEnvironment, text: str, node: Any) -> str:
    """Show the title of an entry; its name is what comes before a parenthesis."""
    name, parenthesis, arguments = text.partition("(")
    node += addnodes.desc_name(name, name)
    if parenthesis:
        node += addnodes.desc_addname("", f"({arguments}")
    return name


def strip_behaviour_numbers(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Take the behaviour numbers out of a docstring."""
    lines[:] = _NUMBERS.sub("", "\n".join(lines)).split("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Add it all to Sphinx."""
    app.add_directive("from-code", FromCode)
    app.add_directive("conformance", Conformance)
    for kind in KINDS:
        app.add_object_type(
            kind, kind, indextemplate=f"pair: %s; {kind}", parse_node=parse_entry
        )
    app.connect("autodoc-process-docstring", strip_behaviour_numbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
