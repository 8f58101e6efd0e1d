"""Streaming content decoding, for servers that send a Content-Encoding unasked.

Every decoder gives its output in small pieces, on demand, so that the caller can
stop a decompression bomb in the middle.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_MAX_OUTPUT = 256 * 1024
_MAX_INPUT = 16 * 1024
_MAX_CODINGS = 5
_ZSTD_WINDOW_LOG = 23  # 8 MiB, the most that RFC 9659 lets a server use


class UnsupportedEncoding(Exception):  # noqa: N818
    """The body has a content coding that cannot be decoded here."""


class CorruptBody(Exception):  # noqa: N818
    """The body is not what its content coding says, or is cut short."""


class Decoder(Protocol):
    """Decodes one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what ``data`` decodes to, in pieces of at most 256 KiB.

        Decoding goes on only as the iterator is consumed: consume it to its end
        before the next call, or throw the decoder away.

        :raises CorruptBody: the data cannot be decoded.
        """

    def finish(self) -> None:
        """Say that there is no more data.

        :raises CorruptBody: the body is cut short. An empty one is not.
        """


def make_decoder(content_encoding: str | None) -> Decoder | None:
    """Return the decoder for a Content-Encoding (RFC 9110 section 8.4).

    None when there is nothing to decode. Takes gzip, x-gzip, deflate (with and
    without the zlib wrapper), br and zstd, and lists of up to five of them.

    :raises UnsupportedEncoding: a coding is unknown, or its package is missing.
    """
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    codings = [name for name in names if name not in {"", "identity"}]
    if len(codings) > _MAX_CODINGS:
        raise UnsupportedEncoding(
            f"the body has {len(codings)} content codings: at most {_MAX_CODINGS}"
            " are decoded"
        )
    decoders = [_make_one(coding) for coding in reversed(codings)]
    return _Chain(decoders) if len(decoders) > 1 else next(iter(decoders), None)


def _make_one(coding: str) -> Decoder:
    if coding in {"gzip", "x-gzip"}:
        return _Members(coding, zlib.error, _Gzip, b"\x1f\x8b\x08")
    if coding == "deflate":
        return _Members(coding, zlib.error, _Deflate)
    if coding == "br":
        return _make_brotli()
    if coding == "zstd":
        return _make_zstd()
    raise UnsupportedEncoding(f"the content coding {coding[:40]!r} is not known")


def _make_brotli() -> Decoder:
    module = _first_module("brotli", "brotlicffi")
    # Older ones cannot be told to stop in the middle of a bomb.
    if not module or not hasattr(module.Decompressor, "can_accept_more_data"):
        raise UnsupportedEncoding(
            "the content coding 'br' needs the package brotli or brotlicffi, 1.2 or"
            " newer: install one"
        )
    error, opener = module.error, module.Decompressor
    return _Members("br", error, lambda: _Brotli(opener()), strict=True)


def _make_zstd() -> Decoder:
    if module := _first_module("compression.zstd", "backports.zstd"):
        error, opener = module.ZstdError, module.ZstdDecompressor
        options = {module.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return _Members("zstd", error, lambda: _Zstd(opener(options=options)), b"")
    if module := _first_module("zstandard"):
        opener = module.ZstdDecompressor(max_window_size=2**_ZSTD_WINDOW_LOG)
        return _Members(
            "zstd", module.ZstdError, lambda: _Zstandard(opener.decompressobj()), b""
        )
    raise UnsupportedEncoding(
        "the content coding 'zstd' needs the package backports.zstd or zstandard:"
        " install one"
    )


def _first_module(*names: str) -> ModuleType | None:
    for name in names:
        with suppress(ImportError):
            return import_module(name)
    return None


class _Member(Protocol):
    """Decodes one member: a whole stream, or one of several one after another."""

    @property
    def hungry(self) -> bool:
        """Wants more data, has no more output."""

    @property
    def complete(self) -> bool:
        """Has seen its end."""

    @property
    def rest(self) -> bytes:
        """What came after the end."""

    def decode(self, data: bytes) -> bytes:
        """Return some output, the next one; call again with b"" until hungry."""


class _Members:
    """Decodes the members of one coding.

    What follows a member and begins with ``next_magic`` is another member; what
    else follows is ignored, or corrupt where the coding is ``strict``.
    """

    def __init__(
        self,
        coding: str,
        error: type[Exception],
        open_member: Callable[[], _Member],
        next_magic: bytes | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._coding = coding
        self._error = error
        self._open = open_member
        self._magic = next_magic
        self._strict = strict
        self._member: _Member | None = None
        self._between = b""
        self._ignoring = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _MAX_INPUT):
            yield from self._feed(data[start : start + _MAX_INPUT])

    def finish(self) -> None:
        if self._member and not self._member.complete:
            raise CorruptBody(f"the {self._coding} body is cut short")

    def _feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._ignoring:
            if self._member and self._member.complete:
                data = self._next_member(data)
            if not data:
                return
            if not self._member:
                self._member = self._open()
            yield from self._drain(self._member, data)
            data = self._member.rest if self._member.complete else b""

    def _next_member(self, data: bytes) -> bytes:
        """Return the data of a new member, empty when none begins (or not yet)."""
        self._between += data
        magic = self._magic
        if magic is None or not self._between.startswith(magic[: len(self._between)]):
            self._ignore_rest()
        elif len(self._between) >= len(magic):
            data, self._between, self._member = self._between, b"", None
            return data
        return b""

    def _ignore_rest(self) -> None:
        if self._strict:
            raise CorruptBody(f"the {self._coding} body goes on after its end")
        self._ignoring = True

    def _drain(self, member: _Member, data: bytes) -> Iterator[bytes]:
        while True:
            output = self._decode(member, data)
            for start in range(0, len(output), _MAX_OUTPUT):
                yield output[start : start + _MAX_OUTPUT]
            if member.hungry or member.complete:
                return
            data = b""

    def _decode(self, member: _Member, data: bytes) -> bytes:
        try:
            return member.decode(data)
        except self._error as exc:
            raise CorruptBody(f"the {self._coding} body is corrupt: {exc}") from exc


class _Chain:
    """Decodes a body that was encoded several times; the outermost coding first."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, data: bytes) -> Iterator[bytes]:
        return self._feed(data, 0)

    def finish(self) -> None:
        for decoder in self._decoders:
            decoder.finish()

    def _feed(self, data: bytes, place: int) -> Iterator[bytes]:
        if place == len(self._decoders):
            yield data
            return
        for output in self._decoders[place].feed(data):
            yield from self._feed(output, place + 1)


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self.hungry = True

    @property
    def complete(self) -> bool:
        return self._zlib.eof

    @property
    def rest(self) -> bytes:
        return self._zlib.unused_data

    def decode(self, data: bytes) -> bytes:
        tail = self._zlib.unconsumed_tail
        output = self._zlib.decompress(tail + data, _MAX_OUTPUT)
        self.hungry = len(output) < _MAX_OUTPUT and not self._zlib.unconsumed_tail
        return output


class _Gzip(_Zlib):
    def __init__(self) -> None:
        super().__init__(16 + zlib.MAX_WBITS)


class _Deflate:
    """RFC 1950 as RFC 9110 says, or RFC 1951 as some servers send."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: _Zlib | None = None

    @property
    def hungry(self) -> bool:
        return self._inner is None or self._inner.hungry

    @property
    def complete(self) -> bool:
        return self._inner is not None and self._inner.complete

    @property
    def rest(self) -> bytes:
        return self._inner.rest if self._inner else b""

    def decode(self, data: bytes) -> bytes:
        if self._inner:
            return self._inner.decode(data)
        self._head += data
        if len(self._head) < 2:
            return b""
        self._inner = _Zlib(zlib.MAX_WBITS if self._is_wrapped() else -zlib.MAX_WBITS)
        return self._inner.decode(self._head)

    def _is_wrapped(self) -> bool:
        method, check = self._head[:2]
        return method & 0x0F == 8 and (method << 8 | check) % 31 == 0


class _Brotli:
    """A brotli stream. The packages refuse what follows its end in one call."""

    complete = False
    rest = b""

    def __init__(self, decompressor: Any) -> None:
        self._brotli = decompressor
        self.hungry = True

    def decode(self, data: bytes) -> bytes:
        output: bytes = self._brotli.process(data, output_buffer_limit=_MAX_OUTPUT)
        self.complete = self._brotli.is_finished()
        # It says that it can accept more while it still holds output.
        self.hungry = not output and self._brotli.can_accept_more_data()
        return output


class _Zstd:
    """A zstd frame, by Python's own module."""

    def __init__(self, decompressor: Any) -> None:
        self._zstd = decompressor

    @property
    def hungry(self) -> bool:
        return bool(self._zstd.needs_input)

    @property
    def complete(self) -> bool:
        return bool(self._zstd.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self._zstd.unused_data)

    def decode(self, data: bytes) -> bytes:
        output: bytes = self._zstd.decompress(data, _MAX_OUTPUT)
        return output


class _Zstandard:
    """A zstd frame, by the package zstandard.

    It cannot limit its output: it is fed so little at a time that even a bomb
    (128 KiB from 4 bytes) comes in pieces of some MiB.
    """

    _SIP = 128

    def __init__(self, decompressor: Any) -> None:
        self._zstd = decompressor
        self._waiting = b""

    @property
    def hungry(self) -> bool:
        return not self._waiting

    @property
    def complete(self) -> bool:
        return bool(self._zstd.eof)

    @property
    def rest(self) -> bytes:
        return bytes(self._zstd.unused_data) + self._waiting

    def decode(self, data: bytes) -> bytes:
        waiting = self._waiting + data
        self._waiting = waiting[self._SIP :]
        output: bytes = self._zstd.decompress(waiting[: self._SIP])
        return output
