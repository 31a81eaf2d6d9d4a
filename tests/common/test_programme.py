"""What a transport stream says of itself: written as it is read, whatever else lies between."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.programme import Elementary, Programme, crc32, programme_packets, read_programme
from common.transport import TransportError, read_headers

pids = st.integers(0x20, 0x1FFE)
streams = st.builds(Elementary, pids, st.integers(0, 255), st.binary(max_size=60))
programmes = st.builds(
    Programme, st.integers(1, 0xFFFF), pids, st.none() | pids, st.lists(streams, max_size=12).map(tuple),
    st.binary(max_size=100),
)  # fmt: skip


@given(programmes)
def test_what_is_written_is_read(programme: Programme) -> None:
    """Streams, descriptors and clock come out as they went in, over several packets too."""
    packets = programme_packets(programme)
    assert read_programme(packets, read_headers(packets)) == programme


def test_a_damaged_table_is_passed_over() -> None:
    """A table with a wrong checksum is not believed; the next one is."""
    programme = Programme(1, 0x1000, 0x100, (Elementary(0x100, 0x1B), Elementary(0x101, 0x0F, b"\x0a\x04eng\x00")))
    damaged = programme_packets(programme)
    damaged[1, 20] ^= 0xFF
    packets = np.concatenate([damaged, programme_packets(programme)])
    assert read_programme(packets, read_headers(packets)) == programme
    with pytest.raises(TransportError, match="no programme map"):
        read_programme(damaged, read_headers(damaged))


def test_streams_are_known_by_their_types() -> None:
    """The first picture, all sounds, and what is neither; private streams are told by their descriptors."""
    video, second = Elementary(1, 0x1B), Elementary(2, 0x24)
    sounds = (Elementary(3, 0x0F), Elementary(4, 0x06, b"\x52\x01\x00\x6a\x01\x00"), Elementary(5, 0x81))
    other = (second, Elementary(6, 0x15), Elementary(7, 0x06))
    programme = Programme(1, 0x1000, 1, (video, *other, *sounds, Elementary(8, 0x86)))
    assert programme.video == video
    assert programme.audio == sounds
    assert [sound.audio for sound in sounds] == ["adts", "ac3", "ac3"]
    assert programme.other == other


@given(st.binary(max_size=300))
def test_a_checksum_ends_in_nothing(data: bytes) -> None:
    """Over content and its checksum it is 0, and one flipped bit is noticed."""
    whole = data + crc32(data).to_bytes(4)
    assert crc32(whole) == 0
    assert crc32(bytes([whole[0] ^ 1]) + whole[1:]) != 0
