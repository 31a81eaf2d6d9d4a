"""MPEG-TS, many packets at a time (ISO/IEC 13818-1): what they say, and their clocks and counters written anew.

Packets are an array of bytes with one row for each, so that hundreds of megabytes cost a handful of numpy operations.
Times are ticks of 90 kHz, see `common.ticks`; those read from packets have 33 bits.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.ticks import WRAP

PACKET_BYTES = 188

Packets = NDArray[np.uint8]
Rows = NDArray[np.intp]
Times = NDArray[np.int64]

_SYNC = 0x47
_HEADER_BYTES = 4

# A PES header up to the end of its timestamps (§2.4.3.6): nine bytes, and five for each.
_FLAGS_AT, _PTS_AT, _DTS_AT, _STAMPS_END = 7, 9, 14, 19

# Of an adaptation field (§2.4.3.4), from the start of the packet: its length, its flags, its clock.
_LENGTH_AT, _INDICATORS_AT, _PCR_AT = 4, 5, 6
_HAS_PCR, _DISCONTINUITY = 0x10, 0x80
_LENGTH_WITH_PCR = 7

# Streams whose PES have no header beyond the length (§2.4.3.7, table 2-21): padding, maps, directories and the like.
_BARE_STREAMS = np.isin(np.arange(256), (0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF))


class TransportError(ValueError):
    """Bytes that are no MPEG-TS as we can take it; its text is one sentence."""


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of packets (§2.4.3.2), in columns.

    `payload`: where it begins in its packet, PACKET_BYTES where there is none. `counted`: whether the continuity
    counter runs on there.
    """

    pid: NDArray[np.int32]
    unit_start: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    payload: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PesStarts:
    """The packets in which a PES of one stream begins: their rows, and the times, -1 where there is none.

    `dts` is that of §2.4.3.6 where it is written, else equal to `pts`.
    """

    rows: Rows
    payload: NDArray[np.intp]
    pts: Times
    dts: Times
    has_dts: NDArray[np.bool_]


def as_packets(data: bytes | bytearray | NDArray[np.uint8]) -> Packets:
    """See bytes as packets; what does not belong to a whole packet is left out.

    Gives a view of the data if nothing is. Raises TransportError if there is no packet at all.
    """
    flat = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    whole = flat[: len(flat) // PACKET_BYTES * PACKET_BYTES].reshape(-1, PACKET_BYTES)
    if len(whole) and bool((whole[:, 0] == _SYNC).all()):
        return whole
    found = _resync(flat)
    if not len(found):
        raise TransportError("It holds no packets of MPEG-TS.")
    return found


def _resync(flat: NDArray[np.uint8]) -> Packets:
    """Pick the packets out of bytes in which some are missing: those whose successor is in its place, and the last."""
    last = len(flat) - PACKET_BYTES
    signs = np.flatnonzero(flat[: max(0, last + 1)] == _SYNC)
    follows = signs + PACKET_BYTES
    sound = (follows >= len(flat)) | (flat[np.minimum(follows, len(flat) - 1)] == _SYNC)
    starts, free = [], 0
    for sign in signs[sound].tolist():
        if sign >= free:
            starts.append(sign)
            free = sign + PACKET_BYTES
    found: Packets = flat[np.array(starts, np.intp)[:, None] + np.arange(PACKET_BYTES)]
    return found


def read_headers(packets: Packets) -> Headers:
    """Read the header of every packet; one with the error indicator set, or scrambled, is as if it had no payload."""
    second, fourth = packets[:, 1], packets[:, 3]
    pid = (second & 0x1F).astype(np.int32) << 8 | packets[:, 2]
    counted = (fourth & 0x10) != 0
    payload = np.where((fourth & 0x20) != 0, packets[:, _LENGTH_AT].astype(np.intp) + 5, _HEADER_BYTES)
    readable = counted & (second & 0x80 == 0) & (fourth & 0xC0 == 0)
    payload = np.where(readable, np.minimum(payload, PACKET_BYTES), PACKET_BYTES)
    unit_start = ((second & 0x40) != 0) & (payload < PACKET_BYTES)
    return Headers(pid, unit_start, counted, payload)


def pes_starts(packets: Packets, headers: Headers, pid: int) -> PesStarts:
    """Find where the PES of a stream begin, and their times.

    Raises TransportError if a header does not lie in one packet, which no muxer does that we know of.
    """
    rows = np.flatnonzero(headers.unit_start & (headers.pid == pid))
    at = headers.payload[rows]
    if not len(rows):
        nothing = np.empty(0, np.int64)
        return PesStarts(rows, at, nothing, nothing, np.empty(0, np.bool_))
    if int(at.max()) + _PTS_AT > PACKET_BYTES:
        raise TransportError("The header of a PES is split over packets.")
    head = packets[rows[:, None], np.minimum(at[:, None] + np.arange(_STAMPS_END), PACKET_BYTES - 1)]
    begins = (head[:, 0] == 0) & (head[:, 1] == 0) & (head[:, 2] == 1) & ~_BARE_STREAMS[head[:, 3]]
    has_pts = begins & (head[:, _FLAGS_AT] & 0x80 != 0)
    has_dts = has_pts & (head[:, _FLAGS_AT] & 0x40 != 0)
    if bool((at + np.where(has_dts, _STAMPS_END, np.where(has_pts, _DTS_AT, 0)) > PACKET_BYTES).any()):
        raise TransportError("The header of a PES is split over packets.")
    pts = np.where(has_pts, _read_stamp(head[:, _PTS_AT:_DTS_AT]), -1)
    dts = np.where(has_dts, _read_stamp(head[:, _DTS_AT:_STAMPS_END]), pts)
    return PesStarts(rows, at, pts, dts, has_dts)


def _read_stamp(field: NDArray[np.uint8]) -> Times:
    wide = field.astype(np.int64)
    high = (wide[:, 0] >> 1 & 7) << 30
    return high | wide[:, 1] << 22 | (wide[:, 2] >> 1) << 15 | wide[:, 3] << 7 | wide[:, 4] >> 1


def _write_stamp(packets: Packets, rows: Rows, at: NDArray[np.intp], times: Times) -> None:
    packets[rows, at] = packets[rows, at] & 0xF1 | (times >> 29 & 0x0E).astype(np.uint8)
    packets[rows, at + 1] = times >> 22 & 0xFF
    packets[rows, at + 2] = times >> 14 & 0xFE | 1
    packets[rows, at + 3] = times >> 7 & 0xFF
    packets[rows, at + 4] = times << 1 & 0xFE | 1


def distances(earlier: Times | np.int64, later: Times) -> Times:
    """Give the ticks from times to others, each the shorter way around the clock: negative if back."""
    return (later - earlier + WRAP // 2) % WRAP - WRAP // 2


def shift(packets: Packets, starts: PesStarts, by: int) -> None:
    """Move the times of a stream's PES, in place, by so many ticks."""
    timed = starts.pts >= 0
    _write_stamp(packets, starts.rows[timed], starts.payload[timed] + _PTS_AT, (starts.pts[timed] + by) % WRAP)
    two = starts.has_dts
    _write_stamp(packets, starts.rows[two], starts.payload[two] + _DTS_AT, (starts.dts[two] + by) % WRAP)


def pcr_rows(packets: Packets, headers: Headers, pid: int) -> Rows:
    """Find the packets of a stream that carry the programme's clock (§2.4.3.5)."""
    has_field = (packets[:, 3] & 0x20 != 0) & (packets[:, _LENGTH_AT] >= _LENGTH_WITH_PCR) & (headers.pid == pid)
    return np.flatnonzero(has_field & (packets[:, _INDICATORS_AT] & _HAS_PCR != 0))


def read_pcr(packets: Packets, rows: Rows) -> Times:
    """Read the clock of packets that carry it, in ticks; the remainder of 27 MHz is left aside."""
    field = packets[rows[:, None], np.arange(_PCR_AT, _PCR_AT + 5)].astype(np.int64)
    return field[:, 0] << 25 | field[:, 1] << 17 | field[:, 2] << 9 | field[:, 3] << 1 | field[:, 4] >> 7


def write_pcr(packets: Packets, rows: Rows, times: Times) -> None:
    """Write the clock of packets that carry it, in place, in ticks; the remainder of 27 MHz becomes 0."""
    wrapped = times % WRAP
    for index, right in enumerate((25, 17, 9, 1)):
        packets[rows, _PCR_AT + index] = wrapped >> right & 0xFF
    packets[rows, _PCR_AT + 4] = wrapped << 7 & 0x80 | 0x7E
    packets[rows, _PCR_AT + 5] = 0


def clear_discontinuities(packets: Packets) -> None:
    """Take back, in place, every announcement that clock or counters jump; it is for those who have mended them."""
    rows = np.flatnonzero((packets[:, 3] & 0x20 != 0) & (packets[:, _LENGTH_AT] > 0))
    packets[rows, _INDICATORS_AT] &= 0xFF - _DISCONTINUITY


def renumber(packets: Packets, headers: Headers, counters: MutableMapping[int, int]) -> None:
    """Let each stream's continuity counter run on from `counters`, which hold the last by PID and are brought on.

    It stands still at a packet without payload (§2.4.3.3), as some encoders make them for the clock. What is wrong
    among the others themselves, a lost one say, stays so.
    """
    for pid in np.flatnonzero(np.bincount(headers.pid)).tolist():
        rows = np.flatnonzero(headers.pid == pid)
        counted = headers.counted[rows]
        before = counters.get(pid, 15)
        number = packets[rows, 3] & 0x0F
        if counted.any():
            number = number + np.uint8(before + 1 - int(number[counted.argmax()]) & 0x0F) & 0x0F
        if not counted.all():
            last = np.maximum.accumulate(np.where(counted, np.arange(len(rows)), -1))
            number = np.where(last >= 0, number[last], np.uint8(before))
        packets[rows, 3] = packets[rows, 3] & 0xF0 | number
        if counted.any():
            counters[pid] = int(number[-1])


def redirect(packets: Packets, headers: Headers, pids: Mapping[int, int], room: int) -> tuple[Packets, Headers]:
    """Copy the packets of some streams only, under other PIDs, behind `room` packets that are left to be written.

    `pids` tells each stream's new PID. The headers are those of what was copied.
    """
    table = np.full(1 << 13, -1, np.int32)
    table[list(pids)] = list(pids.values())
    new = table[headers.pid]
    known = np.flatnonzero(new >= 0)
    kept: Packets = np.empty((room + len(known), PACKET_BYTES), np.uint8)
    np.take(packets, known, axis=0, out=kept[room:], mode="clip")  # the other modes would copy twice
    new = new[known]
    if any(old != now for old, now in pids.items()):
        kept[room:, 1] = kept[room:, 1] & 0xE0 | (new >> 8).astype(np.uint8)
        kept[room:, 2] = new & 0xFF
    return kept, Headers(new, headers.unit_start[known], headers.counted[known], headers.payload[known])
