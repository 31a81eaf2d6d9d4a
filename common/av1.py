"""Coded pictures of AV1 (its specification, §5): units of a picture's data behind headers that tell their length.

What MP4 and Matroska hold as one sample is all that is decoded for one moment at which a picture is shown.
"""

from collections.abc import Iterator
from typing import NamedTuple

from common.nal import Entry, Picture

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY_FRAME = 0

# av1C begins with so many bytes, after which the sequence header may follow (AV1 in ISOBMFF, §2.3).
_CONFIG_BYTES = 4

# IVF: a header, whose bytes 6 and 7 are its length, and before each picture its length in 4 bytes and its time in 8.
_IVF_MARK, _IVF_LENGTH = b"DKIF", slice(6, 8)
_IVF_SIZE_BYTES, _IVF_HEAD_BYTES = 4, 12


class _Unit(NamedTuple):
    """An OBU: its type, all of its bytes, and what its header is followed by."""

    kind: int
    whole: bytes
    payload: bytes


def read_unit(data: bytes) -> Picture:
    """Tell of a sample whether a decoder can begin with it; its parameters are the sequence header, if it has one.

    A key frame that is decoded before it is shown is no entry: what is shown in between needs what came before.
    """
    parameters, reduced = b"", False
    for unit in _units(data):
        if unit.kind == _SEQUENCE_HEADER and unit.payload:
            parameters, reduced = unit.whole, bool(unit.payload[0] & 0x08)
        if unit.kind in {_FRAME_HEADER, _FRAME}:
            entry = reduced or (bool(unit.payload) and _is_shown_key_frame(unit.payload[0]))
            return Picture(Entry.CLOSED if entry else Entry.NONE, parameters)
    return Picture(Entry.NONE, parameters)


def with_sequence_header(data: bytes, config: bytes) -> bytes:
    """Let a sample bring the sequence header that holds for it: its own, or else that in av1C."""
    if read_unit(data).parameters:
        return data
    return config[_CONFIG_BYTES:] + data


def ivf_frames(content: bytes) -> list[bytes]:
    """Take the samples out of a file of IVF, as encoders write them; what is not whole is left out."""
    if not content.startswith(_IVF_MARK):
        return []
    found, at = list[bytes](), int.from_bytes(content[_IVF_LENGTH], "little")
    while at + _IVF_HEAD_BYTES <= len(content):
        begin = at + _IVF_HEAD_BYTES
        at = begin + int.from_bytes(content[at : at + _IVF_SIZE_BYTES], "little")
        if at <= len(content):
            found.append(content[begin:at])
    return found


def _is_shown_key_frame(first: int) -> bool:
    """Read show_existing_frame, frame_type and show_frame (§5.9.2)."""
    return not first & 0x80 and first >> 5 & 3 == _KEY_FRAME and bool(first & 0x10)


def _units(data: bytes) -> Iterator[_Unit]:
    """Take a sample apart (§5.3); the last unit may not tell its length."""
    at = 0
    while at < len(data):
        begin, head = at, data[at]
        at += 2 if head & 0x04 else 1
        length = len(data) - at
        if head & 0x02:
            length, at = _leb128(data, at)
        yield _Unit(head >> 3 & 0x0F, data[begin : at + length], data[at : at + length])
        at += length


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits to a byte (§4.10.5), and give where it ends."""
    value = 0
    for place, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return value, at + place + 1
    return 0, len(data)
