"""Reference pages made from the code: reStructuredText, without Sphinx.

The Sphinx extension (:mod:`bgfetch_docs`) shows it, and the test that docs and
code agree reads it.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from attrs import fields

from scrapy_bgfetch import hookspecs
from scrapy_bgfetch.settings import Settings
from scrapy_bgfetch.stats import STATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MiB = 1024 * 1024


def settings_text() -> str:
    """Return the entries of all settings, in the order of the code."""
    return "\n".join(_setting(field.metadata) for field in fields(Settings))


def hooks_text() -> str:
    """Return the entries of all hooks, in the order of the code."""
    return "\n".join(_hook(name, spec) for name, spec in hooks())


def stats_text() -> str:
    """Return the entries of all stats, in the order of the code."""
    return "\n".join(
        _entry("stat", _braces_to_angles(stat.name), {"unit": stat.unit}, stat.doc)
        for stat in STATS
    )


def hooks() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the name and the specification of every hook."""
    for name, value in vars(hookspecs).items():
        if hasattr(value, f"{hookspecs.PROJECT}_spec"):
            yield name, value


TEXTS = {"settings": settings_text, "hooks": hooks_text, "stats": stats_text}


def _setting(meta: Any) -> str:
    options = {"default": _shown(meta["default"]), "unit": meta["unit"]}
    return _entry("setting", meta["name"], options, meta["doc"])


def _hook(name: str, spec: Callable[..., Any]) -> str:
    options = getattr(spec, f"{hookspecs.PROJECT}_spec")
    kind = "the first answer that is not None" if options["firstresult"] else "all"
    signature = f"{name}({', '.join(inspect.signature(spec).parameters)})"
    return _entry("hook", signature, {"called": kind}, inspect.getdoc(spec) or "")


def _entry(directive: str, title: str, options: dict[str, str], doc: str) -> str:
    lines = [f".. {directive}:: {title}", ""]
    lines += [f"   :{name}: {value}" for name, value in options.items()]
    lines += ["", *(f"   {line}".rstrip() for line in linked(doc).splitlines()), ""]
    return "\n".join(lines)


def linked(doc: str) -> str:
    """Return text with links: names of settings and stats become references."""
    doc = re.sub(r"(?<![`\w])(BGFETCH_[A-Z_]+)", r":setting:`\1`", doc)
    return re.sub(r"``(bgfetch/[a-z_]+)``", r":stat:`\1`", doc)


def _shown(default: Any) -> str:
    if isinstance(default, int) and default >= MiB and default % MiB == 0:
        return f"``{default}`` ({default // MiB} MiB)"
    return f"``{list(default) if default == () else default!r}``"


def _braces_to_angles(name: str) -> str:
    return re.sub(r"\{(\w+)\}", r"<\1>", name)
