"""A server that takes the head of a request and nothing more, until it may."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

_GONE = select.POLLERR | select.POLLHUP | select.POLLRDHUP


class Stuck:
    """``gone`` says when the client broke off; ``released`` lets it read on."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.heads: list[bytes] = []
        self.gone: float | None = None
        self.released = threading.Event()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def start(self) -> Stuck:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{path}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self._hold(connection)

    def _hold(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1024)
        self.heads.append(head)
        poll = select.poll()
        poll.register(connection, _GONE)
        while not self.ended.is_set() and not self.released.is_set():
            if poll.poll(20):
                self.gone = time.monotonic()
                return
        if self.released.is_set():
            self._take(connection, head)

    def _take(self, connection: socket.socket, head: bytes) -> None:
        fields = head.partition(b"\r\n\r\n")[0].lower()
        length = int(fields.partition(b"content-length:")[2].split(b"\r\n")[0])
        left = length - len(head.partition(b"\r\n\r\n")[2])
        while left:
            left -= len(connection.recv(min(left, 256 * 1024)))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
