"""Full and archive cuts: ranges of a recording as clean streams, which ffmpeg makes into a video or a file."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction

import numpy as np

from common.cuts import TOLERANCE, NothingRecordedError
from common.encoding import EncodingError, EncodingSettings, FieldOrder, VideoFormat
from common.ffmpeg import find_ffmpeg
from common.formats import read_formats
from common.full_cut import Command, Pictures, Source, full_command
from common.nal import holds_several
from common.pieces import Encode, Piece, plan_decoded
from common.ranges import Range, check_start
from common.reading import Reading
from common.sample_cuts import copied
from common.sample_files import Layout
from common.samples import is_sampled
from common.scan import Stretch
from common.smart import rate_of
from common.splice import Group, Splicer
from common.ticks import TICKS
from common.transitions import Transition
from common.verify import Expected
from common.waits import in_thread

# One encoder has made it all: a few joins stand for the rest.
_MOST_JOINS = 4

# Pictures before the beginning, which are only decoded, have times too; and none may lie below zero.
BEGIN = TICKS


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """A stretch of a range, and what ffmpeg is told of it."""

    piece: Piece
    source: Source


def plan_full(reading: Reading, ranges: Sequence[Range]) -> list[list[Feed]]:
    """Look at all segments of a cut: what ffmpeg is fed for each range. Blocks.

    Raises NothingRecordedError if a range holds nothing, UnreadableSegmentError, OSError, and EncodingError for what
    cannot be decoded.
    """
    planned = []
    for wanted in ranges:
        feeds = []
        for stretch in reading.stretches(wanted):
            low, high = stretch.at(wanted.start) - TOLERANCE, stretch.at(wanted.end) - TOLERANCE
            piece = plan_decoded(stretch, low, high, reading.pictures)
            check_start(wanted, stretch, None if piece is None else piece.start)
            if piece is not None:
                feeds.append(_feed(reading, piece))
        if not feeds:
            raise NothingRecordedError
        planned.append(feeds)
    return planned


def _feed(reading: Reading, piece: Piece) -> Feed:
    stretch = piece.stretch
    shift = BEGIN - int(stretch.dts[stretch.bounds[piece.first]])
    opened = stretch.segment_of(piece.head.opened) if piece.head else piece.first
    content, form = reading.coded(stretch.segments[opened])
    formats = read_formats(content, rate_of(stretch), form)
    if formats.picture is None and piece.first < opened and form == "mpegts":  # its parameters come earlier
        fed_before = [reading.packets(segment).tobytes() for segment in stretch.segments[piece.first : opened + 1]]
        formats = read_formats(b"".join(fed_before), rate_of(stretch))
    if formats.picture is None and stretch.programme.video is not None:
        raise EncodingError("The pictures cannot be decoded from there on.")
    shown = None if piece.head is None else _shown(piece.head, piece.end, formats.picture)
    if shown is not None and form == "mpegts" and _holds_several(reading.group(stretch, range(opened, opened + 1))):
        shown = replace(shown, count=None, shortest=0)  # only the first picture of a PES has a time
    source = Source(piece.start + shift, piece.end + shift, formats.picture, formats.sounds, shown, form)
    return Feed(replace(piece, shift=shift), source)


def _holds_several(group: Group) -> bool:
    video = group.stretch.programme.video
    return video is not None and any(holds_several(video.video, pes.payload) for pes in group.pictures().values())


def _shown(encode: Encode, end: int, picture: VideoFormat | None) -> Pictures:
    steps = np.diff(encode.pts, append=end)
    whole = picture is not None and picture.field_order is FieldOrder.PROGRESSIVE
    return Pictures(len(encode.pts) if whole else None, int(steps.min()), int(steps.max()))


def plan_archive(reading: Reading, ranges: Sequence[Range]) -> list[Piece]:
    """Look at all segments of some ranges: the stretches of them that run on, whole. Blocks. Raises as `plan_full`."""
    found = [stretch for wanted in ranges for stretch in reading.stretches(wanted)]
    if not found:
        raise NothingRecordedError
    return [_whole(stretch) for stretch in found]


def _whole(stretch: Stretch) -> Piece:
    every = range(len(stretch.segments))
    shift = BEGIN - int(stretch.dts[0])
    start, end = int(stretch.pts.min()), int(stretch.pts.max()) + stretch.step
    return Piece(stretch, start, end, shift, None, range(0), frozenset(), None, every.start, every.stop, every)


async def fed(reading: Reading, piece: Piece) -> AsyncGenerator[bytes, None]:
    """Give the stream of a stretch, its times from zero and without a wrap. Raises UnreadableSegmentError, OSError."""
    if is_sampled(piece.stretch):
        async with aclosing(copied(reading, piece, Layout.FRAGMENTS, on_ticks=True)) as parts:
            async for part in parts:
                yield part
        return
    splicer = Splicer(piece.stretch.programme, 0)
    splicer.begin()
    for number in piece.whole:
        packets = await in_thread(reading.packets, piece.stretch.segments[number])
        yield (await in_thread(splicer.whole, piece, number, packets)).tobytes()


def full_cut(
    planned: Sequence[Sequence[Feed]], transitions: Sequence[Transition | None], settings: EncodingSettings, output: str
) -> Command:
    """The command of a full cut, which is fed each stretch of each range in order; as `full_command`."""
    joins: list[Transition | None] = []
    for number, feeds in enumerate(planned):
        joins += [transitions[number - 1]] if number else []
        joins += [None] * (len(feeds) - 1)
    sources = [feed.source for feeds in planned for feed in feeds]
    return full_command(find_ffmpeg(), sources, joins, settings, output)


def expected_of_full(command: Command, *, damaged: bool) -> Expected:
    """Tell what a full cut must be; if it may be `damaged`, pictures that cannot be decoded may be missing.

    It is decoded where it begins and ends, and at some of its joins.
    """
    length = round(Fraction(command.duration // timedelta(microseconds=1), 1_000_000) * TICKS)
    shown = command.shown or Pictures(0, 0, length)
    joins = command.joins[:: max(1, -(-len(command.joins) // _MOST_JOINS))]
    places = (0, *joins, length)
    return Expected(
        shown.count,
        length,
        shown.shortest,
        shown.longest,
        places,
        command.sounds,
        primed=True,
        damaged=damaged,
    )
