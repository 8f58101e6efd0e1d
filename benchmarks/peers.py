"""Who is compared: the command of each, and where it leaves its files."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_SHELL = "/bin/sh"
_SYNC = 'sync --data "$0"/* && sync "$0"'  # $0 is the folder of the files


@frozen
class Job:
    """What one run has to do.

    :ivar urls: what to download.
    :ivar out: an empty folder for it.
    :ivar scratch: another one, for lists and configurations.
    :ivar concurrency: how many connections at a time.
    :ivar authority: a certificate file, by which to trust the server.
    :ivar source: the folder that the server has the files from.
    """

    urls: Sequence[str]
    out: Path
    scratch: Path
    concurrency: int
    authority: Path
    source: Path

    @property
    def sources(self) -> list[str]:
        """The paths of the files on the server."""
        return [str(self.source / name_of(url)) for url in self.urls]

    @property
    def stamp(self) -> Path:
        """The file that a spider makes when all others are there."""
        return self.scratch / "done"


@frozen
class Peer:
    """One of the compared.

    :ivar prepare: returns the command for a job.
    :ivar found: returns the files it left, by the last segment of their URL. None for
        one that keeps nothing, and makes the stamp when all bodies have come.
    """

    name: str
    prepare: Callable[[Job], list[str]]
    found: Callable[[Job], dict[str, Path]] | None


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
        trusted = ["--cacert", str(job.authority)]
        quiet = ["--disable", "--silent", "--show-error", "--fail"]
        return [program, *quiet, *many, *most, *trusted, "--config", str(config)]

    return prepare


def _aria2c(program: str, *more: str) -> Callable[[Job], list[str]]:
    def prepare(job: Job) -> list[str]:
        urls = job.scratch / "urls.txt"
        urls.write_text("".join(f"{url}\n" for url in job.urls))
        quiet = ["--no-conf", "--quiet", "--file-allocation=none"]
        many = [f"--max-concurrent-downloads={job.concurrency}"]
        trusted = f"--ca-certificate={job.authority}"
        files = [f"--dir={job.out}", f"--input-file={urls}"]
        return [program, *quiet, *many, *more, trusted, *files]

    return prepare


def _curl_sync(program: str) -> Callable[[Job], list[str]]:
    def prepare(job: Job) -> list[str]:
        return [_SHELL, "-c", f'"$@" && {_SYNC}', str(job.out), *_curl(program)(job)]

    return prepare


def _copy_sync(job: Job) -> list[str]:
    copy = f'cp --reflink=never "$@" "$0" && {_SYNC}'
    return [_SHELL, "-c", copy, str(job.out), *job.sources]


def _sha256sum(job: Job) -> list[str]:
    hash_all = 'sha256sum "$@" && touch "$0"'
    return [_SHELL, "-c", hash_all, str(job.stamp), *job.sources]


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


def _bgfetch(name: str) -> Peer:
    return Peer(name, _spider(name), _found_below("files"))


BGFETCH = _bgfetch("bgfetch")
BGFETCH_EACH = _bgfetch("bgfetch-each")
BGFETCH_LOOP = _bgfetch("bgfetch-loop")
BGFETCH_GROUPED = _bgfetch("bgfetch-grouped")
BGFETCH_CHECKSUM = _bgfetch("bgfetch-checksum")
BGFETCH_POWER = _bgfetch("bgfetch-power")
BGFETCH_PROGRESS = _bgfetch("bgfetch-progress")
BGFETCH_QUIET = _bgfetch("bgfetch-quiet")
BGFETCH_4 = _bgfetch("bgfetch-4")
FILES_PIPELINE = Peer("files-pipeline", _spider("files-pipeline"), _found_by_hash)
FILES_PIPELINE_AIOHTTP = Peer("files-aiohttp", _spider("files-aiohttp"), _found_by_hash)
PLAIN = Peer("plain-scrapy", _spider("plain-scrapy"), None)
PLAIN_SAVING = Peer("plain-saving", _spider("plain-saving"), _found_below(""))
SCRAPY_AIOHTTP = Peer("scrapy-aiohttp", _spider("scrapy-aiohttp"), _found_below(""))
SCRAPY_AIOHTTP_STATE = Peer(
    "scrapy-aiohttp-state", _spider("scrapy-aiohttp-state"), _found_below("")
)
# What any plugin has to do, and what one that goes on after a crash has to.
LEAST = (SCRAPY_AIOHTTP.name, SCRAPY_AIOHTTP_STATE.name)
SHA256SUM = Peer("sha256sum", _sha256sum, None)
COPY_SYNC = Peer("copy-sync", _copy_sync, _found_below(""))


def curl(program: str) -> Peer:
    """Return the peer that is the curl of that path."""
    return Peer("curl", _curl(program), _found_below(""))


def curl_sync(program: str) -> Peer:
    """Return the same, whose files survive a loss of power."""
    return Peer("curl-sync", _curl_sync(program), _found_below(""))


def aria2c(program: str) -> Peer:
    """Return the peer that is the aria2c of that path."""
    return Peer("aria2c", _aria2c(program), _found_below(""))


def aria2c_4(program: str) -> Peer:
    """Return the same, with four connections to each file."""
    four = ["--max-connection-per-server=4", "--split=4", "--min-split-size=1M"]
    return Peer("aria2c-4", _aria2c(program, *four), _found_below(""))
