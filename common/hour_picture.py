"""An hour of a recording as a line of characters, one for each minute, as terminals show it; pure."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.coverage import BestSequence, Hole
from common.dateutil import HOUR
from common.segments import SegmentType

CELLS = 60
_CELL = HOUR / CELLS

NOTHING, SOME, DOUBTFUL, FULL, OUTSIDE = "·", "▒", "▓", "█", " "


@dataclass(frozen=True, slots=True)
class HourPicture:
    """One hour: a character for each minute, the share covered (0 to 1) of what was asked, and the facts for JSON."""

    start: datetime
    cells: str
    share: float
    segments: dict[str, int]
    holes: tuple[Hole, ...]


def picture_hour(start: datetime, sequence: BestSequence) -> HourPicture:
    """Draw the hour that begins at `start`, of which `sequence` covers all or a part.

    A minute is whole if no hole takes anything of it, and all of the hour is covered if no minute has a hole.
    """
    missing = [timedelta()] * CELLS
    for hole in sequence.holes:
        for cell in _touched(start, hole.start, hole.end):
            missing[cell] += _overlap(start + cell * _CELL, hole.start, hole.end)
    segments = sequence.segments
    odd = (segment for segment in segments if segment.type is not SegmentType.FULL)
    doubtful = {cell for segment in odd for cell in _touched(start, segment.start, segment.end)}
    asked = [_overlap(start + cell * _CELL, sequence.start, sequence.end) for cell in range(CELLS)]
    length = sum(asked, timedelta())
    return HourPicture(
        start,
        "".join(_cell(asked[cell], missing[cell], doubtful=cell in doubtful) for cell in range(CELLS)),
        1 - sum(missing, timedelta()) / length if length else 0.0,
        # what reaches in from the hour before, or begins as this one ends, is counted there
        dict(Counter(segment.type.value for segment in segments if start <= segment.start < start + HOUR)),
        tuple(sequence.holes),
    )


def _cell(asked: timedelta, missing: timedelta, *, doubtful: bool) -> str:
    if not asked:
        return OUTSIDE
    if missing:
        return NOTHING if missing >= asked else SOME
    return DOUBTFUL if doubtful else FULL


def _touched(start: datetime, begin: datetime, end: datetime) -> range:
    """Give the cells of the hour at `start` that have a part in the time from `begin` to `end`."""
    return range(max(0, (begin - start) // _CELL), min(CELLS, -((start - end) // _CELL)))


def _overlap(cell: datetime, begin: datetime, end: datetime) -> timedelta:
    return max(timedelta(), min(cell + _CELL, end) - max(cell, begin))
