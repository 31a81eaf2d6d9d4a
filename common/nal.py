"""Coded pictures of H.264 and HEVC as streams carry them: units behind start codes (Rec. ITU-T H.264, H.265, annex B).

Told of a picture is what a cut must know: whether a decoder can begin with it, and what it must have been told before.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

_START_CODE = b"\0\0\1"

# Parameter sets have one more zero before them (H.264 §B.1.2).
_ZERO = b"\0"

_AVC_SLICES = range(1, 6)
_AVC_SLICE, _AVC_IDR, _AVC_SEI, _AVC_SPS, _AVC_PPS, _AVC_DELIMITER = 1, 5, 6, 7, 8, 9
_RECOVERY_POINT = 6

# More of a slice than says where its picture stands.
_SLICE_BYTES = 512

_HEVC_PICTURES = range(32)
_HEVC_IRAP, _HEVC_CRA = range(16, 24), 21
_HEVC_RASL = (8, 9)
_HEVC_PARAMETERS, _HEVC_DELIMITER = (32, 33, 34), 35

_SEQUENCE_HEADER = b"\0\0\1\xb3"

_DELIMITERS = {"h264": re.compile(rb"\x00?\x00\x00\x01\x09"), "hevc": re.compile(rb"\x00?\x00\x00\x01[\x46\x47]")}
_ANY_UNIT = re.compile(rb"\x00?\x00\x00\x01")

# What ends a sequence, so that a decoder takes a CRA picture for a beginning (H.265 §8.1.3).
HEVC_END_OF_SEQUENCE = _START_CODE + bytes([36 << 1, 1])


class Entry(Enum):
    """How a decoder that knows nothing can begin with a picture.

    `CLOSED`: nothing that comes after it, in decode order, needs anything before. `OPEN`: some of what follows it and
    is shown before it does. `NONE`: it cannot.
    """

    NONE = 0
    OPEN = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A coded picture; `parameters` are the parameter sets that come with it, start codes included.

    `leading`: it is shown before the entry that it follows and needs what came before that (H.265 RASL). `slice`: the
    first bytes of its first slice, of H.264. `refreshed`: a decoder that begins with it shows whole pictures after so
    many that others refer to, in H.264 that is refreshed bit by bit.
    """

    entry: Entry
    parameters: bytes
    leading: bool = False
    slice: bytes = field(default=b"", compare=False, repr=False)
    refreshed: int | None = None

    @property
    def reference(self) -> bool:
        """Whether others may refer to it, of H.264."""
        return bool(self.slice and self.slice[0] >> 5 & 3)


def units(data: bytes) -> Iterator[bytes]:
    """Take NAL units apart, without start codes and the zeros around them."""
    begin = data.find(_START_CODE)
    while begin >= 0:
        begin += len(_START_CODE)
        end = data.find(_START_CODE, begin)
        unit = data[begin:] if end < 0 else data[begin:end]
        if unit := unit.rstrip(b"\0"):
            yield unit
        begin = end


def read_picture(codec: str, data: bytes) -> Picture:
    """Look at a coded picture of `h264`, `hevc`, `mpeg1video` or `mpeg2video`."""
    match codec:
        case "h264":
            return _avc_picture(data)
        case "hevc":
            return _hevc_picture(data)
    # of MPEG-1 and MPEG-2 a sequence header comes with pictures to begin with (ISO/IEC 13818-2 §6.1.1.6)
    return Picture(Entry.OPEN if _SEQUENCE_HEADER in data else Entry.NONE, b"")


def _avc_picture(data: bytes) -> Picture:
    parameters, recovers = list[bytes](), None
    for unit in units(data):
        kind = unit[0] & 0x1F
        if kind in {_AVC_SPS, _AVC_PPS}:
            parameters.append(_ZERO + _START_CODE + unit)
        elif kind == _AVC_SEI:
            recovers = _recovery(unit) if recovers is None else recovers
        elif kind in _AVC_SLICES:
            entry = Entry.CLOSED if kind == _AVC_IDR else Entry.OPEN if recovers == 0 else Entry.NONE
            return Picture(entry, b"".join(parameters), slice=unit[:_SLICE_BYTES], refreshed=recovers)
    return Picture(Entry.NONE, b"".join(parameters))


def _recovery(sei: bytes) -> int | None:
    """Give recovery_frame_cnt where supplemental information marks a point to begin with (H.264 §D.1.8)."""
    content = unescape(sei[1:])
    at = 0
    while at + 2 < len(content):
        kind, at = _sei_number(content, at)
        size, at = _sei_number(content, at)
        if kind == _RECOVERY_POINT and size:
            return _first_number(content[at : at + size])
        at += size
    return None


def _sei_number(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    while at < len(content) and content[at] == 0xFF:
        value += 0xFF
        at += 1
    return value + (content[at] if at < len(content) else 0), at + 1


def _hevc_picture(data: bytes) -> Picture:
    parameters = []
    for unit in units(data):
        kind = unit[0] >> 1 & 0x3F
        if kind in _HEVC_PARAMETERS:
            parameters.append(_ZERO + _START_CODE + unit)
        elif kind in _HEVC_PICTURES:
            entry = Entry.NONE
            if kind in _HEVC_IRAP:
                entry = Entry.OPEN if kind == _HEVC_CRA else Entry.CLOSED
            return Picture(entry, b"".join(parameters), leading=kind in _HEVC_RASL)
    return Picture(Entry.NONE, b"".join(parameters))


def begin_of_picture(codec: str, payload: bytes) -> int:
    """Tell where in the payload of a PES a picture begins: what comes before belongs to the one before."""
    if payload.startswith((_START_CODE, _ZERO + _START_CODE)) or codec not in _DELIMITERS:
        return 0
    found = _DELIMITERS[codec].search(payload) or _ANY_UNIT.search(payload)
    return found.start() if found else len(payload)


def holds_several(codec: str, payload: bytes) -> bool:
    """Tell whether the payload of a PES holds more than one picture, of H.264 and HEVC; each field is one.

    A picture begins with the slice that holds its first block (H.264 §7.4.3 first_mb_in_slice, H.265 §7.4.7.1
    first_slice_segment_in_pic_flag).
    """
    if codec == "h264":
        first = [unit for unit in units(payload) if unit[0] & 0x1F in (_AVC_SLICE, _AVC_IDR) and unit[1:2] >= b"\x80"]
    elif codec == "hevc":
        first = [unit for unit in units(payload) if unit[0] >> 1 & 0x3F in _HEVC_PICTURES and unit[2:3] >= b"\x80"]
    else:
        return False
    return len(first) > 1


def with_parameters(codec: str, data: bytes, parameters: bytes) -> bytes:
    """Put parameter sets into a coded picture, before all but its delimiter."""
    first = next(units(data), b"\xff")
    is_delimiter = first[0] & 0x1F == _AVC_DELIMITER if codec == "h264" else first[0] >> 1 & 0x3F == _HEVC_DELIMITER
    at = data.find(first) + len(first) if is_delimiter else 0
    return data[:at] + parameters + data[at:]


def free_parameter_set(parameters: bytes) -> int:
    """Give an id, of those that H.264 allows (0 to 31), that no parameter set of a stream has."""
    taken = {_first_number(unit[4:] if unit[0] & 0x1F == _AVC_SPS else unit[1:]) for unit in units(parameters)}
    return next(number for number in range(31, -1, -1) if number not in taken)


def _first_number(content: bytes) -> int:
    """Read the number of variable length with which some content begins (H.264 §9.1)."""
    bits = f"{int.from_bytes(unescape(content)[:8].ljust(8, bytes(1))):064b}"
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1] or "0", 2) - 1


def unescape(unit: bytes) -> bytes:
    """Take out the bytes that keep start codes from appearing in a unit (H.264 §7.4.1)."""
    return unit.replace(b"\0\0\3", b"\0\0")
