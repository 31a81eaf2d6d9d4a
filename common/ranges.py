"""The segments of a range as a cut takes them: read, proved by their names, and the next best in place of what is not.

All of it blocks.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from common.coverage import JOIN_TOLERANCE, ContainsHolesError
from common.cuts import TOLERANCE
from common.metrics import counter
from common.scan import Scan, Stretch
from common.segments import Segment, SegmentType, content_hash
from common.ticks import TICKS

log = structlog.get_logger()

# Files are read and looked at side by side; more threads only wait for each other.
_SCANNERS = 2

_DAMAGED = counter("segments_damaged", "Segments for cuts whose bytes were not those that their names tell.")


class UnreadableSegmentError(Exception):
    """A segment that no cut can be made of, and the reason in a sentence."""

    def __init__(self, segment: Segment, why: str) -> None:
        """Say which, and why."""
        super().__init__(f"The segment {segment.hour}/{segment.name} cannot be cut. {why}")
        self.segment = segment
        self.reason = why


@dataclass(frozen=True, slots=True)
class Range:
    """What a video takes from a recording: from `start` to before `end`, both aware UTC.

    `segments` are those that cover it and, as far as they are there and asked for, what lies around it. With
    `allow_holes`, those that cannot be read are left out, and one that is not all there goes in as far as it goes.
    """

    start: datetime
    end: datetime
    segments: tuple[Segment, ...]
    allow_holes: bool = False

    def needs(self, segment: Segment) -> bool:
        """Tell whether it must not be left out."""
        return not self.allow_holes and segment.start < self.end and segment.end > self.start


# Gives the segments of a range without some; raises ContainsHolesError if then there is a hole that is refused.
Instead = Callable[[Range, frozenset[Segment]], tuple[Segment, ...]]

# Scans a segment, of which all must be there, or not; raises UnreadableSegmentError and OSError.
ScanSegment = Callable[[Segment, bool], Scan]


def check_content(segment: Segment, content: NDArray[np.uint8]) -> None:
    """See that bytes are those that a segment's name tells. Raises UnreadableSegmentError."""
    if content_hash(hashlib.sha256(content.data).digest()) == segment.hash:
        return
    _DAMAGED.inc()
    log.warning("segment_damaged", segment=f"{segment.hour}/{segment.name}", bytes=content.nbytes)
    raise UnreadableSegmentError(segment, "Its bytes are not those that were recorded.")


def scan_range(wanted: Range, scan: ScanSegment, instead: Instead) -> list[tuple[Segment, Scan]]:
    """Scan the segments of a range; where one cannot be read, the next best candidates take its place.

    Raises UnreadableSegmentError for one that is needed and cannot be replaced, and OSError.
    """
    found: dict[Segment, Scan | UnreadableSegmentError] = {}
    segments, left = wanted.segments, frozenset[Segment]()
    while True:
        new = [segment for segment in segments if segment not in found]
        with ThreadPoolExecutor(_SCANNERS, "scan") as threads:
            found.update(zip(new, threads.map(partial(_try, wanted, scan), new), strict=True))
        unsound = {segment for segment in segments if not _is_sound(segment, found[segment])} - left
        if not unsound:
            return list(_scanned(segments, found))
        left |= unsound
        segments = others(wanted, instead, left, (found[segment] for segment in segments))
        broken = [segment for segment in left if isinstance(found[segment], Scan)]
        segments = tuple(sorted([*segments, *(segment for segment in broken if not _replaced(segment, segments))]))


def others(
    wanted: Range, instead: Instead, left: frozenset[Segment], found: Iterable[Scan | UnreadableSegmentError]
) -> tuple[Segment, ...]:
    """Give the segments of a range without some. Raises the first error in `found` of one that is needed."""
    try:
        return instead(wanted, left)
    except ContainsHolesError:
        needed = (each for each in found if isinstance(each, UnreadableSegmentError) and wanted.needs(each.segment))
        if (error := next(needed, None)) is not None:
            raise error from None
        raise


def check_start(wanted: Range, stretch: Stretch, start: int | None) -> None:
    """See that what is shown of a stretch begins with the first picture that a range has of it.

    `start`: when it does begin, on the stretch's clock; None if none of it is shown. Else something is missing: raises
    UnreadableSegmentError, which names the segment, if holes are refused.
    """
    low, high = stretch.at(wanted.start) - TOLERANCE, stretch.at(wanted.end) - TOLERANCE
    due = stretch.pts[(stretch.pts >= low) & (stretch.pts < high)]
    if not len(due) or stretch.programme.video is None or (start is not None and start <= due.min()):
        return
    segment = stretch.segments[stretch.segment_of(int(np.flatnonzero(stretch.pts == due.min())[0]))]
    if not wanted.allow_holes:
        raise UnreadableSegmentError(segment, "Its first pictures need what came before, and that is not there.")
    missing = (high if start is None else start) - int(due.min())
    log.warning("pictures_left_out", segment=f"{segment.hour}/{segment.name}", seconds=round(missing / TICKS, 3))


def _try(wanted: Range, scan: ScanSegment, segment: Segment) -> Scan | UnreadableSegmentError:
    try:
        return scan(segment, wanted.needs(segment))
    except UnreadableSegmentError as error:
        return error


def _is_sound(segment: Segment, found: Scan | UnreadableSegmentError) -> bool:
    """Tell whether nothing else needs to be looked for: not where a file is shorter than it was."""
    return isinstance(found, Scan) and (found.breaks is None or segment.type is SegmentType.PARTIAL)


def _replaced(segment: Segment, others: Iterable[Segment]) -> bool:
    first, last = segment.start + JOIN_TOLERANCE, segment.end - JOIN_TOLERANCE
    return any(other.start < last and other.end > first for other in others)


def _scanned(
    segments: Iterable[Segment], found: dict[Segment, Scan | UnreadableSegmentError]
) -> Iterator[tuple[Segment, Scan]]:
    for segment in segments:
        scanned = found[segment]
        if isinstance(scanned, Scan):
            yield segment, scanned
    kept = {*segments}
    for segment, error in found.items():
        if isinstance(error, UnreadableSegmentError) and segment not in kept:
            log.warning("segment_left_out", segment=f"{segment.hour}/{segment.name}", reason=error.reason)
