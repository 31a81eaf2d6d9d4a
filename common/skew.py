"""By how much two nodes differ in when a segment starts, told by content that both have. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median

from common.segments import Segment, SegmentType

# Of one content at several times (a slate that is repeated) the nearest is meant; further apart it is another showing.
_LONGEST = timedelta(minutes=5)


def skew_between(ours: Iterable[Segment], theirs: Iterable[Segment]) -> timedelta | None:
    """Give how much later their segments start than ours of the same content, in the middle of all that both have.

    None if there is no such content. Only `full` ones count: of others, two nodes hardly have the same bytes.
    """
    starts: dict[str, list[datetime]] = {}
    for segment in ours:
        if segment.type is SegmentType.FULL:
            starts.setdefault(segment.hash, []).append(segment.start)
    apart = [
        min((segment.start - start for start in starts[segment.hash]), key=abs)
        for segment in theirs
        if segment.type is SegmentType.FULL and segment.hash in starts
    ]
    seconds = [each.total_seconds() for each in apart if abs(each) <= _LONGEST]
    return timedelta(seconds=median(seconds)) if seconds else None
