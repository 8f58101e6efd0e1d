"""A real nginx of our own, for as long as a ``with`` block lasts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.measure import kill_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE = 10.0  # seconds for nginx to start or to end
_TRIES = 5  # a free port may be taken before nginx has it

_CONFIG = """\
daemon off;
worker_processes {workers};
pid {prefix}/nginx.pid;
error_log {prefix}/error.log warn;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
    }}
}}
"""


class ServerError(Exception):
    """nginx did not start."""


@contextmanager
def nginx(program: str, root: Path, prefix: Path) -> Iterator[str]:
    """Serve the files of ``root`` on a free local port; yield the base URL.

    :param program: path of nginx.
    :param prefix: an existing folder for its configuration, log and pid.
    :raises ServerError: it did not start.
    """
    process, port = _start(program, root, prefix)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def _start(
    program: str, root: Path, prefix: Path
) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(_TRIES):
        port = _free_port()
        config = prefix / "nginx.conf"
        config.write_text(_config(root, prefix, port))
        log = prefix / "error.log"
        process = subprocess.Popen(
            [*_leash(), program, "-p", str(prefix), "-c", str(config), "-e", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if _answers(process, port):
                return process, port
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    raise ServerError(f"nginx did not start: {log.read_text()[-1000:]}")


def _leash() -> list[str]:
    """Return what lets nginx end with us even when we are killed, on Linux."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _config(root: Path, prefix: Path, port: int) -> str:
    # Started by root, its workers would be nobody, who may not read our folders.
    user = "user root;" if os.geteuid() == 0 else ""
    workers = os.cpu_count() or 1
    return _CONFIG.format(
        root=root, prefix=prefix, port=port, user=user, workers=workers
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it listens; False when it ended instead."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process.poll() is None
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        kill_session(process)
