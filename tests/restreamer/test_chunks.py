"""Texts put together from parts: as a whole they are what the parts say, compressed or not."""

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from restreamer.chunks import Chunk, etag, gzipped, joined_crc


@given(st.lists(st.text(max_size=300), max_size=6))
def test_parts_compressed_alone_make_one_gzip_file(texts: list[str]) -> None:
    """A gzip reader that knows nothing of parts, and stops after one member, gets the whole text."""
    packed = b"".join(gzipped([Chunk(text) for text in texts]))
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(packed).decode() == "".join(texts)
    assert reader.eof
    assert reader.unused_data == b""
    assert gzip.decompress(packed).decode() == "".join(texts)


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_the_crc_of_a_whole_follows_from_those_of_its_parts(first: bytes, second: bytes) -> None:
    """The joined CRC is the one that zlib works out from the whole."""
    assert joined_crc(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_the_crc_of_a_long_second_part() -> None:
    """Lengths beyond any table are right, too."""
    second = bytes(range(256)) * 12345
    assert joined_crc(zlib.crc32(b"abc"), zlib.crc32(second), len(second)) == zlib.crc32(b"abc" + second)


def test_a_change_anywhere_changes_the_tag() -> None:
    """Texts that differ in any part, or in where it stands, have different tags; equal ones have the same."""
    tags = {etag(map(Chunk, texts)) for texts in (["a", "b"], ["b", "a"], ["a"], ["a", "c"], [])}
    assert len(tags) == 5
    assert etag([Chunk("a"), Chunk("b")]) == etag([Chunk("a"), Chunk("b")])
