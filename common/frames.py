"""Stills of a recording: first a plan, which finds the frame, then its picture.

Plans block, since they look at the disk: asyncio code makes them in a thread.
"""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from common.clips import NoPictureError, Piece, form_of, picture_slot, pieces_of, read, tag_of
from common.coverage import JOIN_TOLERANCE
from common.dateutil import format_utc
from common.facts import Facts, TrackKind, joins
from common.ffmpeg import FfmpegError, find_ffmpeg, stream
from common.frame_times import FrameTimes, NoFramesError, frame_times
from common.levels import Size
from common.picture_commands import Form, frames_command
from common.segments import Segment, SegmentType
from common.sidecar import FactsStore
from common.store import Store
from common.timed import timed
from common.waits import in_thread

log = structlog.get_logger()

# A segment that does not begin with a key frame is decoded from the last one that does, this long ago at most.
_ENTRY_WITHIN: Final = timedelta(seconds=60)

# Where the very frame cannot be decoded, the last of so many before it that can be is what a player shows.
_FRAMES_BACK: Final = 16

# Without a byte for so long, ffmpeg hangs; a second's work takes it milliseconds.
_PATIENCE_SECONDS: Final = 30.0

# No picture of a video is larger: 8K without compression.
_MOST_PNG_BYTES: Final = 128 << 20
_PNG_HEAD: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class FramePlan:
    """One frame: which, and what must be decoded for it.

    `tag` names what is seen, and is the same wherever and whenever the same segments are recorded. `settled`: nothing
    better can still be recorded for that moment.
    """

    pieces: tuple[Piece, ...]
    form: Form
    times: FrameTimes
    index: int
    tag: str
    settled: bool


def plan_frame(store: Store, facts: FactsStore, channel: str, quality: str, moment: datetime) -> FramePlan:
    """Find the frame on screen at a moment (aware UTC): the last that has begun. Raises NoPictureError if none has.

    A segment's first frame is shown at its start, the others as much later as their timestamps tell.
    """
    before = moment - JOIN_TOLERANCE  # where two segments join, there may be as much between them
    segments = [each for each in store.sequence(channel, quality, before, moment).segments if each.start <= moment]
    if not segments:
        raise NoPictureError(f"Nothing is recorded at {format_utc(moment)}.")
    segment = segments[-1]
    known = facts.probe_missing(channel, quality, [segment]).get(segment.hash)
    if known is None:
        raise FileNotFoundError(segment.name)
    if known.error is not None:
        raise NoPictureError(f"The segment at {format_utc(moment)} is damaged. {known.error}")
    form = form_of(known)
    try:
        times = frame_times(store.segment_path(channel, quality, segment).read_bytes(), form)
    except NoFramesError as error:
        raise NoPictureError(f"There is no picture at {format_utc(moment)}. {error}") from error
    index = times.index_at(moment - segment.start)
    needed = [segment]
    if not _can_begin(known) or times.times[index] < times.entry:
        needed = _from_key_frame(store, facts, channel, quality, segment)
    known_of = facts.probe_missing(channel, quality, needed)
    pieces = pieces_of(store, channel, quality, needed, known_of)
    tag = tag_of("frame", *(each.hash for each in needed), index)
    return FramePlan(pieces, form, times, index, tag, settled=segment.type is SegmentType.FULL)


def _from_key_frame(store: Store, facts: FactsStore, channel: str, quality: str, segment: Segment) -> list[Segment]:
    """Go back to where decoding can begin: the segments up to this one, without a break, the first with a key frame.

    Without such a one they are those that there are: there may be pictures that refresh themselves bit by bit.
    """
    found = [segment]
    sequence = store.sequence(channel, quality, segment.start - _ENTRY_WITHIN, segment.start)
    earlier = [each for each in sequence.segments if each.start < segment.start]
    for each in reversed(earlier):
        known = facts.probe_missing(channel, quality, [each, found[0]])
        here, next_one = known.get(each.hash), known.get(found[0].hash)
        if each.type is not SegmentType.FULL or found[0].start - each.end > JOIN_TOLERANCE:
            break
        if here is None or next_one is None or not joins(here, next_one) or here.init_hash != next_one.init_hash:
            break
        found.insert(0, each)
        if _can_begin(here):
            break
    return found


def _can_begin(facts: Facts) -> bool:
    """Tell whether decoding can begin with a segment: it needs a key frame, and the parameter sets with it."""
    picture = facts.track(TrackKind.VIDEO)
    return bool(facts.key_frame) and picture is not None and picture.format.width is not None


@timed("frame", "Making the picture of a frame.")
async def draw_frame(plan: FramePlan, fit: Size | None = None) -> bytes:
    """Make the PNG of a frame, in its full resolution or as small as it must be to `fit`.

    Raises NoPictureError if it cannot be decoded, OSError if what it needs cannot be read.
    """
    times = plan.times.times
    wanted = times[plan.index] - times[0]
    earliest = times[max(0, plan.index - _FRAMES_BACK)] - times[0]
    async with picture_slot("frame"):
        for low in (wanted, earliest):
            program = await in_thread(find_ffmpeg)
            command = frames_command(program, plan.form, times[0], (low, wanted), bt709=plan.times.untagged_hd, fit=fit)
            if pictures := await _gather(command, plan.pieces):
                return pictures[pictures.rindex(_PNG_HEAD) :]
    raise NoPictureError("The picture at that moment is damaged and cannot be decoded.")


async def _gather(command: list[str], pieces: Iterable[Piece]) -> bytes:
    """All that ffmpeg makes of the pieces, as far as it comes; empty if it fails."""
    made = bytearray()
    try:
        made_of = stream(command, inputs=[read(pieces)], timeout=_PATIENCE_SECONDS, purpose="frame")
        async with aclosing(made_of) as chunks:
            async for chunk in chunks:
                made += chunk
                if len(made) > _MOST_PNG_BYTES:
                    return b""
    except FfmpegError as error:
        log.info("frame_undecodable", reason=str(error))
    return bytes(made)
