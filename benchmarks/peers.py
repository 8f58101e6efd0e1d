"""Who is compared: the command of each, and where it leaves its files."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent


@frozen
class Job:
    """What one run has to do.

    :ivar urls: what to download.
    :ivar out: an empty folder for it.
    :ivar scratch: another one, for lists and configurations.
    :ivar concurrency: how many connections at a time.
    """

    urls: Sequence[str]
    out: Path
    scratch: Path
    concurrency: int

    @property
    def stamp(self) -> Path:
        """The file that a spider makes when all others are there."""
        return self.scratch / "done"


@frozen
class Peer:
    """One of the compared.

    :ivar prepare: returns the command for a job.
    :ivar found: returns the files it left, by the last segment of their URL.
    """

    name: str
    prepare: Callable[[Job], list[str]]
    found: Callable[[Job], dict[str, Path]]


def name_of(url: str) -> str:
    """Return the last segment of a URL."""
    return url.rpartition("/")[2]


def _spider(name: str) -> Callable[[Job], list[str]]:
    def prepare(job: Job) -> list[str]:
        urls = job.scratch / "urls.txt"
        urls.write_text("".join(f"{url}\n" for url in job.urls))
        options = [str(urls), str(job.out), str(job.stamp), str(job.concurrency)]
        return [sys.executable, "-m", "benchmarks.spiders", name, *options]

    return prepare


def _curl(program: str) -> Callable[[Job], list[str]]:
    def prepare(job: Job) -> list[str]:
        lines = [
            f'url = "{url}"\noutput = "{job.out / name_of(url)}"\n' for url in job.urls
        ]
        config = job.scratch / "curl.conf"
        config.write_text("".join(lines))
        many = ["--parallel", "--parallel-immediate"]
        most = ["--parallel-max", str(job.concurrency)]
        quiet = ["--disable", "--silent", "--show-error", "--fail"]
        return [program, *quiet, *many, *most, "--config", str(config)]

    return prepare


def _found_below(folder: str) -> Callable[[Job], dict[str, Path]]:
    def found(job: Job) -> dict[str, Path]:
        files = (job.out / folder).rglob("*")
        return {path.name: path for path in files if path.is_file()}

    return found


def _found_by_hash(job: Job) -> dict[str, Path]:
    """Undo FilesPipeline.file_path: the SHA-1 of the URL, and its extension."""
    names = {hashlib.sha1(url.encode()).hexdigest(): name_of(url) for url in job.urls}
    files = (job.out / "full").glob("*")
    return {names.get(path.stem, path.name): path for path in files}


BGFETCH = Peer("bgfetch", _spider("bgfetch"), _found_below("files"))
FILES_PIPELINE = Peer("files-pipeline", _spider("files-pipeline"), _found_by_hash)


def curl(program: str) -> Peer:
    """Return the peer that is the curl of that path."""
    return Peer("curl", _curl(program), _found_below(""))
