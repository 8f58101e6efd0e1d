"""A server whose answers go on step by step, as a test tells it.

Each path has a queue of steps; the newest connection to it takes them. ``open`` lets
a path answer everything by itself from then on.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import defaultdict, deque
from typing import Any

from tests.support.misbehaving import Misbehaving, Peer, head, whole
from tests.support.site import body

Step = tuple[Any, ...]


class _Path:
    """What is known of one path: its size, its steps, its newest connection."""

    def __init__(self, name: str, size: int, *, length: bool) -> None:
        self.data = body(name, size)
        self.length = length
        self.steps: deque[Step] = deque()
        self.open = False
        self.newest: Peer | None = None


class Stepped:
    """The server. Steps: ``("send", n)``, ``("end",)``, ``("cut",)``, and
    ``("status", code, *fields)``, which breaks off an answer that has begun.
    """

    def __init__(self) -> None:
        self._server = Misbehaving()
        self._changed = threading.Condition()
        self._paths: dict[str, _Path] = {}
        self.asked: dict[str, int] = defaultdict(int)

    def start(self) -> Stepped:
        self._server.start()
        return self

    def stop(self) -> None:
        with self._changed:
            for path in self._paths.values():
                path.newest = None
            self._changed.notify_all()
        self._server.stop()

    def at(self, path: str, size: int, *, length: bool = True) -> str:
        """Have a file of that size; without ``length`` nothing announces it."""
        self._paths[path] = _Path(path, size, length=length)
        return self._server.at(path, self._behave)

    def content(self, path: str) -> bytes:
        return self._paths[path].data

    def step(self, path: str, *steps: Step) -> None:
        """Let the answers of a path go on by these steps."""
        with self._changed:
            self._paths[path].steps.extend(steps)
            self._changed.notify_all()

    def open(self, path: str) -> None:
        """Forget the steps that are left; answer everything from now on."""
        with self._changed:
            self._paths[path].steps.clear()
            self._paths[path].open = True
            self._changed.notify_all()

    def waits(self, path: str) -> bool:
        """Whether a connection has done all steps of a path and waits for more."""
        with self._changed:
            known = self._paths[path]
            return known.newest is not None and not known.steps and not known.open

    # -- one connection ------------------------------------------------------------

    def _behave(self, peer: Peer) -> None:
        known = self._paths[peer.path]
        with self._changed:
            known.newest = peer
            self.asked[peer.path] += 1
            self._changed.notify_all()
        answer = _Answer(known, peer)
        while (step := self._next(known, peer)) is not None:
            if not answer.go(step):
                break
        with self._changed:
            if known.newest is peer:
                known.newest = None

    def _next(self, known: _Path, peer: Peer) -> Step | None:
        with self._changed:
            self._changed.wait_for(
                lambda: known.newest is not peer or known.steps or known.open, 30
            )
            if known.newest is not peer:
                return None
            return known.steps.popleft() if known.steps else ("end",)


class _Answer:
    """One answer on its way; :meth:`go` returns whether it goes on."""

    def __init__(self, known: _Path, peer: Peer) -> None:
        self._known = known
        self._peer = peer
        self._at = peer.offset
        self._begun = False

    def go(self, step: Step) -> bool:
        kind, *said = step
        return getattr(self, f"_{kind}")(*said)

    def _send(self, more: int) -> bool:
        if 0 < len(self._known.data) <= self._peer.offset:
            return self._nothing_left()
        self._begin()
        data = self._known.data[self._at : self._at + more]
        self._at += len(data)
        if data:
            self._body(data)
        return True

    def _end(self) -> bool:
        if self._send(len(self._known.data)) and not self._known.length:
            self._peer.send(b"0\r\n\r\n")
        return False

    def _cut(self) -> bool:
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            connection = self._peer._connection
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False

    def _status(self, code: int, *fields: str) -> bool:
        if not self._begun:
            self._peer.send(whole(b"page", *fields, status=f"{code} Said"))
        return False

    def _nothing_left(self) -> bool:
        total = f"Content-Range: bytes */{len(self._known.data)}"
        self._peer.send(whole(b"", total, status="416 Range Not Satisfiable"))
        return False

    def _body(self, data: bytes) -> None:
        framed = data if self._known.length else b"%x\r\n%s\r\n" % (len(data), data)
        self._peer.send(framed)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        total, at = len(self._known.data), self._at
        lines = ['ETag: "e"', "Connection: close"]
        lines.append(
            f"Content-Length: {total - at}"
            if self._known.length
            else "Transfer-Encoding: chunked"
        )
        status = "200 OK"
        if at:
            status = "206 Partial Content"
            lines.append(f"Content-Range: bytes {at}-{total - 1}/{total}")
        self._peer.send(head(*lines, status=status))
