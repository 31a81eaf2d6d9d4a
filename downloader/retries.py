"""What becomes of a segment that could not be fetched, or is odd. Pure."""

from dataclasses import dataclass

from common.segments import SegmentType
from downloader.outcomes import FetchError, Reason
from downloader.timeline import NewSegment

# Tries of a segment, with growing pauses in between: some two minutes in all, longer than most origins keep one.
MOST_TRIES = 12

# Some CDNs answer 404 for a moment for what they have just listed, or have no more on one of their machines.
_YOUNG_SECONDS = 10.0

# Whatever happens, after so long nobody waits for it any more.
_OLD_SECONDS = 600.0


# What came whole and is odd all the same is asked for so often: an origin or a cache may have had a bad moment.
_MOST_DOUBTS = 4

# So many of them in a row are no bad moment.
_ODD_BY_NATURE = 3


@dataclass(frozen=True, slots=True)
class Tries:
    """What is known of a segment: how many attempts have failed, how long ago it was new, and whether it is listed."""

    failed: int
    age: float
    listed: bool


def is_hopeless(error: FetchError, tries: Tries) -> bool:
    """Tell whether no further attempt at a segment can help, or none is worth it."""
    if tries.failed >= MOST_TRIES or tries.age > _OLD_SECONDS:
        return True
    if error.reason is Reason.EXPIRED:
        return not tries.listed and tries.age > _YOUNG_SECONDS
    return error.gone


def is_settled(kind: SegmentType, new: NewSegment, doubts: int, odd: int) -> bool:
    """Tell whether a segment that has come is as good as it gets.

    `doubts` is how often it came odd before, `odd` how many segments before it stayed `suspect`. A `suspect` one is
    fetched again some times, unless that is in the nature of the stream. After a jump of the told times it cannot be
    sound.
    """
    doubtful = kind is SegmentType.SUSPECT and not new.after_jump
    return not doubtful or doubts + 1 >= _MOST_DOUBTS or odd >= _ODD_BY_NATURE
