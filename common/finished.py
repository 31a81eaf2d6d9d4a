"""The times in a finished video, read anew: of MPEG-TS from its packets, of all else with PyAV.

Hundreds of megabytes take a fraction of a second, and a few megabytes of memory: a file is read piece by piece, and of
MPEG-TS hardly more than the first bytes of each packet are looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import FileIO
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from common.pes import read_pes
from common.programme import Elementary, Programme, read_programme
from common.sound import sound_frames
from common.ticks import TICKS, ticks
from common.transport import PACKET_BYTES, Packets, Times, TransportError, distances, pes_starts, read_headers

# So many packets are in memory at a time: four megabytes.
_PIECE_PACKETS = 22_000

# The tables stand at the beginning of what we write; so many packets are enough to find them.
_TABLE_PACKETS = 1000

# The times of Matroska are whole milliseconds, those of the others come within a tick or two.
_MILLISECOND = TICKS // 1000
_ROUNDED, _EXACT = _MILLISECOND, 2

_SYNC = 0x47
_NOTHING_PID = 0x1FFF


class UnsoundError(Exception):
    """A file that cannot be right, whatever was expected of it; its text is one sentence."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackTimes:
    """The times of one track in ticks, in the order of the file.

    Of a sound, `end`: when its last frame is over; `frame`: how long its frames are, the longest of the last ones.
    `entries`: with which a decoder can begin. Of MPEG-TS the times are those of its PES (of pictures one each, of sound
    some frames), and run on over a wrap of their clock; `places` says at which byte each begins, `stream` is what its
    map says.
    """

    pts: Times
    dts: Times
    entries: NDArray[np.bool_]
    places: NDArray[np.int64]
    end: int = 0
    frame: int = 0
    stream: Elementary | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What the packets of a finished video say; `rounding` is how far a time may be off.

    `head`: of MPEG-TS, the packets with its tables; None for all else.
    """

    picture: TrackTimes | None
    sounds: tuple[TrackTimes, ...]
    rounding: int
    head: bytes | None = None


def read_finished(path: Path) -> Finished:
    """Read a finished video. Raises UnsoundError if it contradicts itself or is no video, and OSError."""
    with path.open("rb", buffering=0) as file:
        first = file.read(1)
        file.seek(0)
        if first == bytes([_SYNC]):
            return _read_transport(file)
    return _read_container(path)


# MPEG-TS --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Gathered:
    """What is known of a stream so far."""

    pts: list[Times] = field(default_factory=list)
    dts: list[Times] = field(default_factory=list)
    entries: list[NDArray[np.bool_]] = field(default_factory=list)
    places: list[NDArray[np.int64]] = field(default_factory=list)
    near: int | None = None

    def track(self, stream: Elementary, end: int = 0, frame: int = 0) -> TrackTimes:
        nothing = np.empty(0, np.int64)
        times = [np.concatenate([nothing, *parts]) for parts in (self.pts, self.dts, self.places)]
        entries = np.concatenate([np.empty(0, np.bool_), *self.entries])
        return TrackTimes(times[0], times[1], entries, times[2], end, frame, stream)


def _read_transport(file: FileIO) -> Finished:
    head = _read_packets(file, _TABLE_PACKETS)
    try:
        programme = read_programme(head, read_headers(head))
    except TransportError as error:
        raise UnsoundError(f"Its tables cannot be read. {error}") from error
    video, sounds = programme.video, programme.audio
    streams = {stream.pid: _Gathered() for stream in (*([video] if video else []), *sounds)}
    counters: dict[int, int] = {}
    file.seek(0)
    for place, packets in _pieces(file):
        _read_piece(packets, place, streams, counters)
    tracks = tuple(streams[sound.pid].track(sound, *_sound_end(file, sound, streams[sound.pid])) for sound in sounds)
    picture = streams[video.pid].track(video) if video else None
    return Finished(picture, tracks, _EXACT, _tables(head, programme))


def _read_packets(file: FileIO, count: int) -> Packets:
    content = file.read(count * PACKET_BYTES)
    return _checked(np.frombuffer(content, np.uint8))


def _pieces(file: FileIO) -> Iterator[tuple[int, Packets]]:
    """Give the packets of a file in pieces, which are good until the next one, and the byte at which each begins."""
    buffer = bytearray(_PIECE_PACKETS * PACKET_BYTES)
    place = 0
    while filled := _fill(file, memoryview(buffer)):
        yield place, _checked(np.frombuffer(buffer, np.uint8, filled))
        place += filled


def _fill(file: FileIO, view: memoryview) -> int:
    filled = 0
    while filled < len(view):
        read = file.readinto(view[filled:])
        if not read:
            break
        filled += read
    return filled


def _checked(flat: NDArray[np.uint8]) -> Packets:
    if len(flat) % PACKET_BYTES:
        raise UnsoundError("It ends amid a packet.")
    packets: Packets = flat.reshape(-1, PACKET_BYTES)
    if not bool((packets[:, 0] == _SYNC).all()):
        raise UnsoundError("It holds something between its packets.")
    return packets


def _read_piece(packets: Packets, place: int, streams: dict[int, _Gathered], counters: dict[int, int]) -> None:
    """Read the times of a piece of the file, and check its counters."""
    words = np.ascontiguousarray(packets[:, :4]).view(">u4").ravel().astype(np.uint32)
    pids = words >> 8 & 0x1FFF
    for pid in np.flatnonzero(np.bincount(pids, minlength=1 << 13)).tolist():
        of_pid = pids == pid
        if pid != _NOTHING_PID:
            _check_counters(pid, words[of_pid], counters)
        if pid in streams:
            rows = np.flatnonzero(of_pid & (words & 0x400000 != 0))
            _gather(streams[pid], packets[rows], pid, place + rows * PACKET_BYTES)


def _check_counters(pid: int, words: NDArray[np.uint32], counters: dict[int, int]) -> None:
    """Check that the counter goes on by one with each packet that carries something, and else stands still."""
    counted, found = words >> 4 & 1, words & 0x0F
    before = counters.get(pid, int(found[0]) + 16 - int(counted[0]))
    steps = np.diff(found, prepend=np.uint32(before & 0x0F)) & 0x0F
    if bool((steps != counted).any()):
        raise UnsoundError(f"Packets of the stream {pid:#x} are missing or there twice.")
    counters[pid] = int(found[-1])


def _gather(stream: _Gathered, packets: Packets, pid: int, places: NDArray[np.int64]) -> None:
    """Take the times from packets in which the PES of a stream begin."""
    if not len(packets):
        return
    try:
        starts = pes_starts(packets, read_headers(packets), pid)
    except TransportError as error:
        raise UnsoundError(str(error)) from error
    timed = starts.pts >= 0
    raw_pts, raw_dts, rows = starts.pts[timed], starts.dts[timed], starts.rows[timed]
    if not len(rows):
        return
    near = np.int64(raw_dts[0] if stream.near is None else stream.near)
    steps = np.concatenate([distances(near, raw_dts[:1]), distances(raw_dts[:-1], raw_dts[1:])])
    dts = near + np.cumsum(steps)
    stream.dts.append(dts)
    stream.pts.append(dts + distances(raw_dts, raw_pts))
    field_ = packets[rows]
    stream.entries.append((field_[:, 3] & 0x20 != 0) & (field_[:, 4] > 0) & (field_[:, 5] & 0x40 != 0))
    stream.places.append(places[rows])
    stream.near = int(dts[-1])


def _sound_end(file: FileIO, sound: Elementary, stream: _Gathered) -> tuple[int, int]:
    """Tell when the last frame of a sound is over, and how long a frame is: its last PES is taken apart."""
    if not stream.places:
        return 0, 0
    file.seek(int(stream.places[-1][-1]))
    packets = _checked(np.frombuffer(file.read(), np.uint8))
    last = read_pes(packets, read_headers(packets), sound.pid)[0]
    lengths = [frame.duration for frame in sound_frames(sound.audio, last.payload)]
    return int(stream.pts[-1][-1]) + round(sum(lengths, Fraction(0))), round(max(lengths, default=Fraction(0)))


def _tables(head: Packets, programme: Programme) -> bytes:
    """Give the packets of the tables at the head of a file."""
    pids = read_headers(head).pid
    tables: Packets = head[(pids == 0) | (pids == programme.pmt_pid)]
    return tables.tobytes()


# All else -------------------------------------------------------------------------------------------------------------


def _read_container(path: Path) -> Finished:
    try:
        with av.open(str(path), "r") as container:
            found = _read_streams(container)
            rounding = _ROUNDED if "matroska" in container.format.name else _EXACT
            video = container.streams.video[0].index if container.streams.video else None
    except av.FFmpegError as error:
        raise UnsoundError("It cannot be read as a video.") from error
    sounds = tuple(track for index, track in found.items() if index != video)
    return Finished(None if video is None else found[video], sounds, rounding)


# Of a packet: when it is shown and decoded, how long it lasts, and whether a decoder can begin with it.
_Row = tuple[int, int | None, int, bool]


def _read_streams(container: InputContainer) -> dict[int, TrackTimes]:
    streams = [*container.streams.video[:1], *container.streams.audio]
    rows: dict[int, list[_Row]] = {stream.index: [] for stream in streams}
    for packet in container.demux(streams):
        if not packet.size:
            continue
        if packet.pts is None or packet.time_base is None:
            raise UnsoundError("It holds a frame without a time.")
        pts = ticks(packet.pts, packet.time_base)
        dts = None if packet.dts is None else ticks(packet.dts, packet.time_base)
        length = ticks(packet.duration or 0, packet.time_base)
        rows[packet.stream.index].append((pts, dts, length, packet.is_keyframe))
    return {index: _track(found) for index, found in rows.items()}


def _track(rows: list[_Row]) -> TrackTimes:
    pts = np.array([time for time, _, _, _ in rows], np.int64)
    written = [time for _, time, _, _ in rows if time is not None]
    dts = np.array(written, np.int64)
    if len(written) < len(rows):
        # Matroska has none: any that fit are as good
        dts = np.sort(pts)
        dts -= np.max(dts - pts)
    entries = np.array([entry for _, _, _, entry in rows], np.bool_)
    end = max((time + length for time, _, length, _ in rows), default=0)
    frame = max((length for _, _, length, _ in rows), default=0)
    return TrackTimes(pts, dts, entries, np.zeros(len(rows), np.int64), end, frame)
