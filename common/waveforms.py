"""The sound of a recording as a picture: first a plan, which finds it, then the picture.

Plans block, since they look at the disk: asyncio code makes them in a thread.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import structlog
from PIL import Image

from common.clips import NoPictureError, Piece, form_of, picture_slot, pieces_of, read, tag_of
from common.coverage import JOIN_TOLERANCE
from common.cuts import NothingRecordedError
from common.dateutil import format_utc
from common.facts import Facts, TrackKind, joins
from common.ffmpeg import FfmpegError, find_ffmpeg, stream
from common.levels import RATE, Levels, Size
from common.picture_commands import CHANNELS, Form, sound_command
from common.segments import Segment
from common.sidecar import FactsStore
from common.store import Store
from common.ticks import TICKS, distance
from common.timed import timed
from common.waits import in_thread

log = structlog.get_logger()

# Sound is decoded in stretches of this length, each put at the time that its first segment's name tells.
_STRETCH: Final = timedelta(minutes=5)

# Without a byte for so long, ffmpeg hangs; five minutes of sound take it half a second.
_PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class WaveformPlan:
    """The sound of a range (aware UTC): where it lies; `tag` and `settled` are as for a `FramePlan`."""

    channel: str
    quality: str
    start: datetime
    end: datetime
    segments: tuple[Segment, ...]
    tag: str
    settled: bool


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Sound that is decoded in one run: what holds it, when its first sample is heard, and when it is over."""

    pieces: tuple[Piece, ...]
    form: Form
    start: datetime
    end: datetime


def plan_waveform(store: Store, channel: str, quality: str, start: datetime, end: datetime) -> WaveformPlan:
    """Find the sound of a range (aware UTC, not empty). Raises NothingRecordedError if there is nothing at all."""
    sequence = store.sequence(channel, quality, start, end)
    segments = tuple(each for each in sequence.segments if each.start < end)
    if not segments:
        raise NothingRecordedError
    tag = tag_of("waveform", format_utc(start), format_utc(end), *(each.name for each in segments))
    return WaveformPlan(channel, quality, start, end, segments, tag, settled=not sequence.holes)


@timed(
    "waveform",
    "Making a waveform.",
    per=("media_second", lambda _, plan, *__: (plan.end - plan.start).total_seconds()),
)
async def draw_waveform(plan: WaveformPlan, store: Store, facts: FactsStore, size: Size) -> bytes:
    """Make the PNG of a waveform; from left to right it is the range, and empty where nothing is recorded.

    What cannot be decoded is empty too. Raises NoPictureError if there is no sound in all of it, OSError if a segment
    cannot be read.
    """
    levels = Levels(size.width, max(1, _samples(plan.end - plan.start)))
    heard = False
    for segments in _batches(plan.segments):
        for stretch in await in_thread(_stretches, plan, store, facts, segments):
            async with picture_slot("waveform"):
                await _listen(stretch, plan.start, levels)
            heard = True
    if not heard:
        raise NoPictureError("There is no sound in that range.")
    return await in_thread(_png, levels, size)


def _batches(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    for segment in segments:
        if batch and segment.end - batch[0].start > _STRETCH:
            yield batch
            batch = []
        batch.append(segment)
    yield batch


def _stretches(plan: WaveformPlan, store: Store, facts: FactsStore, segments: list[Segment]) -> list[_Stretch]:
    """Group segments into what can be decoded in one run; those without sound are left out."""
    known = facts.probe_missing(plan.channel, plan.quality, segments)
    audible = [each for each in segments if each.hash in known and known[each.hash].track(TrackKind.AUDIO)]
    breaks = [
        index
        for index, (earlier, later) in enumerate(pairwise(audible), 1)
        if later.start - earlier.end > JOIN_TOLERANCE or not _sound_alike(known[earlier.hash], known[later.hash])
    ]
    groups = [audible[first:last] for first, last in pairwise([0, *breaks, len(audible)]) if first < last]
    return [
        _Stretch(
            pieces_of(store, plan.channel, plan.quality, group, known),
            form_of(known[group[0].hash]),
            group[0].start + _sound_offset(known[group[0].hash]),
            group[-1].end,
        )
        for group in groups
    ]


def _sound_alike(earlier: Facts, later: Facts) -> bool:
    before, after = earlier.track(TrackKind.AUDIO), later.track(TrackKind.AUDIO)
    if before is None or after is None or before.format != after.format:
        return False
    return earlier.init_hash == later.init_hash and joins(earlier, later) is not False


def _sound_offset(facts: Facts) -> timedelta:
    """How much after its first frame a segment's sound begins; negative if before."""
    picture, sound = facts.track(TrackKind.VIDEO), facts.track(TrackKind.AUDIO)
    if picture is None or sound is None:
        return timedelta(0)
    apart = sound.first - picture.first if facts.init_bytes is not None else distance(picture.first, sound.first)
    return timedelta(seconds=apart / TICKS)


async def _listen(stretch: _Stretch, start: datetime, levels: Levels) -> None:
    """Decode a stretch into levels of a range that begins at `start`; what is damaged adds nothing."""
    place, end = _samples(stretch.start - start), _samples(stretch.end - start)
    command = sound_command(await in_thread(find_ffmpeg), stretch.form)
    rest = b""
    try:
        source = stream(command, inputs=[read(stretch.pieces)], timeout=_PATIENCE_SECONDS, purpose="waveform")
        async with aclosing(source) as chunks:
            async for chunk in chunks:
                whole = rest + chunk
                count = len(whole) // (2 * CHANNELS)
                rest = whole[count * 2 * CHANNELS :]
                levels.add(place, np.frombuffer(whole, "<i2", count * CHANNELS).reshape(count, CHANNELS))
                place += count
                if place > end + RATE:  # damaged timestamps: no segment lasts a second longer than its name says
                    return
    except FfmpegError as error:
        log.info("sound_undecodable", reason=str(error))


def _png(levels: Levels, size: Size) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels.draw(size), "RGBA").save(file, "PNG")
    return file.getvalue()


def _samples(length: timedelta) -> int:
    return round(length / timedelta(seconds=1) * RATE)
