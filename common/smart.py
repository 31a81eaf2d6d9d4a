"""Cuts that are exact to the frame, in the making: segments are read, a few pictures encoded again, the rest copied."""

from bisect import insort
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from common.cuts import SplicePlan, plan_splice
from common.encoding import input_url
from common.ffmpeg import FfmpegError, find_ffmpeg, stream
from common.nal import Picture
from common.pes import read_pes
from common.pieces import Encode, Piece
from common.scan import Scan, Stretch, scan, stretches
from common.segments import Segment
from common.splice import Group, Splicer, Unit, decodable, open_group, read_pictures
from common.transport import PACKET_BYTES, Packets, TransportError, as_packets, read_headers
from common.waits import in_thread

# What lies around a range is looked at too: pictures that those in it need, and sound that runs ahead or lags behind.
CONTEXT = timedelta(seconds=20)

# Called with what is done of a cut, from 0 to 1.
Done = Callable[[float], None]

# A decoder and an encoder that say nothing for so long are stuck.
_PATIENCE_SECONDS = 60.0


class UnreadableSegmentError(Exception):
    """A segment that no cut can be made of; `segment` is the one."""

    def __init__(self, segment: Segment, why: str) -> None:
        """Say which, and why."""
        super().__init__(f"The segment {segment.hour}/{segment.name} cannot be cut. {why}")
        self.segment = segment


@dataclass(frozen=True, slots=True)
class Range:
    """What a video takes from a recording: from `start` to before `end`, both aware UTC.

    `segments` are those that cover it and, as far as they are there, CONTEXT before and after.
    """

    start: datetime
    end: datetime
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the segments of a cut lie: `path` gives the file of one."""

    path: Callable[[Segment], Path]

    def packets(self, segment: Segment) -> Packets:
        """Read a segment. Raises OSError, or UnreadableSegmentError if it is no MPEG-TS."""
        try:
            return as_packets(np.fromfile(self.path(segment), np.uint8))
        except TransportError as error:
            raise UnreadableSegmentError(segment, str(error)) from error

    def scan(self, segment: Segment) -> Scan:
        """Read what a cut must know of a segment. Raises as `packets` does."""
        try:
            return scan(self.packets(segment))
        except TransportError as error:
            raise UnreadableSegmentError(segment, str(error)) from error

    def group(self, stretch: Stretch, numbers: range) -> Group:
        """Take segments of a stretch apart."""
        return open_group(stretch, numbers, [self.packets(stretch.segments[number]) for number in numbers])

    def pictures(self, stretch: Stretch, number: int) -> Sequence[Picture]:
        """Tell of each picture of a segment whether a decoder can begin with it."""
        return read_pictures(self.group(stretch, range(number, number + 1)))


def plan(reading: Reading, ranges: Sequence[Range]) -> SplicePlan:
    """Look at all segments of a cut and plan it. Blocks. Raises as `plan_splice` and `Reading.scan` do."""
    scanned = [
        (wanted.start, wanted.end, list(stretches((segment, reading.scan(segment)) for segment in wanted.segments)))
        for wanted in ranges
    ]
    return plan_splice(scanned, reading.pictures)


async def splice(reading: Reading, planned: SplicePlan, progress: Done | None = None) -> AsyncGenerator[Packets, None]:
    """Make the video, in parts as they become ready. Raises FfmpegError, UnreadableSegmentError or OSError."""
    splicer = Splicer(planned.pieces[0].stretch.programme, planned.lead)
    written, whole = 0, sum(piece.last - piece.first for piece in planned.pieces)
    for piece in planned.pieces:
        splicer.begin()
        async with aclosing(_piece(reading, splicer, piece)) as parts:
            async for packets, done in parts:
                yield packets
                if progress is not None:
                    progress((written + done) / whole)
        written += piece.last - piece.first


async def _piece(reading: Reading, splicer: Splicer, piece: Piece) -> AsyncGenerator[tuple[Packets, int], None]:
    """Write a piece, and tell with each part of it how many of its segments are done."""
    head = range(piece.first, piece.whole.start if piece.whole else piece.last)
    parts = [piece.head] if piece.whole else [piece.head, piece.tail]
    async with aclosing(_apart(reading, splicer, piece, head, parts)) as written:
        async for packets in written:
            yield packets, 0
    for number in piece.whole:
        segment = piece.stretch.segments[number]
        packets = await in_thread(reading.packets, segment)
        yield await in_thread(splicer.whole, piece, number, packets), number - piece.first + 1
    if not piece.whole or piece.whole.stop == piece.last:
        return
    tail = range(piece.whole.stop, piece.last)
    async with aclosing(_apart(reading, splicer, piece, tail, [piece.tail])) as written:
        async for packets in written:
            yield packets, tail.start - piece.first


async def _apart(
    reading: Reading, splicer: Splicer, piece: Piece, numbers: range, parts: Sequence[Encode | None]
) -> AsyncGenerator[Packets, None]:
    """Write what segments at an end of a piece give, with the parts of it that are encoded again among it."""
    group = await in_thread(reading.group, piece.stretch, numbers)
    units = await in_thread(splicer.apart, piece, group)
    yield splicer.tables()
    for part in parts:
        if part is None:
            continue
        async with aclosing(_encoded(group, part)) as pictures:
            done = 0
            async for picture in pictures:
                unit = await in_thread(splicer.encoded, piece, part, done, picture)
                done += 1
                if part.alignment is not None and done > part.alignment.before:
                    # decoded among those that are copied
                    insort(units, unit, key=lambda each: each.time)
                else:
                    yield await in_thread(_write_until, splicer, units, unit)
            if done != len(part.pts):
                raise FfmpegError(f"ffmpeg encoded {done} of {len(part.pts)} pictures", 0, "")
    yield await in_thread(_write_until, splicer, units, None)


def _write_until(splicer: Splicer, units: list[Unit], last: Unit | None) -> Packets:
    """Write the first of `units` up to the time of one more, and that; all of them if there is none."""
    count = len(units) if last is None else sum(unit.time <= last.time for unit in units)
    due = [*units[:count], *([] if last is None else [last])]
    del units[:count]
    return np.concatenate([splicer.write(unit) for unit in due]) if due else np.empty((0, PACKET_BYTES), np.uint8)


async def _encoded(group: Group, part: Encode) -> AsyncGenerator[bytes, None]:
    """Encode pictures again and give them as they come, coded, in the order in which they are shown."""
    content = (await in_thread(decodable, group, part)).tobytes()
    base = int(group.stretch.dts[part.opened])
    first, last = int(part.pts[0]) - base, int(part.pts[-1]) - base
    command = [
        find_ffmpeg(),
        "-copyts",
        "-f",
        "mpegts",
        "-i",
        input_url(0),
        "-map",
        "0:v",
        "-vf",
        f"select=between(pts\\,{first}\\,{last})",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:90000",
        "-c:v",
        "libx264",
        "-preset",
        "superfast",
        "-crf",
        "14",
        "-bf",
        "0",
        "-tune",
        "zerolatency",
        "-x264-params",
        "keyint=infinite:scenecut=0:weightp=0:aud=1:sps-id=7",
        *_aligned(part),
        "-f",
        "mpegts",
        "-muxdelay",
        "0",
        "-muxpreload",
        "0",
        "-mpegts_copyts",
        "1",
        "-flush_packets",
        "1",
        "pipe:1",
    ]

    async def feed() -> AsyncIterator[bytes]:
        yield content

    pending = b""
    async with aclosing(stream(command, inputs=[feed()], timeout=_PATIENCE_SECONDS, purpose="splice")) as chunks:
        async for chunk in chunks:
            pictures, pending = _whole_pictures(pending + chunk, ended=False)
            for picture in pictures:
                yield picture
    for picture in _whole_pictures(pending, ended=True)[0]:
        yield picture


def _aligned(part: Encode) -> list[str]:
    """The arguments with which what is encoded can be aligned with what is copied after it."""
    if part.alignment is None:
        return []
    forced = "+".join(f"eq(n,{at})" for at in part.alignment.keys)
    profile = {66: "baseline", 77: "main"}.get(part.alignment.profile, "high")
    return ["-force_key_frames", f"expr:{forced}", "-profile:v", profile]


def _whole_pictures(data: bytes, *, ended: bool) -> tuple[list[bytes], bytes]:
    """Take the pictures that are whole out of what an encoder has written, and give what is left."""
    whole = len(data) // PACKET_BYTES * PACKET_BYTES
    if not whole:
        return [], data
    packets = as_packets(data[:whole])
    found = read_pes(packets, read_headers(packets), 0x100)
    if ended or not found:
        return [pes.payload for pes in found], data[whole:] if found else data
    return [pes.payload for pes in found[:-1]], data[found[-1].row * PACKET_BYTES :]
