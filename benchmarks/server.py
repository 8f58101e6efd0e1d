"""A real nginx of our own, by HTTP, HTTPS and slowly, while a ``with`` block lasts."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trustme
from attrs import frozen

from benchmarks.cases import MiB
from benchmarks.measure import kill_session
from benchmarks.throttle import throttled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

RATE = 8 * MiB  # bytes per second of each connection to the throttled server
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
    root {root};
    server {{ listen 127.0.0.1:{http} backlog=1024; }}
    server {{
        listen 127.0.0.1:{https} ssl backlog=1024;
        ssl_certificate {prefix}/chain.pem;
        ssl_certificate_key {prefix}/chain.pem;
    }}
}}
"""


class ServerError(Exception):
    """nginx did not start."""


@frozen
class Served:
    """Where the files are served.

    :ivar urls: the base URL of each: ``http``, ``https`` and ``throttled``.
    :ivar authority: the file with the certificate that signed the server's.
    """

    urls: Mapping[str, str]
    authority: Path


@contextmanager
def nginx(program: str, root: Path, prefix: Path) -> Iterator[Served]:
    """Serve the files of ``root`` on free local ports.

    :param program: path of nginx.
    :param prefix: an existing folder for its configuration, certificate, log and pid.
    :raises ServerError: it did not start.
    """
    authority = _certify(prefix)
    process, ports = _start(program, root, prefix)
    try:
        urls = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
        with throttled(ports["http"], RATE) as port:
            yield Served({**urls, "throttled": f"http://127.0.0.1:{port}"}, authority)
    finally:
        _stop(process)


def _certify(prefix: Path) -> Path:
    """Write a certificate and its key for the server; return its authority's."""
    authority = trustme.CA()
    chain = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    chain.write_to_path(str(prefix / "chain.pem"))
    path = prefix / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def _start(
    program: str, root: Path, prefix: Path
) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    for _ in range(_TRIES):
        ports = {scheme: _free_port() for scheme in ("http", "https")}
        config = prefix / "nginx.conf"
        config.write_text(_config(root, prefix, ports))
        log = prefix / "error.log"
        process = subprocess.Popen(
            [*_leash(), program, "-p", str(prefix), "-c", str(config), "-e", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if all(_answers(process, port) for port in ports.values()):
                return process, ports
        except BaseException:
            _stop(process)
            raise
        _stop(process)
    raise ServerError(f"nginx did not start: {log.read_text()[-1000:]}")


def _leash() -> list[str]:
    """Return what lets nginx end with us even when we are killed, on Linux."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _config(root: Path, prefix: Path, ports: Mapping[str, int]) -> str:
    # Started by root, its workers would be nobody, who may not read our folders.
    user = "user root;" if os.geteuid() == 0 else ""
    workers = os.cpu_count() or 1
    return _CONFIG.format(root=root, prefix=prefix, user=user, workers=workers, **ports)


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
