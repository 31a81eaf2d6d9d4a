"""The packets of elementary streams (PES), out of transport packets and into them again (ISO/IEC 13818-1 §2.4.3.6).

For the few segments at the ends of a cut, in which something changes; what does not is never taken apart.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from common.ticks import WRAP
from common.transport import PACKET_BYTES, Headers, Packets, Rows, pes_starts

_HEAD_BYTES = 9

# Behind the field that says how many bytes follow.
_COUNTED_FROM = 6

_PAYLOAD_BYTES = PACKET_BYTES - 4

# An adaptation field with the clock: its length, its flags, and six bytes.
_PCR_FIELD_BYTES = 8
_RANDOM_ACCESS, _HAS_PCR = 0x40, 0x10

_LONGEST_COUNTED = 0xFFFF


@dataclass(frozen=True, slots=True)
class Pes:
    """A packet of one stream: times in ticks of 33 bits, None where none is written, `dts` equal to `pts` if alone.

    `row`: the transport packet in which it began. The first of a stream may be the rest of one that began before;
    then `stream_id` is 0. `missing`: how many bytes of it, by its own account, are not there.
    """

    row: int
    stream_id: int
    pts: int | None
    dts: int | None
    payload: bytes
    missing: int = 0

    def moved(self, by: int) -> "Pes":
        """Give it so many ticks later."""
        if self.pts is None or self.dts is None:
            return self
        return replace(self, pts=self.pts + by, dts=self.dts + by)


def read_pes(packets: Packets, headers: Headers, pid: int) -> list[Pes]:
    """Take the PES of one stream out of transport packets, in their order.

    Raises TransportError if a header does not lie in one packet.
    """
    starts = pes_starts(packets, headers, pid)
    rows = np.flatnonzero((headers.pid == pid) & (headers.payload < PACKET_BYTES))
    bounds = [0, *np.searchsorted(rows, starts.rows).tolist(), len(rows)]
    found = [_rest(packets, headers, rows[: bounds[1]])] if bounds[1] else []
    for index, row in enumerate(starts.rows.tolist()):
        begin, end = bounds[index + 1], bounds[index + 2]
        content = _payloads(packets, headers, rows[begin:end])
        pts, dts = int(starts.pts[index]), int(starts.dts[index])
        payload = content[_HEAD_BYTES + content[8] :]
        counted = int.from_bytes(content[4:6])
        missing = max(0, counted + _COUNTED_FROM - len(content)) if counted else 0
        timed = pts >= 0
        found.append(Pes(row, content[3], pts if timed else None, dts if timed else None, payload, missing))
    return found


def _rest(packets: Packets, headers: Headers, rows: Rows) -> Pes:
    return Pes(0, 0, None, None, _payloads(packets, headers, rows))


def _payloads(packets: Packets, headers: Headers, rows: Rows) -> bytes:
    at = headers.payload[rows]
    # most packets are full: those in a row are copied at once
    breaks = np.flatnonzero((at[1:] != at[:-1]) | (rows[1:] != rows[:-1] + 1)) + 1
    parts = [
        packets[run[0] : run[-1] + 1, headers.payload[run[0]] :].tobytes() for run in np.split(rows, breaks) if len(run)
    ]
    return b"".join(parts)


def write_pes(
    pid: int, pes: Pes, counters: MutableMapping[int, int], *, pcr: int | None = None, random_access: bool = False
) -> Packets:
    """Put a PES into transport packets, with the programme's clock in the first if one is given.

    `counters` hold the last continuity counter by PID, and are brought on.
    """
    content = np.frombuffer(_header(pes) + pes.payload if pes.stream_id else pes.payload, np.uint8)
    field = _PCR_FIELD_BYTES if pcr is not None else 2 if random_access else 0
    first = min(len(content), _PAYLOAD_BYTES - field)
    full, last = divmod(len(content) - first, _PAYLOAD_BYTES)
    count = 1 + full + (last > 0)
    packets: Packets = np.empty((count, PACKET_BYTES), np.uint8)
    packets[:, 0], packets[:, 1], packets[:, 2] = 0x47, pid >> 8, pid & 0xFF
    packets[0, 1] |= 0x40 if pes.stream_id else 0
    packets[:, 3] = 0x10 | np.arange(counters.get(pid, 15) + 1, counters.get(pid, 15) + 1 + count) & 0x0F
    counters[pid] = int(packets[-1, 3]) & 0x0F
    packets[1 : 1 + full, 4:] = content[first : first + full * _PAYLOAD_BYTES].reshape(full, _PAYLOAD_BYTES)
    if last:
        _stuff(packets[-1], _PAYLOAD_BYTES - last)
        packets[-1, PACKET_BYTES - last :] = content[len(content) - last :]
    _stuff(packets[0], _PAYLOAD_BYTES - first)
    packets[0, PACKET_BYTES - first :] = content[:first]
    if field:
        packets[0, 5] = (_RANDOM_ACCESS if random_access else 0) | (_HAS_PCR if pcr is not None else 0)
    if pcr is not None:
        packets[0, 6:12] = _pcr(pcr)
    return packets


def pcr_packet(pid: int, pcr: int, counters: Mapping[int, int]) -> Packets:
    """Write a packet that carries nothing but the programme's clock."""
    packet: Packets = np.full((1, PACKET_BYTES), 0xFF, np.uint8)
    packet[0, :4] = 0x47, pid >> 8, pid & 0xFF, 0x20 | counters.get(pid, 15)
    packet[0, 4:6] = PACKET_BYTES - 5, _HAS_PCR
    packet[0, 6:12] = _pcr(pcr)
    return packet


def _pcr(time: int) -> Packets:
    return np.frombuffer((time % WRAP << 15 | 0x7E00).to_bytes(6), np.uint8)


def _stuff(packet: NDArray[np.uint8], length: int) -> None:
    """Begin a packet with an adaptation field of so many bytes, which says nothing yet."""
    if length:
        packet[3] |= 0x20
        packet[4] = length - 1
        packet[5 : 4 + length] = 0xFF
        if length > 1:
            packet[5] = 0


def _header(pes: Pes) -> bytes:
    stamps, flags = b"", 0
    if pes.pts is not None and pes.dts is not None:
        flags = 0xC0 if pes.dts != pes.pts else 0x80
        stamps = _stamp(flags >> 6, pes.pts) + (_stamp(1, pes.dts) if pes.dts != pes.pts else b"")
    length = 3 + len(stamps) + len(pes.payload) + pes.missing
    counted = length if length <= _LONGEST_COUNTED and not _is_picture(pes.stream_id) else 0
    # of pictures one begins where a time is written
    marks = 0x84 if stamps and _is_picture(pes.stream_id) else 0x80
    return bytes([0, 0, 1, pes.stream_id, *counted.to_bytes(2), marks, flags, len(stamps)]) + stamps


def _is_picture(stream_id: int) -> bool:
    """Tell whether a stream may leave the length of its packets open: a picture's may."""
    return stream_id & 0xF0 == 0xE0


def _stamp(prefix: int, time: int) -> bytes:
    time %= WRAP
    high, middle, low = time >> 29 & 0x0E, time >> 14 & 0xFFFE, time << 1 & 0xFFFE
    return bytes([prefix << 4 | high | 1]) + (middle | 1).to_bytes(2) + (low | 1).to_bytes(2)
