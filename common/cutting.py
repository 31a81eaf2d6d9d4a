"""Cuts made: from a store and what is wanted of it to a video in a file.

Whatever ends the work, a file has its name only when it is whole, checked and on disk.
"""

import asyncio
import itertools
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import structlog
from numpy.typing import NDArray

from common.cuts import CutType, NothingRecordedError, SplicePlan, VideoRange
from common.encode_slots import encode_slot
from common.encoding import Codec, Container, EncodingError, EncodingSettings
from common.ffmpeg import Progress, find_ffmpeg, run
from common.full import BEGIN, Feed, expected_of_full, fed, full_cut, plan_archive, plan_full
from common.full_cut import archive_command, remux_command
from common.metrics import counter
from common.pieces import CannotSpliceError, Piece
from common.ranges import Range, UnreadableSegmentError, others
from common.reading import CONTEXT, Reading
from common.rough import Rough, plan_rough
from common.sample_cuts import copied, layout_of, splice_samples
from common.sample_files import Layout
from common.samples import is_sampled
from common.segments import Segment
from common.sidecar import FactsStore
from common.silences import silences
from common.smart import Done, ahead, check_ends, plan, splice
from common.store import Store
from common.ticks import TICKS
from common.timed import timed
from common.transitions import Transition
from common.verify import VerificationError, expected_of, verify
from common.waits import in_thread

log = structlog.get_logger()

# An encode that takes longer than this many times the length of its video, and an hour, is stuck.
_SLOWEST, _LONGEST_WAIT = 50, 3600.0

# What a full cut is when nothing else is asked for: the codec that each container is meant for.
DEFAULT_SETTINGS = {
    Container.MP4: EncodingSettings(),
    Container.MATROSKA: EncodingSettings(container=Container.MATROSKA),
    Container.MPEGTS: EncodingSettings(container=Container.MPEGTS),
    Container.WEBM: EncodingSettings(Codec.VP9, Container.WEBM),
}

_REFUSED = counter("cuts_thrown_away", "Full cuts that were not what was planned.")
_CHECK_FAILED, _NOT_TO_BE_COPIED = "check failed", "cannot be copied"
_FALLBACKS = counter(
    "cut_fallbacks",
    "Smart cuts that were made as full ones, by the reason.",
    "reason",
    known=(_CHECK_FAILED, _NOT_TO_BE_COPIED),
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted: ranges of one recording and what joins them, None for hard. Holes, if allowed, are left out.

    `transitions` may be empty: then all joins are hard; else it has one less than `ranges`.
    """

    channel: str
    quality: str
    ranges: tuple[VideoRange, ...]
    allow_holes: bool = False
    transitions: tuple[Transition | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """The recording of an order's ranges, each with some context around it."""

    reading: Reading
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A finished cut: the type that it really is, and why if that is not the one asked for."""

    kind: CutType
    duration: timedelta
    frames: int | None = None
    reason: str | None = None


def _seconds(_: object, __: object, order: Order, *___: object) -> float:
    return sum((each.end - each.start).total_seconds() for each in order.ranges)


@timed("cut_gather", "Finding the segments of a cut.")
def gather(store: Store, facts: FactsStore, order: Order, context: timedelta = CONTEXT) -> Gathered:
    """Find the segments of a cut, and those that lie around its ranges. Blocks.

    Raises ContainsHolesError if holes are refused and there is one, NothingRecordedError if a range holds nothing.
    """
    ranges = []
    for start, end in order.ranges:
        recording = (order.channel, order.quality)
        facts.settle(*recording, partial(store.sequence, *recording, start - context, end + context))
        if not store.sequence(*recording, start, end, allow_holes=order.allow_holes).segments:
            raise NothingRecordedError
        around = store.sequence(*recording, start - context, end + context)
        ranges.append(Range(start, end, tuple(around.segments), order.allow_holes))
    path = partial(store.segment_path, order.channel, order.quality)
    return Gathered(Reading(path, partial(_instead, store, order, context)), tuple(ranges))


def _instead(
    store: Store, order: Order, context: timedelta, wanted: Range, without: frozenset[Segment]
) -> tuple[Segment, ...]:
    """Find the segments of a range anew, as if some were not there; an `Instead`."""
    find = partial(store.sequence, order.channel, order.quality, without=without)
    if not wanted.allow_holes:
        find(wanted.start, wanted.end, allow_holes=False)
    return tuple(find(wanted.start - context, wanted.end + context).segments)


def prepare(store: Store, facts: FactsStore, order: Order) -> tuple[Reading, SplicePlan]:
    """Find the segments of a cut that is exact to the frame, look at them and plan it; all can begin. Blocks.

    Raises as `gather`, `common.smart.plan` and `common.smart.check_ends` do.
    """
    gathered = gather(store, facts, order)
    planned = plan_smart(gathered, order)
    if not is_sampled(planned.pieces[0].stretch):
        check_ends(gathered.reading, planned)
    return gathered.reading, planned


@timed("cut_plan", "Planning a cut that is exact to the frame.", per=("media_second", _seconds))
def plan_smart(gathered: Gathered, order: Order) -> SplicePlan:
    """Plan a cut that is exact to the frame. Blocks. Raises as `common.smart.plan` does."""
    return plan(gathered.reading, gathered.ranges, order.transitions)


async def make_rough(gathered: Gathered, output: Path, progress: Done | None = None) -> Made:
    """Put the segments of some ranges together, as they are; each is held against its name.

    One that is damaged is replaced by the next best or, where holes are allowed, left out. Raises
    UnreadableSegmentError, CannotSpliceError if they make no one file, and OSError; of a segment, with its path.
    """
    duration, rough = timedelta(0), await in_thread(plan_rough, gathered.reading, gathered.ranges)
    async with spooled(output) as temp, _new_file(temp) as file:
        for number, wanted in enumerate(gathered.ranges):

            def report(done: float, before: int = number) -> None:
                if progress is not None:
                    progress((before + done) / len(gathered.ranges))

            segments = await _append(gathered.reading, wanted, file, rough, report)
            duration += sum((segment.duration for segment in segments), timedelta(0))
        if not duration:
            raise NothingRecordedError
    return Made(CutType.ROUGH, duration)


async def _append(reading: Reading, wanted: Range, file: BinaryIO, rough: Rough, progress: Done) -> tuple[Segment, ...]:
    """Append the segments of a range to a file, and give them."""
    begin, segments, left = file.tell(), wanted.segments, frozenset[Segment]()
    while True:
        try:
            async with aclosing(ahead(_contents(reading, segments))) as contents:
                number = 0
                async for content in contents:
                    await in_thread(file.write, content[rough.init_bytes if file.tell() else 0 :].data)
                    number += 1
                    progress(number / len(segments))
        except UnreadableSegmentError as error:
            left |= {error.segment}
            segments = await in_thread(others, wanted, reading.instead, left, [error])
            await in_thread(_cut_back, file, begin)
            log.warning("segment_left_out", segment=f"{error.segment.hour}/{error.segment.name}", reason=error.reason)
        else:
            return segments


async def _contents(reading: Reading, segments: Sequence[Segment]) -> AsyncGenerator[NDArray[np.uint8], None]:
    for segment in segments:
        yield await in_thread(reading.content, segment)


def _cut_back(file: BinaryIO, size: int) -> None:
    file.seek(size)
    file.truncate()


async def make_smart(
    gathered: Gathered, order: Order, container: Container, output: Path, progress: Done | None = None
) -> Made:
    """Make a cut that is exact to the frame, copying all that can be copied, and check it.

    What cannot be made so, or does not pass the check, is made as a full cut. Raises as `make_full` does.
    """
    try:
        planned = await in_thread(plan_smart, gathered, order)
        await _make_checked(gathered.reading, planned, container, output, progress)
    except (CannotSpliceError, EncodingError, VerificationError) as error:
        reason = _CHECK_FAILED if isinstance(error, VerificationError) else _NOT_TO_BE_COPIED
        _FALLBACKS.labels(reason).inc()
        log.warning("smart_cut_made_as_full", channel=order.channel, quality=order.quality, reason=str(error))
        made = await make_full(gathered, order, DEFAULT_SETTINGS[container], output, progress)
        return Made(made.kind, made.duration, made.frames, str(error))
    return Made(CutType.SMART, _length(planned.duration), planned.frames)


async def _make_checked(
    reading: Reading, planned: SplicePlan, container: Container, output: Path, progress: Done | None
) -> None:
    async with spooled(output) as temp:
        if is_sampled(planned.pieces[0].stretch):
            await _drained(splice_samples(reading, planned, layout_of(container, planned), temp, progress))
            await in_thread(_check, temp, reading, planned)
            return
        parts = splice(reading, planned, progress)
        async with aclosing(parts), _new_file(temp) as file:
            async for packets in parts:
                await in_thread(file.write, packets.data)
        # on its way to the disk meanwhile, which has the whole of it to write
        await asyncio.gather(in_thread(_check, temp, reading, planned), in_thread(_flush, temp, os.O_RDONLY))
        if container is not Container.MPEGTS:
            await _remux(temp, container, _length(planned.duration))


def _check(path: Path, reading: Reading, planned: SplicePlan) -> None:
    verify(path, replace(expected_of(planned), silences=silences(reading, planned)))


async def _drained(parts: AsyncGenerator[bytes, None]) -> None:
    """Have a file made that is written part by part."""
    async with aclosing(parts):
        async for _ in parts:
            pass


async def _remux(path: Path, container: Container, length: timedelta) -> None:
    """Put a video of MPEG-TS into another container, in its place."""
    other = path.with_name(f"{path.name}.remux")
    command = remux_command(find_ffmpeg(), str(path), container, str(other))
    await run(command, timeout=_limit(length), purpose="remux", output=other)
    await in_thread(other.replace, path)


async def make_full(
    gathered: Gathered, order: Order, settings: EncodingSettings, output: Path, progress: Done | None = None
) -> Made:
    """Make a cut that is encoded anew as a whole, and check it.

    Raises FfmpegError, NothingRecordedError, UnreadableSegmentError, OSError; EncodingError and TransitionError for
    what cannot be encoded so, VerificationError if what was made is not what was planned.
    """
    planned = await in_thread(plan_full, gathered.reading, gathered.ranges)
    async with spooled(output) as temp:
        command = full_cut(planned, joins(order), settings, str(temp))

        def report(at: Progress) -> None:
            if progress is not None and at.fraction is not None:
                progress(at.fraction)

        async with encode_slot("full"):
            await run(
                command.arguments,
                inputs=feeds(gathered.reading, planned),
                progress=report,
                duration=command.duration,
                timeout=_limit(command.duration),
                purpose="full",
            )
        expected = expected_of_full(command, damaged=any(wanted.allow_holes for wanted in gathered.ranges))
        try:
            await in_thread(verify, temp, expected)
        except VerificationError as error:
            _REFUSED.inc()
            log.warning("full_cut_thrown_away", channel=order.channel, quality=order.quality, reason=str(error))
            raise
    return Made(CutType.FULL, command.duration)


async def make_archive(gathered: Gathered, output: Path, progress: Done | None = None) -> list[Path]:
    """Put the segments of some ranges into Matroska as they are, one file for each stretch that runs on.

    The first file has the name `output`, the others numbers from 2 before its ending, past those that are there; gives
    them all. Raises FfmpegError, UnreadableSegmentError and OSError.
    """
    planned = await in_thread(plan_archive, gathered.reading, gathered.ranges)
    names = await in_thread(_names, output, len(planned))
    for number, (piece, name) in enumerate(zip(planned, names, strict=True), 1):
        async with spooled(name) as temp:
            await _archive(gathered.reading, piece, temp)
        if progress is not None:
            progress(number / len(names))
    return names


async def _archive(reading: Reading, piece: Piece, output: Path) -> None:
    if is_sampled(piece.stretch):
        await _drained(copied(reading, replace(piece, shift=piece.shift - BEGIN), Layout.MATROSKA, output))
        return
    command = archive_command(find_ffmpeg(), str(output))
    limit = _limit(_length(piece.end - piece.start))
    await run(command, inputs=[fed(reading, piece)], timeout=limit, purpose="archive")


def _names(output: Path, number: int) -> list[Path]:
    numbered = (output.with_stem(f"{output.stem}-{count}") for count in itertools.count(2))
    free = (path for path in numbered if not path.exists())
    return [output, *itertools.islice(free, number - 1)]


def joins(order: Order) -> tuple[Transition | None, ...]:
    """What joins the ranges of an order, one less than those."""
    return order.transitions or (None,) * (len(order.ranges) - 1)


def feeds(reading: Reading, planned: Sequence[Sequence[Feed]]) -> list[AsyncIterator[bytes]]:
    """The streams that ffmpeg is fed for a full cut."""
    return [fed(reading, feed.piece) for each in planned for feed in each]


def _limit(length: timedelta) -> float:
    return _LONGEST_WAIT + _SLOWEST * length.total_seconds()


def _length(duration: int) -> timedelta:
    return timedelta(seconds=duration / TICKS)


@asynccontextmanager
async def spooled(output: Path) -> AsyncIterator[Path]:
    """Give the name under which to write a file that has its own only when it is whole and on disk. Raises OSError."""
    temp = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        yield temp
        await in_thread(_settle, temp, output)
    finally:
        with suppress(OSError):  # it has its name, or never came to be
            await in_thread(temp.unlink)


@asynccontextmanager
async def _new_file(path: Path) -> AsyncIterator[BinaryIO]:
    """Open a new file, which is closed also if this is cancelled while it is being opened."""
    with ExitStack() as stack:
        yield await in_thread(lambda: stack.enter_context(path.open("xb")))


def _settle(temp: Path, output: Path) -> None:
    _flush(temp, os.O_RDONLY)
    temp.replace(output)
    _flush(output.parent, os.O_RDONLY | os.O_DIRECTORY)


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
