"""A server on bare sockets that does wrong whatever a test asks for.

Each path has its behaviours, one for each request, the last one again and again. A
behaviour is a function of the connection; when it returns, the connection ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import socketserver
import ssl
import struct
import termios
import threading
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


class Peer:
    """One connection: the head of its request, and what may be done to it."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._connection = connection
        self._over = over
        self.head = b""
        self.sent = 0
        while b"\r\n\r\n" not in self.head and (data := connection.recv(65536)):
            self.head += data

    @property
    def path(self) -> str:
        return self.head.split()[1].decode()

    def field(self, name: str) -> str | None:
        """Return the value of a header field of the request."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    @property
    def offset(self) -> int:
        """Return the first byte that is asked for, 0 without a Range."""
        value = self.field("Range") or "bytes=0-"
        return int(value.removeprefix("bytes=").removesuffix("-"))

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)
        self.sent += len(data)

    def wait(self, seconds: float) -> bool:
        """Let time pass; True when the test is over."""
        return self._over.wait(seconds)

    def reset(self) -> None:
        """Let the connection end by RST, when the client has all that was sent."""
        queued = bytearray(4)
        while fcntl.ioctl(self._connection, termios.TIOCOUTQ, queued) or any(queued):
            if self._over.wait(0.001):
                break
        linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._connection.close()

    def end(self) -> None:
        """Say goodbye on TLS, as a server in good order does."""
        if (
            isinstance(self._connection, ssl.SSLSocket)
            and self._connection.fileno() > 0
        ):
            self._connection.settimeout(1)
            self._connection.unwrap()


Behaviour: TypeAlias = "Callable[[Peer], None]"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = False  # closing waits for them

    def shutdown_request(self, request) -> None:
        request.close()


class Misbehaving:
    """The server; ``peers`` has the connections as they came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._behaviours: dict[str, list[Behaviour]] = {}
        self._over = threading.Event()
        self._ended = threading.Condition()
        self._ends = 0
        self.peers: list[Peer] = []
        self._server = _Server(("127.0.0.1", 0), self._handle)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def start(self) -> Misbehaving:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def at(self, path: str, *behaviours: Behaviour) -> str:
        """Set what a path does; return its URL."""
        self._behaviours[path] = list(behaviours)
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}{path}"

    def of(self, path: str) -> list[Peer]:
        return [peer for peer in self.peers if peer.path == path]

    def offsets(self, path: str) -> list[int]:
        """Return from which byte on each request asked."""
        return [peer.offset for peer in self.of(path)]

    def wait_for_ends(self, number: int) -> bool:
        """Wait until so many connections were ended by this side."""
        with self._ended:
            return self._ended.wait_for(lambda: self._ends >= number, 10)

    def _handle(self, connection: socket.socket, *_: object) -> None:
        with contextlib.suppress(OSError):  # the client has had enough
            self._serve(connection)
        with self._ended:
            self._ends += 1
            self._ended.notify_all()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection:
            peer = Peer(connection, self._over)
            if peer.head:
                self.peers.append(peer)
                behaviours = self._behaviours.get(peer.path, [_missing])
                behave = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
                behave(peer)
                peer.end()


def _missing(peer: Peer) -> None:
    peer.send(whole(b"", status="404 Not Found"))


# -- behaviours --------------------------------------------------------------------


def sends(*pieces: bytes) -> Behaviour:
    """Send that and close."""

    def behave(peer: Peer) -> None:
        for piece in pieces:
            peer.send(piece)

    return behave


def resets(*pieces: bytes, after: threading.Event | None = None) -> Behaviour:
    """Send that and break the connection by RST, ``after`` something if given."""

    def behave(peer: Peer) -> None:
        sends(*pieces)(peer)
        if after is not None:
            after.wait(10)
        peer.reset()

    return behave


def stalls(*pieces: bytes) -> Behaviour:
    """Send that, then nothing, and keep the connection."""

    def behave(peer: Peer) -> None:
        sends(*pieces)(peer)
        peer.wait(30)

    return behave


def then(*behaviours: Behaviour) -> Behaviour:
    """Do one after the other on the same connection."""

    def behave(peer: Peer) -> None:
        for one in behaviours:
            one(peer)

    return behave


def pauses(seconds: float) -> Behaviour:
    return lambda peer: peer.wait(seconds) and None


def drips(head: bytes, data: bytes, *, step: int, pause: float) -> Behaviour:
    """Send a body slowly."""

    def behave(peer: Peer) -> None:
        peer.send(head)
        for start in range(0, len(data), step):
            peer.send(data[start : start + step])
            if peer.wait(pause):
                return

    return behave


def endless(head: bytes, piece: bytes) -> Behaviour:
    """Send the same piece for ever."""

    def behave(peer: Peer) -> None:
        peer.send(head)
        while not peer.wait(0):
            peer.send(piece)

    return behave


# -- what is sent ------------------------------------------------------------------


def head(*lines: str, status: str = "200 OK") -> bytes:
    """Return the head of an answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def whole(data: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return an answer with nothing wrong in it."""
    return head(*lines, f"Content-Length: {len(data)}", status=status) + data


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


FAST = {
    "BGFETCH_RESUMPTIONS": 2,
    "BGFETCH_RESTARTS": 2,
    "BGFETCH_RETRY_MAX_DELAY": 0.05,
}


def part(data: bytes, first: int, total: object, *lines: str) -> bytes:
    """Return a 206 answer with these bytes."""
    span = f"Content-Range: bytes {first}-{first + len(data) - 1}/{total}"
    return whole(data, span, *lines, status="206 Partial Content")


def honest(data: bytes, etag: str = '"e"', cut: int | None = None) -> Behaviour:
    """Serve a file with ranges; break off after ``cut`` bytes."""

    def behave(peer: Peer) -> None:
        at = peer.offset if peer.field("If-Range") in (None, etag) else 0
        said = part(data[at:], at, len(data), f"ETag: {etag}")
        if not at:
            said = whole(data, f"ETag: {etag}")
        end = len(said) if cut is None else said.index(b"\r\n\r\n") + 4 + cut
        peer.send(said[:end])

    return behave


@contextlib.contextmanager
def misbehaving(caplog: pytest.LogCaptureFixture) -> Iterator[Misbehaving]:
    """Run the server; see that nothing of it has become a traceback in the log."""
    server = Misbehaving().start()
    yield server
    server.stop()
    said = [one for one in caplog.get_records("call") if one.exc_info]
    assert said == []
    assert "Traceback" not in caplog.text
    assert "unexpected" not in caplog.text
