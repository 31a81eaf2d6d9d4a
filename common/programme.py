"""What a transport stream says of itself: its programme and the streams in it (ISO/IEC 13818-1 §2.4.4)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.transport import PACKET_BYTES, Headers, Packets, TransportError

_PAT_PID = 0
_PAT_TABLE, _PMT_TABLE = 0x00, 0x02
_STUFFING_TABLE = 0xFF

# What may lie before the loop of a table: after its length the id, the version and the numbers of sections; in a PMT
# also the PID of the clock and the length of what is said of the programme.
_PAT_HEAD, _PMT_HEAD, _CRC_BYTES = 8, 12, 4
_NO_PCR = 0x1FFF

_VIDEO_TYPES = {0x01: "mpeg1video", 0x02: "mpeg2video", 0x1B: "h264", 0x24: "hevc"}
_AUDIO_TYPES = {0x03: "mpeg", 0x04: "mpeg", 0x0F: "adts", 0x11: "latm", 0x81: "ac3", 0x87: "eac3"}

# Streams of sections in place of PES: private ones, DSM-CC's, and the cues for advertisements of SCTE 35.
_SECTION_TYPES = frozenset({0x05, *range(0x0A, 0x0E), 0x14, *range(0x16, 0x1A), 0x86})

# In streams of private data a descriptor tells what it is (ETSI EN 300 468 annex D).
_PRIVATE_TYPE = 0x06
_AUDIO_DESCRIPTORS = {0x6A: "ac3", 0x7A: "eac3"}


@dataclass(frozen=True, slots=True)
class Elementary:
    """One stream of a programme, as the programme map describes it."""

    pid: int
    stream_type: int
    descriptors: bytes = b""

    @property
    def video(self) -> str:
        """The codec of a picture: mpeg1video, mpeg2video, h264 or hevc; empty for what is none."""
        return _VIDEO_TYPES.get(self.stream_type, "")

    @property
    def audio(self) -> str:
        """The form of a sound's frames: adts, latm, mpeg, ac3 or eac3; empty for what is no sound that we know."""
        if self.stream_type == _PRIVATE_TYPE:
            return next((_AUDIO_DESCRIPTORS[tag] for tag in self._tags() if tag in _AUDIO_DESCRIPTORS), "")
        return _AUDIO_TYPES.get(self.stream_type, "")

    @property
    def sections(self) -> bool:
        """Whether it carries sections, whose times a cut knows nothing of."""
        return self.stream_type in _SECTION_TYPES

    def _tags(self) -> Iterator[int]:
        at = 0
        while at + 1 < len(self.descriptors):
            yield self.descriptors[at]
            at += 2 + self.descriptors[at + 1]


@dataclass(frozen=True, slots=True)
class Programme:
    """A programme map: `info` holds the descriptors of the whole, `pcr_pid` is None if it has no clock."""

    number: int
    pmt_pid: int
    pcr_pid: int | None
    streams: tuple[Elementary, ...]
    info: bytes = b""

    @property
    def video(self) -> Elementary | None:
        """The first picture."""
        return next((stream for stream in self.streams if stream.video), None)

    def stream(self, pid: int) -> Elementary:
        """The stream with a PID."""
        return next(stream for stream in self.streams if stream.pid == pid)

    @property
    def audio(self) -> tuple[Elementary, ...]:
        """All sounds, in their order."""
        return tuple(stream for stream in self.streams if stream.audio)

    @property
    def other(self) -> tuple[Elementary, ...]:
        """What is neither picture nor sound (timed ID3, say), and any second picture; without streams of sections."""
        known = (stream for stream in self.streams if stream is not self.video and not stream.audio)
        return tuple(stream for stream in known if not stream.sections)


def read_programme(packets: Packets, headers: Headers) -> Programme:
    """Find the first programme of a transport stream, in its first maps. Raises TransportError if there is none."""
    for section in _sections(packets, headers, _PAT_PID):
        entries = section[_PAT_HEAD:-_CRC_BYTES] if section[0] == _PAT_TABLE else b""
        for number, pid in zip(_pairs(entries[0::4], entries[1::4]), _pairs(entries[2::4], entries[3::4]), strict=True):
            if number:  # 0 is the network's
                return _read_map(packets, headers, number, pid & 0x1FFF)
    raise TransportError("It has no programme association table.")


def _pairs(high: bytes, low: bytes) -> list[int]:
    return [first << 8 | second for first, second in zip(high, low, strict=False)]


def _read_map(packets: Packets, headers: Headers, number: int, pid: int) -> Programme:
    for section in _sections(packets, headers, pid):
        if section[0] == _PMT_TABLE and int.from_bytes(section[3:5]) == number and len(section) > _PMT_HEAD:
            pcr_pid = int.from_bytes(section[8:10]) & 0x1FFF
            end = _PMT_HEAD + (int.from_bytes(section[10:12]) & 0x0FFF)
            streams = tuple(_read_streams(section[end:-_CRC_BYTES]))
            info = section[_PMT_HEAD:end]
            return Programme(number, pid, None if pcr_pid == _NO_PCR else pcr_pid, streams, info)
    raise TransportError("It has no programme map table.")


def _read_streams(entries: bytes) -> Iterator[Elementary]:
    at = 0
    while at + 5 <= len(entries):
        length = int.from_bytes(entries[at + 3 : at + 5]) & 0x0FFF
        pid = int.from_bytes(entries[at + 1 : at + 3]) & 0x1FFF
        yield Elementary(pid, entries[at], entries[at + 5 : at + 5 + length])
        at += 5 + length


def _sections(packets: Packets, headers: Headers, pid: int) -> Iterator[bytes]:
    """Give a stream's whole sections of tables, in their order (§2.4.4.1); those with a wrong checksum are left out."""
    pending = b""
    for row in np.flatnonzero((headers.pid == pid) & (headers.payload < PACKET_BYTES)).tolist():
        payload = packets[row, headers.payload[row] :].tobytes()
        if headers.unit_start[row]:
            pending = payload[1 + payload[0] :]  # behind the end of a section that began before
        elif pending:
            pending += payload
        while len(pending) > 3 and pending[0] != _STUFFING_TABLE:
            end = 3 + (int.from_bytes(pending[1:3]) & 0x0FFF)
            if len(pending) < end:
                break
            section, pending = pending[:end], pending[end:]
            if len(section) > _PAT_HEAD + _CRC_BYTES - 1 and not crc32(section):
                yield section


def programme_packets(programme: Programme) -> Packets:
    """Write association table and map as packets, with continuity counters of 0."""
    association = programme.number.to_bytes(2) + (0xE000 | programme.pmt_pid).to_bytes(2)
    pcr_pid = _NO_PCR if programme.pcr_pid is None else programme.pcr_pid
    described = b"".join(
        bytes([stream.stream_type])
        + (0xE000 | stream.pid).to_bytes(2)
        + (0xF000 | len(stream.descriptors)).to_bytes(2)
        + stream.descriptors
        for stream in programme.streams
    )
    head = (0xE000 | pcr_pid).to_bytes(2) + (0xF000 | len(programme.info)).to_bytes(2) + programme.info
    tables = (
        (_PAT_PID, _section(_PAT_TABLE, 1, association)),
        (programme.pmt_pid, _section(_PMT_TABLE, programme.number, head + described)),
    )
    return np.concatenate([_section_packets(pid, section) for pid, section in tables])


def _section(table: int, number: int, body: bytes) -> bytes:
    length = 5 + len(body) + _CRC_BYTES
    head = bytes([table]) + (0xB000 | length).to_bytes(2) + number.to_bytes(2) + b"\xc1\x00\x00"
    return head + body + crc32(head + body).to_bytes(4)


def _section_packets(pid: int, section: bytes) -> Packets:
    payload = b"\x00" + section
    rows = -(-len(payload) // (PACKET_BYTES - 4))
    padded = np.full(rows * (PACKET_BYTES - 4), 0xFF, np.uint8)
    padded[: len(payload)] = np.frombuffer(payload, np.uint8)
    packets: Packets = np.empty((rows, PACKET_BYTES), np.uint8)
    packets[:, 0], packets[:, 1], packets[:, 2] = 0x47, pid >> 8, pid & 0xFF
    packets[0, 1] |= 0x40
    packets[:, 3] = 0x10 | np.arange(rows) & 0x0F
    packets[:, 4:] = padded.reshape(rows, -1)
    return packets


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32(data: bytes) -> int:
    """Give the checksum of a section (annex A); over a section with its checksum it is 0."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[value >> 24 ^ byte]
    return value
