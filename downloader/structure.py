"""What arrives as a segment, by its bytes: what it is, and whether all of it is in its place. Pure.

The checks take the bytes as they come, in pieces of any size, and cost next to nothing.
"""

import re
from enum import Enum

# ISO 13818-1 §2.4.3.2: packets of 188 bytes, each beginning with the sync byte.
PACKET_BYTES = 188
_SYNC = b"\x47"

# With so many bytes at hand it is clear what they are; a shorter segment is judged by all it has.
HEAD_BYTES = 4 * PACKET_BYTES

# The boxes with which an MP4 file, whole or in parts, begins (ISO/IEC 14496-12).
_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft", b"mdat", b"free", b"skip", b"uuid"}
_BOX_HEADER, _LONG_BOX_HEADER = 8, 16
_PARTS = {b"moov", b"moof", b"mdat"}

# ID3 before packed audio (RFC 8216 §3.4), or the sync words of MPEG audio, ADTS, AC-3.
_PACKED = re.compile(rb"ID3|\xff[\xe0-\xff]|\x0b\x77")

_TEXT_TYPES = (
    "text/html",
    "application/xhtml",
    "application/json",
    "application/problem",
    "application/xml",
    "text/xml",
)
_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:[<{\[]|#EXTM3U|WEBVTT)")


class Form(Enum):
    """What the bytes of a segment are; UNKNOWN may still be media, TEXT is none."""

    TRANSPORT = "MPEG-TS"
    MP4 = "MP4"
    PACKED = "packed audio"
    TEXT = "text"
    UNKNOWN = "unknown"


def form_of(head: bytes, content_type: str = "") -> Form:
    """Tell what begins so. What is clearly media is it whatever its type says, since many servers say nonsense."""
    if head[:1] == _SYNC and head[PACKET_BYTES : PACKET_BYTES + 1] in (b"", _SYNC):
        return Form.TRANSPORT
    if head[4:8] in _FIRST_BOXES:
        return Form.MP4
    if _PACKED.match(head):
        return Form.PACKED
    if _TEXT.match(head) or content_type.casefold().startswith(_TEXT_TYPES):
        return Form.TEXT
    return Form.UNKNOWN


class TransportCheck:
    """Whether what is fed is packets of MPEG-TS and nothing else, with the programme association among them."""

    def __init__(self) -> None:
        self._size = 0
        self._lost = False
        self._associated = False
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Look at what comes next."""
        data = self._rest + data
        whole = len(data) // PACKET_BYTES
        self._size += whole * PACKET_BYTES
        self._lost = self._lost or data[: whole * PACKET_BYTES : PACKET_BYTES] != _SYNC * whole
        self._associated = self._associated or _has_association(data, whole)
        self._rest = data[whole * PACKET_BYTES :]

    def fault(self) -> str:
        """Say what is wrong with all that was fed; empty if nothing is."""
        if self._lost:
            return "its packets do not follow each other"
        if self._rest:
            return "it ends within a packet"
        return "" if self._associated else "it has no programme association table"


def _has_association(data: bytes, packets: int) -> bool:
    """Tell whether a packet with PID 0 begins a table (ISO 13818-1 §2.4.4.3)."""
    columns = (data[at : packets * PACKET_BYTES : PACKET_BYTES] for at in (1, 2))
    return any(second & 0x5F == 0x40 and not third for second, third in zip(*columns, strict=True))  # noqa: PLR2004 - bits


class BoxCheck:
    """Whether what is fed is boxes of fragmented MP4 up to the last byte: an init section, and fragments after it."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._header = b""
        self._skip = 0
        self._broken = self._early = False

    def feed(self, data: bytes) -> None:
        """Look at what comes next."""
        at = 0
        while at < len(data) and not self._broken:
            step = min(self._skip, len(data) - at)
            self._skip -= step
            at += step
            if at < len(data):
                at += self._read_header(data[at : at + _LONG_BOX_HEADER - len(self._header)])

    def _read_header(self, data: bytes) -> int:
        """Take the header of a box, or what there is of it; give how many of these bytes were its."""
        had = len(self._header)
        header = self._header + data
        length, kind = int.from_bytes(header[:4]), header[4:8]
        needed = _LONG_BOX_HEADER if len(header) >= 4 and length == 1 else _BOX_HEADER  # noqa: PLR2004 - of §4.2
        if len(header) < needed:
            self._header = header
            return len(data)
        length = int.from_bytes(header[8:16]) if length == 1 else length
        self._header, self._skip = b"", length - needed
        self._broken = length < needed  # 0, up to the end of the file, tells no end either
        self._early = self._early or (kind == b"moof" and b"moov" not in self._seen)
        self._seen |= {kind} & _PARTS
        return needed - had

    def fault(self) -> str:
        """Say what is wrong with all that was fed; empty if nothing is."""
        if self._broken or self._skip or self._header:
            return "it ends within a box"
        if self._early or b"moov" not in self._seen:
            return "it is MP4 without an init section"
        return "" if self._seen == _PARTS else "it is MP4 without media"
