"""What of a stream is in the store already: after a restart its whole playlist looks new. All of it blocks."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from common.coverage import JOIN_TOLERANCE
from common.dateutil import floor_hour, hours_touching, parse_hour
from common.segments import Segment, SegmentType
from downloader.arrival import Target
from downloader.timeline import NewSegment


def missing(target: Target, new: Sequence[NewSegment]) -> list[NewSegment]:
    """Leave out what is held in full, by its start. Raises OSError if the store cannot be read."""
    hours = {floor_hour(segment.start + shift) for segment in new for shift in (-JOIN_TOLERANCE, JOIN_TOLERANCE)}
    starts = sorted(segment.start for segment in _full(target, hours))
    return [segment for segment in new if not _holds(starts, segment.start)]


def start_of(target: Target, content: str, earliest: datetime, latest: datetime) -> datetime | None:
    """Find where a content (its hash) begins that is held in full, between two moments; the latest of several.

    Raises OSError if the store cannot be read.
    """
    found = [segment.start for segment in _full(target, hours_touching(earliest, latest)) if segment.hash == content]
    return max((start for start in found if earliest <= start <= latest), default=None)


def latest_sizes(target: Target, count: int) -> list[tuple[int, timedelta]]:
    """Give the bytes and the durations of the last segments that are held in full, oldest first, at most so many.

    Only the last two hours with anything in them are looked at. Raises OSError if the store cannot be read.
    """
    store, channel, quality = target.store, target.channel, target.quality
    hours = [parse_hour(hour) for hour in store.hours(channel, quality)[-2:]]
    last = sorted(_full(target, hours), key=lambda segment: segment.start)[-count:]
    return [(store.segment_path(channel, quality, each).stat().st_size, each.duration) for each in last]


def newest_end(target: Target) -> datetime | None:
    """Tell when the last segment ends that is held in full; None if the last two hours with anything hold none.

    Raises OSError if the store cannot be read.
    """
    hours = [parse_hour(hour) for hour in target.store.hours(target.channel, target.quality)[-2:]]
    return max((segment.end for segment in _full(target, hours)), default=None)


def _full(target: Target, hours: Iterable[datetime]) -> list[Segment]:
    return [
        segment
        for hour in hours
        for segment in target.store.candidates(target.channel, target.quality, hour).segments
        if segment.type is SegmentType.FULL
    ]


def _holds(starts: list[datetime], start: datetime) -> bool:
    """Tell whether one of the sorted `starts` is `start`, within the tolerance of names."""
    nearest = bisect_left(starts, start - JOIN_TOLERANCE)
    return nearest < len(starts) and starts[nearest] - start <= JOIN_TOLERANCE
