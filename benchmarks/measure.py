"""Runs one command in a process of its own and measures it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT = Path(__file__).resolve().parent.parent
_LAUNCHER = Path(__file__).with_name("launcher.py")
_TAIL = 2000  # characters of a failed command's output


class RunError(Exception):
    """A run did not do its work: it has no numbers."""


@frozen
class Usage:
    """What one run took.

    :ivar began: seconds since the epoch.
    :ivar wall: seconds from the start of the process to its end.
    :ivar done: seconds from the start of the process until it knew that all files are
        in their places; ``wall`` for one that does nothing after that.
    :ivar cpu: user and system seconds together, of it and the children it awaited.
    :ivar peak: bytes of resident memory at most, of its largest process. Never less
        than the launcher's own, see :func:`floor`.
    """

    began: float
    wall: float
    done: float
    cpu: float
    peak: int

    def with_stamp(self, stamp: Path) -> Usage:
        """Return what it took, given the file that it may have made when done."""
        if not stamp.exists():
            return self
        return evolve(self, done=stamp.stat().st_ctime - self.began)


def run(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float
) -> Usage:
    """Run a command to its end and return what it took.

    Whatever happens, nothing of it is left running.

    :param command: its first word is the absolute path of a program.
    :param timeout: seconds.
    :raises RunError: it failed, or took too long.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        line, log = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunError(f"it took longer than {timeout:g} seconds") from None
    finally:
        kill_session(process)
    return _usage(line, log.decode(errors="replace"))


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session of its own, and all that it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def floor() -> int:
    """Return the peak memory, in bytes, of a process that does nothing."""
    true = Path("/bin/true")
    return run([str(true)], env=os.environ, cwd=Path.cwd(), timeout=60).peak


def _usage(line: bytes, log: str) -> Usage:
    words = line.split()
    if len(words) != 6:
        raise RunError(f"it could not be started:\n{log[-_TAIL:]}")
    if int(words[0]):
        raise RunError(f"it ended with status {int(words[0])}:\n{log[-_TAIL:]}")
    began, wall, user, system = (float(word) for word in words[1:5])
    return Usage(began, wall, wall, user + system, int(words[5]) * 1024)


def environment() -> dict[str, str]:
    """Return our environment, in which a Python finds this package and ours.

    It may keep what it compiles: an installed package comes compiled, one in a checkout
    would be compiled in each run.
    """
    path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}
