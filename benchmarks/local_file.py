"""One file on a local nginx, for the commands that download it many times at once."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cases import Case, MiB, make_source
from benchmarks.server import nginx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SBIN = "/usr/sbin:/usr/local/sbin"
_SCHEMES = ("http", "https")


@contextmanager
def served(size: int) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Serve a file of ``size`` MiB while a ``with`` block lasts.

    Returns a folder to work in, which goes away, and the URL for each scheme.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path=_SBIN)
    if program is None:
        sys.exit("benchmarks: nginx is not installed")
    case = Case("file", 1, size * MiB)
    with tempfile.TemporaryDirectory(prefix="bgfetch-benchmark-") as folder:
        work = Path(folder)
        make_source(case, work).warm()
        path = f"{case.folder}/{case.names()[0]}"
        with nginx(program, work / "sources", work) as server:
            yield work, {name: f"{server.urls[name]}/{path}" for name in _SCHEMES}


def many(url: str, count: int) -> list[str]:
    """Return as many different URLs of the file."""
    return [f"{url}?{number}" for number in range(count)]
