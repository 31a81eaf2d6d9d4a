"""Cuts that are exact to the frame, in the making: segments are read, a few pictures encoded again, the rest copied."""

import asyncio
import os
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import TypeVar

import numpy as np

from common.blend_commands import blend_command, encode_command
from common.blends import Blend, Side
from common.crossfades import Crossfade, coded_rate, crossfade_command, kept_frames
from common.cuts import SplicePlan, plan_splice
from common.dateutil import format_utc
from common.encode_slots import encode_slot
from common.encoding import EncodingError, VideoFormat, like_source
from common.encodings import PATIENCE_SECONDS, Encoding, Encodings, Upcoming, once, running
from common.ffmpeg import FfmpegError, find_ffmpeg, stream
from common.formats import Formats, read_formats
from common.nal import free_parameter_set
from common.pieces import CannotSpliceError, Encode, Piece
from common.ranges import Range, UnreadableSegmentError, check_start
from common.reading import Reading
from common.samples import check_samples, is_sampled
from common.scan import Scan, Stretch, kinds
from common.segments import Segment
from common.splice import Group, Splicer, Unit, decodable
from common.ticks import TICKS, steady_rate
from common.transitions import Transition
from common.transport import PACKET_BYTES, Packets
from common.waits import in_thread

T = TypeVar("T")

# Called with what is done of a cut, from 0 to 1.
Done = Callable[[float], None]

# Each takes memory for pictures of its own, and the few that are encoded gain nothing from more.
_MOST_THREADS = 4

# Live encoders round times to milliseconds.
_JITTER = TICKS // 500

# In so many packets of a segment there are a picture and sounds that tell their format.
_LOOKED_AT_PACKETS = 20_000


def plan(reading: Reading, ranges: Sequence[Range], transitions: Sequence[Transition | None] = ()) -> SplicePlan:
    """Look at all segments of a cut and plan it. Blocks. Raises as `plan_splice` and `Reading.stretches` do."""
    scanned = [(wanted.start, wanted.end, reading.stretches(wanted)) for wanted in ranges]
    planned = plan_splice(scanned, reading.pictures, transitions)
    if any(is_sampled(part.stretch) for part in planned.pieces):
        check_samples(planned)
    starts = [side for part in planned.pieces for side in (part.sides if isinstance(part, Blend) else [part])]
    for wanted, (_, _, found) in zip(ranges, scanned, strict=True):
        for stretch in found:
            shown = [side.start for side in starts if side.stretch is stretch]
            check_start(wanted, stretch, min(shown, default=None))
    _check_alike(reading, planned)
    for part in planned.pieces:
        if isinstance(part, Blend):
            _check_sounds(reading, part)
    return planned


def _check_alike(reading: Reading, planned: SplicePlan) -> None:
    """See that one decoder can go through a whole video. Raises CannotSpliceError."""
    seen: dict[bytes, tuple[Segment, VideoFormat]] = {}
    pieces: list[Piece | Side] = []
    for part in planned.pieces:
        pieces += part.sides if isinstance(part, Blend) else [part]
    for piece in pieces:
        if kinds(piece.stretch.programme) != kinds(planned.pieces[0].stretch.programme):
            raise CannotSpliceError("The sounds or the codec change within the video.")
        for segment, scanned in _with_pictures(piece):
            parameters = scanned.head.parameters
            if parameters and parameters not in seen:
                seen[parameters] = (segment, _picture_of(reading, segment))
    for segment, found in seen.values():
        first = next(iter(seen.values()))[1]
        if _shape(found) != _shape(first):
            raise CannotSpliceError(
                f"The picture changes from {first.width}x{first.height} to {found.width}x{found.height}, or what it is"
                f" made of, at {format_utc(segment.start)}."
            )


def _with_pictures(piece: Piece | Side) -> Iterator[tuple[Segment, Scan]]:
    """Give the segments in which the pictures lie of which something is made; others around it may be anything."""
    needed, stretch = piece.needed, piece.stretch
    if needed:
        numbers = slice(stretch.segment_of(needed.start), stretch.segment_of(needed.stop - 1) + 1)
        yield from zip(stretch.segments[numbers], stretch.scans[numbers], strict=True)


def _picture_of(reading: Reading, segment: Segment) -> VideoFormat:
    try:
        content, form = reading.coded(segment)
        picture = read_formats(content, None, form).picture
    except EncodingError as error:
        raise UnreadableSegmentError(segment, str(error)) from error
    if picture is None:
        raise UnreadableSegmentError(segment, "It has no picture that can be decoded.")
    return picture


def _shape(picture: VideoFormat) -> tuple[str, int, int, str]:
    return picture.codec, picture.width, picture.height, picture.pixel_format


@dataclass(frozen=True, slots=True)
class _Making:
    """A cut that is being made."""

    reading: Reading
    splicer: Splicer
    encodings: Encodings


async def splice(reading: Reading, planned: SplicePlan, progress: Done | None = None) -> AsyncGenerator[Packets, None]:
    """Make the video, in parts as they become ready.

    Raises FfmpegError, UnreadableSegmentError or OSError, and CannotSpliceError if pictures turn out to be damaged,
    cannot be encoded or were encoded otherwise than was asked for.
    """
    splicer = Splicer(planned.pieces[0].stretch.programme, planned.lead)
    written, whole = 0, sum(piece.last - piece.first for piece in planned.pieces)
    async with running(_upcoming(reading, planned)) as encodings:
        for piece in planned.pieces:
            splicer.begin()
            making = _Making(reading, splicer, encodings)
            made = _blend(making, piece) if isinstance(piece, Blend) else _piece(making, piece)
            async with aclosing(made) as parts:
                async for packets, done in parts:
                    yield packets
                    if progress is not None:
                        progress((written + done) / whole)
            written += piece.last - piece.first


def check_ends(reading: Reading, planned: SplicePlan) -> None:
    """See that all that will be encoded of a cut can be begun with, before anything of it is sent. Blocks.

    What turns out only while it is encoded remains: a picture amid others that cannot be decoded. Raises EncodingError,
    CannotSpliceError, UnreadableSegmentError and OSError.
    """
    for upcoming in _upcoming(reading, planned):
        upcoming.prepare()


def _upcoming(reading: Reading, planned: SplicePlan) -> Iterator[Upcoming]:
    """Give what will be encoded of a cut, in the order in which it is needed."""
    copied = 0
    for piece in planned.pieces:
        if isinstance(piece, Blend):
            yield Upcoming(copied, partial(_prepare_blend, reading, piece))
            copied = 0
            continue
        for numbers, part, following in zip(_ends(piece), (piece.head, piece.tail), (len(piece.whole), 0), strict=True):
            if part is not None:
                # what an end needs may lie in segments that go through whole
                opened = min(numbers.start, piece.stretch.segment_of(part.opened))
                prepare = partial(_prepare_encode, reading, piece, range(opened, numbers.stop), part)
                yield Upcoming(copied, prepare)
                copied = 0
            copied += following


def _ends(piece: Piece) -> tuple[range, range]:
    """Give the segments of a piece that are taken apart: those before the ones that go through whole, and those after.

    Where none goes through whole, both are all of them.
    """
    if not piece.whole:
        return range(piece.first, piece.last), range(piece.first, piece.last)
    return range(piece.first, piece.whole.start), range(piece.whole.stop, piece.last)


async def _piece(making: _Making, piece: Piece) -> AsyncGenerator[tuple[Packets, int], None]:
    """Write a piece, and tell with each part of it how many of its segments are done."""
    head, tail = _ends(piece)
    parts = [piece.head] if piece.whole else [piece.head, piece.tail]
    async with aclosing(_apart(making, piece, head, parts)) as written:
        async for packets in written:
            yield packets, 0
    if not piece.whole:
        return
    async with aclosing(ahead(_retimed(making, piece, ahead(_contents(making.reading, piece))))) as retimed:
        async for packets, number in retimed:
            yield packets, number - piece.first + 1
    if tail:
        async with aclosing(_apart(making, piece, tail, [piece.tail])) as written:
            async for packets in written:
                yield packets, tail.start - piece.first


async def _contents(reading: Reading, piece: Piece) -> AsyncGenerator[tuple[Packets, int], None]:
    for number in piece.whole:
        yield await in_thread(reading.packets, piece.stretch.segments[number]), number


async def _retimed(
    making: _Making, piece: Piece, contents: AsyncGenerator[tuple[Packets, int], None]
) -> AsyncGenerator[tuple[Packets, int], None]:
    async with aclosing(contents):
        async for packets, number in contents:
            yield await in_thread(making.splicer.whole, piece, number, packets), number


async def ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Give what a source gives; while one is being used, the next is made."""
    async with aclosing(source):
        following = asyncio.ensure_future(anext(source, None))
        try:
            while (item := await following) is not None:
                following = asyncio.ensure_future(anext(source, None))
                yield item
        finally:
            following.cancel()
            await asyncio.wait({following})


async def _apart(
    making: _Making, piece: Piece, numbers: range, parts: Sequence[Encode | None]
) -> AsyncGenerator[Packets, None]:
    """Write what segments at an end of a piece give, with the parts of it that are encoded again among it."""
    splicer = making.splicer
    group = await in_thread(making.reading.group, piece.stretch, numbers)
    units = await in_thread(splicer.apart, piece, group)
    yield splicer.tables()
    for part in parts:
        if part is None:
            continue
        async with aclosing(_numbered(making.encodings, len(part.pts))) as pictures:
            async for index, picture in pictures:
                unit = await in_thread(splicer.encoded, piece, part, index, picture)
                if part.alignment is not None and index >= part.alignment.before:
                    # decoded among those that are copied
                    insort(units, unit, key=lambda each: each.time)
                else:
                    yield await in_thread(_write_until, splicer, units, unit)
    yield await in_thread(_write_until, splicer, units, None)


async def _numbered(encodings: Encodings, count: int) -> AsyncGenerator[tuple[int, bytes], None]:
    """Number the pictures of the next encoding. Raises CannotSpliceError if they are not as many as they should be."""
    done = 0
    try:
        async with aclosing(encodings.following()) as pictures:
            async for picture in pictures:
                if done == count:
                    raise CannotSpliceError("Near a join there are more pictures than their times tell of.")
                yield done, picture
                done += 1
    except FfmpegError as error:
        if (error.exit_code or 0) > 0:  # it was not killed, and would say no again
            raise CannotSpliceError("Pictures near a join cannot be encoded like their source.") from error
        raise
    if done < count:
        raise CannotSpliceError("Near a join there are pictures that cannot be decoded.")


def _write_until(splicer: Splicer, units: list[Unit], last: Unit | None) -> Packets:
    """Write the first of `units` up to the time of one more, and that; all of them if there is none."""
    count = len(units) if last is None else sum(unit.time <= last.time for unit in units)
    due = [*units[:count], *([] if last is None else [last])]
    del units[:count]
    return np.concatenate([splicer.write(unit) for unit in due]) if due else np.empty((0, PACKET_BYTES), np.uint8)


def _prepare_encode(reading: Reading, piece: Piece, numbers: range, part: Encode) -> Encoding:
    """Decode what a part needs, and encode again those pictures of it that belong to it."""
    group = reading.group(piece.stretch, numbers)
    content = decodable(group, part).tobytes()
    picture = read_formats(content, rate_of(group.stretch)).picture
    if picture is None:
        raise EncodingError("There is no picture that can be decoded.")
    base = int(group.stretch.dts[part.opened])
    first, last = int(part.pts[0]) - base, int(part.pts[-1]) - base
    command = encode_command(find_ffmpeg(), first, last, [*_like(picture, group), *_aligned(part)])
    return Encoding(command, [content])


def _like(picture: VideoFormat, *groups: Group) -> list[str]:
    """Tell an encoder how to make pictures like those of the source, with parameter sets beside all of theirs."""
    heads = b"".join({scanned.head.parameters for group in groups for scanned in group.stretch.scans})
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    return like_source(picture, threads=threads, parameter_set_id=free_parameter_set(heads))


def rate_of(stretch: Stretch) -> Fraction | None:
    """Give the rate of a stretch's pictures, None if it is not constant."""
    steps = np.diff(np.sort(stretch.pts))
    steady = len(steps) > 0 and int(steps.max() - steps.min()) <= _JITTER
    return steady_rate(stretch.pts.tolist()) if steady else None


def _aligned(part: Encode) -> list[str]:
    """The arguments with which what is encoded can be aligned with what is copied after it."""
    if part.alignment is None:
        return []
    forced = "+".join(f"eq(n,{at})" for at in part.alignment.keys)
    return ["-force_key_frames", f"expr:{forced}"]


# Transitions ----------------------------------------------------------------------------------------------------------


async def _blend(making: _Making, blend: Blend) -> AsyncGenerator[tuple[Packets, int], None]:
    """Write a transition; of the segments none is done with it."""
    splicer = making.splicer
    before, after = await in_thread(_groups, making.reading, blend)
    fades = await in_thread(splicer.crossfades, blend, before, after)
    sounds = [(pid, fade, await _faded(fade)) for pid, fade in fades]
    units = await in_thread(splicer.around, blend, before, sounds)
    yield splicer.tables(), 0
    async with aclosing(_numbered(making.encodings, blend.frames)) as pictures:
        async for index, picture in pictures:
            unit = splicer.blended(blend, index, picture)
            yield await in_thread(_write_until, splicer, units, unit), 0
    yield await in_thread(_write_until, splicer, units, None), 0


def _groups(reading: Reading, blend: Blend) -> tuple[Group, Group]:
    before, after = (reading.group(side.stretch, range(side.first, side.last)) for side in blend.sides)
    return before, after


def _prepare_blend(reading: Reading, blend: Blend) -> Encoding:
    groups = before, after = _groups(reading, blend)
    picture = _picture_format(blend, before)
    contents = [decodable(group, side.pictures).tobytes() for group, side in zip(groups, blend.sides, strict=True)]
    return Encoding(blend_command(find_ffmpeg(), blend, picture.pixel_format, _like(picture, before, after)), contents)


async def _faded(fade: Crossfade) -> list[bytes]:
    """Encode a sound of a transition, and give its frames."""
    command = crossfade_command(find_ffmpeg(), fade)
    inputs = [once(fade.before), once(fade.after)]
    coded = bytearray()
    chunks = stream(command, inputs=inputs, timeout=PATIENCE_SECONDS, purpose="splice")
    async with encode_slot("splice"), aclosing(chunks):
        async for chunk in chunks:
            coded += chunk
    return kept_frames(fade, bytes(coded))


def _picture_format(blend: Blend, before: Group) -> VideoFormat:
    """Give the format of the pictures of a transition, as its first one tells it."""
    first = replace(blend.before.pictures, closed=blend.before.pictures.opened + 1)
    picture = _read_formats(decodable(before, first), blend.rate).picture
    if picture is None:
        raise CannotSpliceError("A transition needs pictures that cannot be decoded.")
    return picture


def _check_sounds(reading: Reading, blend: Blend) -> None:
    """See that no sound of a transition is more than its frames say, as HE-AAC is. Raises CannotSpliceError."""
    for side in blend.sides:
        group = reading.group(side.stretch, range(side.first, side.last))
        told = {coded_rate(sound.audio, group.streams(sound.pid)) for sound in side.stretch.programme.audio} - {None}
        video = side.stretch.programme.video
        without_pictures = group.packets[group.headers.pid != (video.pid if video else None)]
        if told != {sound.sample_rate for sound in _read_formats(without_pictures, blend.rate).sounds}:
            raise CannotSpliceError("The sound of a transition cannot be encoded in the form that it has.")


def _read_formats(packets: Packets, rate: Fraction) -> Formats:
    try:
        return read_formats(packets[:_LOOKED_AT_PACKETS].tobytes(), rate)
    except EncodingError as error:
        raise CannotSpliceError(f"A transition needs what cannot be read. {error}") from error
