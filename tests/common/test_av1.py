"""Samples of AV1: with which a decoder can begin, and what an encoder gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.av1 import ivf_frames, read_unit, with_sequence_header
from common.nal import Entry

DELIMITER = b"\x12\x00"
HEADER = bytes.fromhex("0a0b0000002d4cffb3c02f8004")
STILL = bytes.fromhex("0a03180000")
CONFIG = bytes.fromhex("81050c00") + HEADER

# The first byte of a frame: show_existing_frame, two bits of frame_type, show_frame.
KEY, HIDDEN_KEY, INTER, REPEATED = b"\x10", b"\x00", b"\x30", b"\x80"


def obu(kind: int, payload: bytes, *, sized: bool = True) -> bytes:
    return bytes([kind << 3 | 2 * sized]) + (bytes([len(payload)]) if sized else b"") + payload


FRAME_HEADER, FRAME = 3, 6


@pytest.mark.parametrize(
    ("sample", "entry"),
    [
        (HEADER + obu(FRAME, KEY), Entry.CLOSED),
        (DELIMITER + HEADER + obu(FRAME, KEY + bytes(9)) + obu(FRAME, INTER), Entry.CLOSED),
        (HEADER + obu(FRAME_HEADER, KEY, sized=False), Entry.CLOSED),
        (STILL + obu(FRAME, bytes(3)), Entry.CLOSED),
        (HEADER + obu(FRAME, HIDDEN_KEY) + obu(FRAME, INTER), Entry.NONE),
        (obu(FRAME_HEADER, REPEATED), Entry.NONE),
        (obu(FRAME, INTER), Entry.NONE),
        (HEADER, Entry.NONE),
        (b"", Entry.NONE),
    ],
)
def test_a_decoder_can_begin_with_a_key_frame_that_is_shown(sample: bytes, entry: Entry) -> None:
    """One that is only decoded, or a picture that is shown for the second time, is no beginning."""
    assert read_unit(sample).entry is entry


def test_a_sequence_header_is_put_before_a_sample_that_has_none() -> None:
    """That of the decoder's configuration holds where a sample brings none of its own."""
    bare = obu(FRAME, KEY)
    assert with_sequence_header(bare, CONFIG) == HEADER + bare
    assert with_sequence_header(HEADER + bare, bytes(4) + STILL) == HEADER + bare
    assert read_unit(HEADER + bare).parameters == HEADER


def test_samples_are_taken_out_of_ivf() -> None:
    """Each is as long as it says; one that is not all there is left out."""
    frames = [b"first", b"", b"third" * 100]
    content = b"DKIF\0\0\x20\0" + bytes(24)
    content += b"".join(len(frame).to_bytes(4, "little") + bytes(8) + frame for frame in frames)
    assert ivf_frames(content) == frames
    assert ivf_frames(content[:-1]) == frames[:2]
    assert ivf_frames(b"RIFF" + content) == []


@given(st.binary())
def test_noise_is_read_as_something(noise: bytes) -> None:
    """Whatever bytes there are, reading them ends."""
    read_unit(noise)
    ivf_frames(b"DKIF" + noise)
