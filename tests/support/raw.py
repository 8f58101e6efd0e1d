"""A server that says exactly the bytes that a test gives it, right or wrong."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


class Raw:
    """Answers each path with the given bytes, then closes the connection.

    ``heads`` has the heads of the requests as they came; while ``may_close`` is
    clear, connections stay open, so that every byte is read before they break.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[bytes]] = {}
        self.heads: list[bytes] = []
        self.may_close = threading.Event()
        self.may_close.set()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self._handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def start(self) -> Raw:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.may_close.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def says(self, path: str, *answers: bytes) -> str:
        """Set what a path answers, the last one again and again; return its URL."""
        self._answers[path] = list(answers)
        port = self._server.server_address[1]
        return f"http://127.0.0.1:{port}{path}"

    def of(self, path: str) -> list[bytes]:
        return [head for head in self.heads if head.split()[1].decode() == path]

    def _handler(self, connection: socket.socket, *_: object) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        self.heads.append(head)
        answers = self._answers[head.split()[1].decode()]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with contextlib.suppress(ConnectionError):  # the client has had enough
            connection.sendall(answer)
        self.may_close.wait(10)


def answer(body: bytes, *lines: str, status: str = "200 OK", length: int = -1) -> bytes:
    """Return an answer; with a ``length`` beyond its body it breaks off."""
    length = len(body) if length < 0 else length
    fields = [f"HTTP/1.1 {status}", *lines, f"Content-Length: {length}", "", ""]
    return "\r\n".join(fields).encode("latin-1") + body
