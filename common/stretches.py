"""What is recorded of a range, as stretches of time that fill it from end to end; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.coverage import BestSequence, Hole
from common.segments import Segment, SegmentType


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time, aware UTC and never empty, and the type of what is recorded of it; None: nothing is."""

    start: datetime
    end: datetime
    type: SegmentType | None

    @property
    def duration(self) -> timedelta:
        """Its length."""
        return self.end - self.start


def stretches(sequence: BestSequence) -> list[Stretch]:
    """Give the range of a sequence as stretches, in order: they follow each other, and no two in a row are alike.

    What two segments hold counts once, for the earlier one. Where two segments join although their names leave a gap,
    the later one has it.
    """
    found: list[Stretch] = []
    for part in _parts(sequence):
        last = found[-1] if found else None
        if last is not None and last.type is part.type:
            found[-1] = Stretch(last.start, part.end, last.type)
        else:
            found.append(part)
    return found


def _parts(sequence: BestSequence) -> Iterator[Stretch]:
    reached, kind = sequence.start, None
    item: Segment | Hole
    for item in sequence:
        kind = item.type if isinstance(item, Segment) else None
        end = min(item.end, sequence.end)
        if end > reached:
            yield Stretch(reached, end, kind)
            reached = end
    if reached < sequence.end:  # by no more than two segments may be apart that join
        yield Stretch(reached, sequence.end, kind)
