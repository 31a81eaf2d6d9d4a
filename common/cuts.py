"""From what an operator asks for to a plan of what goes into the video."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain, pairwise
from typing import NamedTuple

from common.pieces import CannotSpliceError, PicturesOf, Piece, plan_piece
from common.scan import Stretch
from common.ticks import TICKS

# Names and times are rounded to microseconds, the times of pictures to ticks.
TOLERANCE = 3

# Sound is written some frames at a time, so that it arrives later than it might; muxers leave it 0.1 to 0.7 seconds.
_LEAST_LEAD, _MOST_LEAD = TICKS // 10, 7 * TICKS // 10


class CutType(StrEnum):
    """How a video is made of a recording."""

    ROUGH = "rough"
    FAST = "fast"
    SMART = "smart"
    FULL = "full"
    ARCHIVE = "archive"


class VideoRange(NamedTuple):
    """A part of a video: from `start` to before `end`, aware UTC."""

    start: datetime
    end: datetime


class NothingRecordedError(ValueError):
    """A cut of a range of which nothing is recorded."""

    def __init__(self) -> None:
        """Say so, in one sentence."""
        super().__init__("Nothing is recorded in that range.")


def file_time(moment: datetime) -> str:
    """Write an aware UTC time so that every file system takes it: `2026-03-01T18-30-00Z`."""
    return moment.strftime("%Y-%m-%dT%H-%M-%SZ")


@dataclass(frozen=True, slots=True, eq=False)
class SplicePlan:
    """A video of pieces, one after the other without a gap.

    The first picture is decoded at zero and shown at `begin` ticks; all arrives up to `lead` ticks before it is due.
    """

    pieces: tuple[Piece, ...]
    lead: int
    begin: int

    @property
    def frames(self) -> int:
        """The number of pictures of the whole video."""
        return sum(piece.frames for piece in self.pieces)

    @property
    def duration(self) -> int:
        """The length of the whole video in ticks."""
        return sum(piece.end - piece.start for piece in self.pieces)

    @property
    def joins(self) -> list[int]:
        """All moments at which something joins that was apart, on the clock of the video."""
        starts = [piece.start + piece.shift for piece in self.pieces[1:]]
        return sorted([*starts, *chain.from_iterable(piece.seams for piece in self.pieces)])


def plan_splice(ranges: Sequence[tuple[datetime, datetime, Sequence[Stretch]]], pictures_of: PicturesOf) -> SplicePlan:
    """Plan a cut that is exact to the frame and copies all that it can.

    `ranges`: start and end (aware UTC, the end excluded) and the stretches that are there, with what lies around
    them; stretches follow each other as if nothing were missing between them. Raises NothingRecordedError if nothing
    is left, and CannotSpliceError if the pictures cannot be joined by copying.
    """
    pieces: list[Piece] = []
    for start, end, stretches in ranges:
        for stretch in stretches:
            low, high = stretch.at(start) - TOLERANCE, stretch.at(end) - TOLERANCE
            piece = plan_piece(stretch, low, high, pictures_of, begins=not pieces)
            pieces += [] if piece is None else [piece]
    if not pieces:
        raise NothingRecordedError
    lead = min(max(pieces[0].stretch.scans[0].lag or 0, _LEAST_LEAD), _MOST_LEAD)
    begin = moment = pieces[0].start - pieces[0].decoded[0]
    placed = []
    for piece in pieces:
        placed.append(replace(piece, shift=moment - piece.start))
        moment += piece.end - piece.start
    for before, after in pairwise(placed):
        if before.decoded[1] >= after.decoded[0]:
            raise CannotSpliceError("The order in which pictures are coded changes within the video.")
    return SplicePlan(tuple(placed), lead, begin)
