"""Long texts that are put together from parts which rarely change: each part is compressed once. Pure.

A gzip file (RFC 1952) is a header, one deflate stream (RFC 1951) and a CRC-32 of the whole. A deflate stream that was
flushed fully may be followed by another one, and the CRC of two parts follows from theirs; so neither compressing nor
checking a part is done again when parts before or after it change.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache, reduce
from hashlib import sha256

# Playlists of random hashes do not shrink more by trying harder.
_LEVEL = 4

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no flags, no time, unknown system
_LAST_BLOCK = b"\x03\x00"  # an empty block that says that it is the last (RFC 1951 §3.2.6)

_POLYNOMIAL = 0xEDB88320


class Chunk:
    """A part of a text; what is worked out from it is kept."""

    def __init__(self, text: str) -> None:
        """Take the text; it is sent as UTF-8."""
        self.text = text.encode()

    @cached_property
    def deflated(self) -> bytes:
        """The text as deflate blocks, none of which is the last, ending on a byte."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(self.text) + packer.flush(zlib.Z_FULL_FLUSH)

    @cached_property
    def crc(self) -> int:
        """The CRC-32 of the text."""
        return zlib.crc32(self.text)

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the text."""
        return sha256(self.text).digest()


def etag(chunks: Iterable[Chunk]) -> str:
    """Give a strong entity tag (RFC 9110 §8.8.3) of the chunks as they are put together here, without quotes."""
    return sha256(b"".join(chunk.digest for chunk in chunks)).hexdigest()[:32]


def gzipped(chunks: list[Chunk]) -> Iterator[bytes]:
    """Give the parts of one gzip file that holds the chunks, in order."""
    yield _HEADER
    for chunk in chunks:
        yield chunk.deflated
    size = sum(len(chunk.text) for chunk in chunks) & 0xFFFFFFFF
    crc = reduce(lambda crc, chunk: joined_crc(crc, chunk.crc, len(chunk.text)), chunks, 0)
    yield _LAST_BLOCK + struct.pack("<II", crc, size)


def joined_crc(first: int, second: int, second_length: int) -> int:
    """Give the CRC-32 of two texts put together, from theirs and the length of the second in bytes.

    A CRC is linear over GF(2): so many zero bytes after the first text turn its CRC by a matrix, and the CRC of the
    second is added.
    """
    return _times(_zeros(second_length), first) ^ second


_Matrix = tuple[int, ...]


def _times(matrix: _Matrix, vector: int) -> int:
    result = 0
    for column in matrix:
        if not vector:
            break
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


@lru_cache(maxsize=4096)
def _zeros(length: int) -> _Matrix:
    """Give the matrix by which `length` zero bytes turn a CRC: by squaring, like a power."""
    if length == 0:
        return tuple(1 << bit for bit in range(32))
    half = _zeros(length // 2)
    whole = tuple(_times(half, column) for column in half)
    return tuple(_times(_one_zero_byte(), column) for column in whole) if length % 2 else whole


@lru_cache(maxsize=1)
def _one_zero_byte() -> _Matrix:
    one_bit = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    matrix = one_bit
    for _ in range(3):
        matrix = tuple(_times(matrix, column) for column in matrix)
    return matrix
