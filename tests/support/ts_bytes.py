"""MPEG-TS read and written packet by packet, for tests: slow, and with nothing of ours in it (ISO/IEC 13818-1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

PACKET = 188
WRAP = 1 << 33
VIDEO_TYPES = (0x01, 0x02, 0x1B, 0x24)
ID3_TYPE = 0x15


@dataclass(frozen=True, slots=True)
class Packet:
    """One transport packet; `field` is its adaptation field without the length, `payload` what follows."""

    at: int
    pid: int
    start: bool
    counter: int
    field: bytes
    payload: bytes
    has_payload: bool

    @property
    def random_access(self) -> bool:
        return bool(self.field and self.field[0] & 0x40)

    @property
    def discontinuity(self) -> bool:
        return bool(self.field and self.field[0] & 0x80)

    @property
    def pcr(self) -> int | None:
        """The clock in ticks of 27 MHz."""
        if not self.field or not self.field[0] & 0x10:
            return None
        value = int.from_bytes(self.field[1:7])
        return (value >> 15) * 300 + (value & 0x1FF)


@lru_cache(maxsize=4)
def packets(data: bytes) -> tuple[Packet, ...]:
    """Give the packets of whole ones in a row; anything else is a fault of the data."""
    return tuple(_packets(data))


def _packets(data: bytes) -> Iterator[Packet]:
    assert len(data) % PACKET == 0, f"{len(data)} bytes are no whole packets"
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        assert packet[0] == 0x47, f"There is no packet at byte {at}."
        control = packet[3] >> 4 & 3
        length = packet[4] + 1 if control & 2 else 0
        extra = packet[5 : 4 + length]
        payload = packet[4 + length :] if control & 1 else b""
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        yield Packet(at, pid, bool(packet[1] & 0x40), packet[3] & 15, extra, payload, bool(control & 1))


@dataclass(frozen=True, slots=True)
class Stream:
    """A line of a programme map: `descriptors` as they stand there."""

    pid: int
    type: int
    descriptors: bytes = b""

    @property
    def is_video(self) -> bool:
        return self.type in VIDEO_TYPES


@dataclass(frozen=True, slots=True)
class Programme:
    """What a programme map says (§2.4.4.8)."""

    pid: int
    version: int
    pcr_pid: int
    streams: tuple[Stream, ...]
    descriptors: bytes = b""


def read_programmes(data: bytes) -> list[tuple[int, Programme]]:
    """Give every programme map with the byte at which its packet stands; each must fit one packet."""
    found: list[tuple[int, Programme]] = []
    maps: set[int] = set()
    for packet in packets(data):
        if packet.pid == 0 and packet.start:
            section = _section(packet.payload)
            entries = [section[at : at + 4] for at in range(8, len(section) - 4, 4)]
            maps = {int.from_bytes(entry[2:]) & 0x1FFF for entry in entries if entry[:2] != b"\0\0"}
        elif packet.pid in maps and packet.start:
            found.append((packet.at, _read_map(packet.pid, _section(packet.payload))))
    return found


def table_places(data: bytes) -> list[int]:
    """Give the bytes at which the programme association's packets stand."""
    return [packet.at for packet in packets(data) if packet.pid == 0 and packet.start]


def _section(payload: bytes) -> bytes:
    begin = 1 + payload[0]
    length = 3 + (int.from_bytes(payload[begin + 1 : begin + 3]) & 0xFFF)
    section = payload[begin : begin + length]
    assert len(section) == length, "A section is longer than its packet."
    assert crc32(section) == 0, "The checksum of a section is wrong."
    return section


def _read_map(pid: int, section: bytes) -> Programme:
    info = int.from_bytes(section[10:12]) & 0xFFF
    streams, at = [], 12 + info
    while at < len(section) - 4:
        length = int.from_bytes(section[at + 3 : at + 5]) & 0xFFF
        stream_pid = int.from_bytes(section[at + 1 : at + 3]) & 0x1FFF
        streams.append(Stream(stream_pid, section[at], section[at + 5 : at + 5 + length]))
        at += 5 + length
    version, pcr_pid = section[5] >> 1 & 31, int.from_bytes(section[8:10]) & 0x1FFF
    return Programme(pid, version, pcr_pid, tuple(streams), section[12 : 12 + info])


def crc32(data: bytes) -> int:
    """The checksum of annex A; that of a section together with its checksum is 0."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


@dataclass(frozen=True, slots=True)
class Pes:
    """A packet of a stream; times of 33 bits; `payload` without its header, `pcr` of its first packet (27 MHz)."""

    pid: int
    stream_id: int
    pts: int | None
    dts: int | None
    payload: bytes
    random_access: bool = False
    pcr: int | None = None


def read_pes(data: bytes, pids: set[int]) -> list[Pes]:
    """Take the packets of streams apart, in the order in which they begin; what began before the data is left out."""
    gathered: list[tuple[Packet, list[bytes]]] = []
    current: dict[int, list[bytes]] = {}
    for packet in packets(data):
        if packet.pid in pids and packet.start:
            current[packet.pid] = [packet.payload]
            gathered.append((packet, current[packet.pid]))
        elif packet.pid in current:
            current[packet.pid].append(packet.payload)
    return [_read_pes(packet, b"".join(parts)) for packet, parts in gathered]


def _read_pes(packet: Packet, content: bytes) -> Pes:
    assert content[:3] == b"\0\0\1", f"There is no start of a PES at byte {packet.at}."
    flags, length = content[7] >> 6, content[8]
    pts = _stamp(content[9:14]) if flags & 2 else None
    dts = _stamp(content[14:19]) if flags & 1 else pts
    payload = content[9 + length :]
    return Pes(packet.pid, content[3], pts, dts, payload, packet.random_access, packet.pcr)


def _stamp(field_: bytes) -> int:
    value = int.from_bytes(field_)
    return (value >> 33 & 7) << 30 | (value >> 17 & 0x7FFF) << 15 | (value >> 1 & 0x7FFF)


@dataclass(slots=True)
class Writer:
    """Writes packets; the continuity counters run on for as long as it lives."""

    data: bytearray = field(default_factory=bytearray)
    counters: dict[int, int] = field(default_factory=dict)

    def take(self) -> bytes:
        """Give what was written since the last time."""
        taken = bytes(self.data)
        self.data.clear()
        return taken

    def tables(self, programme: Programme) -> None:
        """Write a PAT and a PMT."""
        association = b"\0\1" + (0xE000 | programme.pid).to_bytes(2)
        self._section(0, 0, 1, programme.version, association)
        lines = [
            bytes([stream.type])
            + (0xE000 | stream.pid).to_bytes(2)
            + (0xF000 | len(stream.descriptors)).to_bytes(2)
            + stream.descriptors
            for stream in programme.streams
        ]
        head = (0xE000 | programme.pcr_pid).to_bytes(2) + (0xF000 | len(programme.descriptors)).to_bytes(2)
        self._section(programme.pid, 2, 1, programme.version, head + programme.descriptors + b"".join(lines))

    def _section(self, pid: int, table: int, number: int, version: int, body: bytes) -> None:
        head = bytes([table]) + (0xB000 | len(body) + 9).to_bytes(2) + number.to_bytes(2)
        section = head + bytes([0xC1 | version << 1, 0, 0]) + body
        section += crc32(section).to_bytes(4)
        self._packet(pid, b"\0" + section + b"\xff" * (183 - len(section)), start=True)

    def pes(self, pes: Pes, *, first: int | None = None) -> bytes:
        """Write a PES, or its first so many packets, and give what is left of it."""
        content, start = _header(pes) + pes.payload, True
        extra = b""
        if pes.random_access or pes.pcr is not None:
            extra = bytes([(0x40 if pes.random_access else 0) | (0x10 if pes.pcr is not None else 0)])
        if pes.pcr is not None:
            extra += ((pes.pcr // 300 % WRAP) << 15 | 0x7E00 | pes.pcr % 300).to_bytes(6)
        while content and (first is None or first > 0):
            content = self.rest(pes.pid, content, start=start, extra=extra, most=1)
            start, extra = False, b""
            first = None if first is None else first - 1
        return content

    def rest(self, pid: int, content: bytes, *, start: bool = False, extra: bytes = b"", most: int = 1 << 30) -> bytes:
        """Write so many packets of what is left of a PES, and give what is left then."""
        while content and most > 0:
            room = PACKET - 4 - (len(extra) + 1 if extra else 0)
            self._packet(pid, content[:room], start=start, extra=extra)
            content, start, extra, most = content[room:], False, b"", most - 1
        return content

    def _packet(self, pid: int, payload: bytes, *, start: bool = False, extra: bytes = b"") -> None:
        counter = self.counters[pid] = (self.counters.get(pid, 15) + 1) & 15
        filling = PACKET - 4 - len(payload) - (len(extra) + 1 if extra else 0)
        adaptation = b""
        if extra or filling:
            if not extra and filling == 1:
                adaptation = b"\0"
            else:
                flags = extra or b"\0"
                stuffing = filling if extra else filling - 2
                adaptation = bytes([len(flags) + stuffing]) + flags + b"\xff" * stuffing
        head = bytes([0x47, (0x40 if start else 0) | pid >> 8, pid & 0xFF, (0x30 if adaptation else 0x10) | counter])
        self.data += head + adaptation + payload


def _header(pes: Pes) -> bytes:
    stamps = b""
    if pes.pts is not None:
        two = pes.dts is not None and pes.dts != pes.pts
        stamps = _put_stamp(3 if two else 2, pes.pts) + (_put_stamp(1, pes.dts) if two and pes.dts is not None else b"")
    flags = {0: 0, 5: 0x80, 10: 0xC0}[len(stamps)]
    length = 3 + len(stamps) + len(pes.payload)
    counted = 0 if pes.stream_id & 0xF0 == 0xE0 or length > 0xFFFF else length
    return b"\0\0\1" + bytes([pes.stream_id]) + counted.to_bytes(2) + bytes([0x84, flags, len(stamps)]) + stamps


def _put_stamp(prefix: int, time: int) -> bytes:
    time %= WRAP
    high, middle, low = time >> 30, time >> 15 & 0x7FFF, time & 0x7FFF
    return (prefix << 36 | high << 33 | 1 << 32 | middle << 17 | 1 << 16 | low << 1 | 1).to_bytes(5)


def renumbered(parts: list[bytes], *, restart: bool = False) -> list[bytes]:
    """Let the counters run on over all parts, or begin at zero in each."""
    counters: dict[int, int] = {}
    done = []
    for part in parts:
        counters = {} if restart else counters
        fresh = bytearray(part)
        for packet in packets(part):
            if packet.has_payload:
                counters[packet.pid] = (counters.get(packet.pid, 15) + 1) & 15
            fresh[packet.at + 3] = fresh[packet.at + 3] & 0xF0 | counters.get(packet.pid, 0)
        done.append(bytes(fresh))
    return done
