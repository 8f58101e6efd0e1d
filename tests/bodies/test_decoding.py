from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapy_bgfetch.bodies.decoding import (
    CorruptBody,
    UnsupportedEncoding,
    make_decoder,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scrapy_bgfetch.bodies.decoding import Decoder

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TEXT = b"".join(b"%d interesting things\n" % n for n in range(3000))
ZSTD_PACKAGES = ["compression.zstd", "backports.zstd", "zstandard"]
CODINGS = ["gzip", "x-gzip", "deflate", "raw deflate", "br", "zstd"]


class Raw:
    """Compresses to a stream of RFC 1951 or one of its wrappers."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.compressobj(9, wbits=wbits)
        self.compress = self._zlib.compress
        self.flush = self._zlib.flush


class Brotli:
    def __init__(self) -> None:
        self._brotli = package_of("br").Compressor(quality=3)
        self.compress = self._brotli.process
        self.flush = self._brotli.finish


def package_of(coding: str) -> Any:
    """Return the package that encodes for the tests, or skip the test."""
    packages = {"br": "brotli", "zstd": "backports.zstd"}
    if sys.version_info >= (3, 14):
        packages["zstd"] = "compression.zstd"
    return pytest.importorskip(packages[coding])


def compressor(coding: str) -> Any:
    wbits = {"gzip": 31, "x-gzip": 31, "deflate": 15, "raw deflate": -15}
    if coding in wbits:
        return Raw(wbits[coding])
    return Brotli() if coding == "br" else package_of("zstd").ZstdCompressor()


def encode(coding: str, data: bytes) -> bytes:
    stream = compressor(coding)
    return bytes(stream.compress(data) + stream.flush())


def made(content_encoding: str) -> Decoder:
    decoder = make_decoder(content_encoding)
    assert decoder
    return decoder


def decoder_of(coding: str) -> Decoder:
    if coding in {"br", "zstd"}:
        package_of(coding)
    return made("deflate" if coding == "raw deflate" else coding)


def decoded(decoder: Decoder, pieces: Iterable[bytes]) -> bytes:
    body = b"".join(out for piece in pieces for out in decoder.feed(piece))
    decoder.finish()
    return body


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def only_package(monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    """Let the real import of every other zstd or brotli package fail."""
    for name in [*ZSTD_PACKAGES, "brotli", "brotlicffi"]:
        if name != kept:
            monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    "content_encoding", [None, "", "identity", "Identity", " , identity ,, "]
)
def test_there_is_nothing_to_decode_in_identity(content_encoding: str | None) -> None:
    assert make_decoder(content_encoding) is None


@pytest.mark.parametrize("size", [1, 2, 7, 1000, MIB])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_is_decoded_in_pieces_of_any_size(coding: str, size: int) -> None:
    assert decoded(decoder_of(coding), cut(encode(coding, TEXT), size)) == TEXT


@pytest.mark.parametrize("coding", CODINGS)
@given(data=st.binary(max_size=300), size=st.integers(1, 20))
def test_what_was_encoded_comes_back(coding: str, data: bytes, size: int) -> None:
    body = encode(coding, data)
    assert decoded(decoder_of(coding), cut(body, size)) == data
    assert decoded(decoder_of(coding), cut(body, 1)) == data


@pytest.mark.parametrize("coding", CODINGS)
def test_output_comes_in_pieces_of_at_most_256_kib(coding: str) -> None:
    body = encode(coding, bytes(5 * MIB + 1))
    pieces = list(decoder_of(coding).feed(body))
    assert sum(map(len, pieces)) == 5 * MIB + 1
    assert max(map(len, pieces)) <= 256 * KIB
    assert min(map(len, pieces)) > 0


@pytest.mark.parametrize("size", [256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 512 * KIB])
@pytest.mark.parametrize("coding", CODINGS)
def test_output_that_just_fills_a_piece_is_whole(coding: str, size: int) -> None:
    assert decoded(decoder_of(coding), [encode(coding, bytes(size))]) == bytes(size)


@pytest.mark.parametrize("coding", CODINGS)
def test_an_empty_body_is_whole(coding: str) -> None:
    assert decoded(decoder_of(coding), []) == b""
    assert decoded(decoder_of(coding), [b""]) == b""


@pytest.mark.parametrize("coding", CODINGS)
def test_every_truncation_is_found(coding: str) -> None:
    body = encode(coding, TEXT[:200])
    for length in range(1, len(body)):
        decoder = decoder_of(coding)
        with pytest.raises(CorruptBody, match=r"is cut short"):
            decoded(decoder, [body[:length]])


@pytest.mark.parametrize("coding", CODINGS)
def test_what_came_before_the_cut_was_given_out(coding: str) -> None:
    text = b"".join(b"%d" % n**9 for n in range(20_000))
    body = encode(coding, text)
    output = b"".join(decoder_of(coding).feed(body[: len(body) * 3 // 4]))
    assert output
    assert text.startswith(output)


@pytest.mark.parametrize("coding", CODINGS)
def test_data_in_no_coding_are_corrupt(coding: str) -> None:
    with pytest.raises(CorruptBody, match=r"is corrupt: ") as caught:
        decoded(decoder_of(coding), [b"\xff\xfe<html>not compressed at all</html>"])
    assert caught.value.__cause__


@pytest.mark.parametrize("place", [-1, -5])
def test_a_wrong_checksum_or_length_of_gzip_is_corrupt(place: int) -> None:
    body = bytearray(encode("gzip", TEXT))
    body[place] ^= 1
    with pytest.raises(CorruptBody):
        decoded(decoder_of("gzip"), [bytes(body)])


@pytest.mark.parametrize("size", [1, 3, MIB])
def test_all_members_of_gzip_are_decoded(size: int) -> None:
    """RFC 1952 section 2.2."""
    body = gzip.compress(b"a") + gzip.compress(b"") + gzip.compress(TEXT)
    assert decoded(decoder_of("gzip"), cut(body, size)) == b"a" + TEXT


@pytest.mark.parametrize("size", [1, 3, MIB])
def test_all_frames_of_zstd_are_decoded_and_skippable_ones_skipped(size: int) -> None:
    """RFC 8878 section 3.1."""
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    frames = [encode("zstd", b"a"), skippable, encode("zstd", TEXT), skippable]
    assert decoded(decoder_of("zstd"), cut(b"".join(frames), size)) == b"a" + TEXT


@pytest.mark.parametrize("size", [1, 3, MIB])
@pytest.mark.parametrize("garbage", [b"\0" * 100, b"\x1f", b"\x1f\x8b", b"\x1f\x8bxxx"])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_garbage_after_the_end_is_ignored(
    coding: str, garbage: bytes, size: int
) -> None:
    body = encode(coding, TEXT) + garbage
    assert decoded(decoder_of(coding), cut(body, size)) == TEXT


@pytest.mark.parametrize("size", [1, 3, MIB])
@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_garbage_after_the_end_is_corrupt_where_nobody_sends_it(
    coding: str, size: int
) -> None:
    with pytest.raises(CorruptBody):
        decoded(decoder_of(coding), cut(encode(coding, TEXT) + b"garbage", size))


@pytest.mark.parametrize("size", [1, 30, MIB])
def test_a_further_member_that_is_cut_short_is_found(size: int) -> None:
    body = gzip.compress(b"a") + gzip.compress(TEXT)[:-1]
    with pytest.raises(CorruptBody, match=r"is cut short"):
        decoded(decoder_of("gzip"), cut(body, size))


@pytest.mark.parametrize("size", [1, 100, MIB])
def test_a_list_of_codings_is_undone_from_its_end(size: int) -> None:
    """RFC 9110 section 8.4: they are listed in the order they were applied."""
    body = encode("gzip", encode("deflate", TEXT))
    decoder = made(" Deflate,identity,, GZIP ")
    assert decoded(decoder, cut(body, size)) == TEXT


def test_a_list_with_brotli_is_undone() -> None:
    body = encode("br", gzip.compress(TEXT))
    assert decoded(made("gzip, br"), [body]) == TEXT


@pytest.mark.parametrize(
    "body",
    [
        encode("gzip", encode("deflate", TEXT)[:-1]),
        encode("gzip", encode("deflate", TEXT))[:-1],
    ],
)
def test_in_a_list_either_coding_may_be_cut_short(body: bytes) -> None:
    decoder = made("deflate, gzip")
    with pytest.raises(CorruptBody, match=r"is cut short"):
        decoded(decoder, [body])


def test_more_than_five_codings_are_refused() -> None:
    assert make_decoder(",".join(["gzip"] * 5))
    with pytest.raises(UnsupportedEncoding, match=r"6 content codings"):
        make_decoder(",".join(["gzip"] * 6))


@pytest.mark.parametrize("coding", ["compress", "utf-8", "gzip2", "x" * 5000])
def test_an_unknown_coding_is_named(coding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match=rf"'{coding[:40]}'") as caught:
        make_decoder(f"gzip, {coding}")
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("coding", "package"), [("br", "brotli"), ("zstd", "backports.zstd")]
)
def test_a_coding_without_its_package_is_named_with_the_package(
    coding: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_package(monkeypatch, "none of them")
    with pytest.raises(UnsupportedEncoding, match=rf"'{coding}' needs .*{package}"):
        make_decoder(coding)


@pytest.mark.parametrize("package", ["brotli", "brotlicffi"])
def test_each_brotli_package_decodes(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    body = encode("br", bytes(5 * MIB) + TEXT)
    only_package(monkeypatch, package)
    assert decoded(made("br"), cut(body, 5)) == bytes(5 * MIB) + TEXT
    with pytest.raises(CorruptBody):
        decoded(made("br"), [body, b"x"])


@pytest.mark.parametrize("package", ZSTD_PACKAGES)
def test_each_zstd_package_decodes(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    body = encode("zstd", bytes(5 * MIB)) + encode("zstd", TEXT * 20)
    only_package(monkeypatch, package)
    for size in (1, 127, 128, 129, MIB):
        assert decoded(made("zstd"), cut(body, size)) == bytes(5 * MIB) + TEXT * 20
    assert max(map(len, made("zstd").feed(body))) <= 256 * KIB
    with pytest.raises(CorruptBody):
        decoded(made("zstd"), [body[:-1]])


@pytest.mark.parametrize("package", ZSTD_PACKAGES)
def test_a_zstd_window_over_8_mib_is_refused(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9659: the memory that a server may ask for is bounded."""
    pytest.importorskip(package)
    frames = {
        log: b"\x28\xb5\x2f\xfd\x00" + bytes([(log - 10) << 3]) + b"\x09\x00\x00x"
        for log in (23, 24)
    }
    only_package(monkeypatch, package)
    assert decoded(made("zstd"), [frames[23]]) == b"x"
    with pytest.raises(CorruptBody):
        decoded(made("zstd"), [frames[24]])


ZLIB_HEADERS = {
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
    "deflate": b"\x78\x9c",
    "raw deflate": b"",
}


def bomb(coding: str) -> bytes:
    """Return 1 GiB of zeros, but for a checksum that no test gets to."""
    zeros = bytes(4 * MIB)
    if coding in ZLIB_HEADERS:
        stream = zlib.compressobj(9, wbits=-15)
        block = stream.compress(zeros) + stream.flush(zlib.Z_FULL_FLUSH)
        return ZLIB_HEADERS[coding] + block * (GIB // len(zeros))
    stream = compressor(coding)
    pieces = [stream.compress(zeros) for _ in range(GIB // len(zeros))]
    return b"".join(pieces) + bytes(stream.flush())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "br", "zstd"])
def test_a_bomb_can_be_stopped_after_1_mib_at_constant_memory(coding: str) -> None:
    body = bomb(coding)
    assert len(body) < GIB // 500
    decoder = decoder_of(coding)
    tracemalloc.start()
    try:
        received = 0
        for piece in decoder.feed(body):
            received += len(piece)
            if received > MIB:
                break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert MIB < received <= MIB + 256 * KIB
    assert peak < 2 * MIB


def test_a_bomb_in_a_bomb_can_be_stopped_too() -> None:
    decoder = made("gzip, gzip")
    body = gzip.compress(bomb("gzip"))
    assert len(body) < 20 * KIB
    tracemalloc.start()
    try:
        assert len(next(iter(decoder.feed(body)))) <= 256 * KIB
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_body_that_is_not_a_bomb_is_decoded_at_constant_memory() -> None:
    decoder = decoder_of("gzip")
    body = gzip.compress(bytes(64 * MIB))
    tracemalloc.start()
    try:
        received = sum(len(out) for out in decoder.feed(body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    decoder.finish()
    assert received == 64 * MIB
    assert peak < 2 * MIB
