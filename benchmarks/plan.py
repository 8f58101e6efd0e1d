"""Who takes part in which case."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.pipeline_spiders import AIOHTTP_HANDLER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.cases import Case
    from benchmarks.peers import Peer

PROGRAMS = {"nginx": "nginx-light", "curl": "curl", "aria2c": "aria2"}
_SBIN = "/usr/sbin:/usr/local/sbin"  # Debian's nginx is there, users' PATH not

_ALL = ("bgfetch", "curl", "files-pipeline", "aria2c", "files-aiohttp")
_OURS = ("bgfetch-each", "bgfetch-loop", "bgfetch-grouped")
_PLAIN = ("plain-scrapy", "plain-saving")
_POWER = ("bgfetch-power", "curl-sync", "copy-sync")
_PROGRESS = ("bgfetch-progress", "bgfetch-quiet")
_CHECKSUM = ("bgfetch-checksum", "sha256sum")
PLAN = {
    "empty": ("bgfetch", "files-pipeline", "plain-scrapy"),
    "large": (*_ALL, *_PROGRESS, *_CHECKSUM, *_POWER),
    "large-tls": _ALL,
    "medium": (*_ALL, *_POWER),
    "medium-tls": _ALL,
    "small": (*_ALL, *_OURS, *_PLAIN, *peers.LEAST),
    "small-tls": _ALL,
    "throttled": (
        "bgfetch", "bgfetch-4", "files-pipeline", "curl", "aria2c", "aria2c-4",
    ),
    "small-cleared": ("bgfetch", "curl", "files-pipeline", "aria2c", *peers.LEAST),
}  # fmt: skip


class MissingProgramError(Exception):
    """A program that is needed is not installed."""


def programs() -> dict[str, str]:
    """Return the path of each program that is needed.

    :raises MissingProgramError: one is not installed; it says how to install it.
    """
    return {name: _program(name) for name in PROGRAMS}


def known_peers(paths: Mapping[str, str]) -> dict[str, Peer]:
    """Return the peers that can be run here, by name."""
    known = [
        peers.BGFETCH,
        peers.BGFETCH_EACH,
        peers.BGFETCH_LOOP,
        peers.BGFETCH_4,
        peers.BGFETCH_GROUPED,
        peers.BGFETCH_CHECKSUM,
        peers.BGFETCH_POWER,
        peers.BGFETCH_PROGRESS,
        peers.BGFETCH_QUIET,
        peers.FILES_PIPELINE,
        peers.PLAIN,
        peers.PLAIN_SAVING,
        peers.SCRAPY_AIOHTTP,
        peers.SCRAPY_AIOHTTP_STATE,
        peers.COPY_SYNC,
        peers.SHA256SUM,
        peers.curl(paths["curl"]),
        peers.curl_sync(paths["curl"]),
        peers.aria2c(paths["aria2c"]),
        peers.aria2c_4(paths["aria2c"]),
    ]
    if find_spec(AIOHTTP_HANDLER.rpartition(".")[0]) is not None:
        known.append(peers.FILES_PIPELINE_AIOHTTP)
    return {peer.name: peer for peer in known}


def taking_part(
    case: Case, known: Mapping[str, Peer], wanted: Sequence[str] = ()
) -> list[Peer]:
    """Return the peers of a case, in their order.

    :param wanted: names of those to keep beside bgfetch, all when empty.
    """
    names = [name for name in PLAN[case.name] if name in known]
    kept = {peers.BGFETCH.name, *(wanted or names)}
    return [known[name] for name in names if name in kept]


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=_SBIN)
    if path is None:
        raise MissingProgramError(
            f"{name} is not installed. On Debian and Ubuntu: "
            f"sudo apt install {' '.join(PROGRAMS.values())}"
        )
    return path
