"""From candidates to the best sequence: what covers a range of time, in order, without overlap, holes marked.

The work goes by hours, as the store does. What an hour gives does, but for its seam with the hour before, not depend
on the range that is asked for; so it is worked out once (`cover_hour`) and shared by all ranges (`best_sequence`).
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, groupby
from operator import add, attrgetter, lt, sub

from common.dateutil import format_utc
from common.segments import Segment, SegmentType

# Neighbours whose gap or overlap is at most this join: names carry rounded durations.
JOIN_TOLERANCE = timedelta(milliseconds=10)
_OVERLAP = -JOIN_TOLERANCE

# The same content under two start times at most this far apart is one moment that two nodes have dated differently.
SAME_MOMENT = timedelta(seconds=5)

_BEST_FIRST = (SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL)
_start = attrgetter("start")
_duration = attrgetter("duration")
_type = attrgetter("type")
_hash = attrgetter("hash")


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch that no complete segment covers: aware UTC, `start` <= `end`.

    It is empty where two segments touch but nothing promises that they join, since the first is not `full`.
    """

    start: datetime
    end: datetime


class ContainsHolesError(Exception):
    """Holes were refused and there is one: the first is `hole`."""

    def __init__(self, hole: Hole) -> None:
        """Say which hole it is, in one sentence."""
        super().__init__(f"Nothing complete is recorded from {format_utc(hole.start)} to {format_utc(hole.end)}.")
        self.hole = hole


@dataclass(frozen=True, slots=True, eq=False)
class HourCoverage:
    """The best segments that start in one hour, or in the part of it that a range touches.

    `segments`: the chosen ones, by start. `holes`: the holes among them, each with the index of the segment that ends
    it, never 0. `overlapped` and `skewed`: how many were passed over since they overlap the one before, or since their
    content is chosen under another start time. Equal only to itself: as long as an hour does not change, all ranges
    that hold it whole get the same object.
    """

    segments: tuple[Segment, ...]
    holes: tuple[tuple[int, Hole], ...] = ()
    overlapped: int = 0
    skewed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class HourCandidates:
    """The best candidate for every start time of one hour, by start, and what they cover if nothing comes before.

    `twins` are the hashes that stand under more than one start time.
    """

    segments: tuple[Segment, ...]
    twins: frozenset[str]
    alone: HourCoverage


@dataclass(frozen=True, slots=True)
class BestSequence:
    """What covers the range from `start` to `end` (aware UTC).

    `hours` holds one entry for each hour that gives any segment; `gaps` the hole before each of them and, last, the
    one at the end (None where there is none), so it is longer by one.
    """

    start: datetime
    end: datetime
    hours: tuple[HourCoverage, ...]
    gaps: tuple[Hole | None, ...]

    @property
    def segments(self) -> list[Segment]:
        """The chosen segments, by start."""
        return list(chain.from_iterable(hour.segments for hour in self.hours))

    @property
    def holes(self) -> list[Hole]:
        """The holes, by start."""
        within = ((hole for _, hole in hour.holes) for hour in self.hours)
        return [hole for gap, holes in zip(self.gaps, [*within, ()], strict=True) for hole in (*_present(gap), *holes)]

    def __iter__(self) -> Iterator[Segment | Hole]:
        """Go through segments and holes in the order in which they come."""
        for gap, hour in zip(self.gaps, self.hours, strict=False):
            yield from _present(gap)
            done = 0
            for index, hole in hour.holes:
                yield from hour.segments[done:index]
                yield hole
                done = index
            yield from hour.segments[done:]
        yield from _present(self.gaps[-1])


def _present(gap: Hole | None) -> tuple[Hole, ...]:
    return () if gap is None else (gap,)


def cover_hour(candidates: Iterable[Segment], size: Callable[[Segment], int]) -> HourCandidates:
    """Work out what the segments that start in one hour cover; the order in which they are given is irrelevant.

    `size` gives a candidate's bytes; it is asked only where type and duration leave two candidates equal.
    """
    finished = sorted(candidates, key=_start)
    if SegmentType.TEMP in set(map(_type, finished)):
        finished = [item for item in finished if item.type is not SegmentType.TEMP]
    starts = list(map(_start, finished))
    best = tuple(finished if all(map(lt, starts, starts[1:])) else _best_by_start(finished, size))
    twins = frozenset[str]()
    if len(set(map(_hash, best))) < len(best):
        twins = frozenset(content for content, count in Counter(map(_hash, best)).items() if count > 1)
    alone = HourCoverage(best) if not twins and _all_join(best) else _walk(best, twins, None, {})
    return HourCandidates(best, twins, alone)


def _all_join(best: tuple[Segment, ...]) -> bool:
    """Tell whether an hour is, as nearly all are, complete and seamless: a look that costs no Python per item."""
    if not set(map(_type, best)) <= {SegmentType.FULL}:
        return False
    ends = map(add, map(_start, best), map(_duration, best))
    gaps = set(map(sub, map(_start, best[1:]), ends))
    return all(abs(gap) <= JOIN_TOLERANCE for gap in gaps)


def _best_by_start(finished: list[Segment], size: Callable[[Segment], int]) -> Iterator[Segment]:
    for _, group in groupby(finished, _start):
        rivals = list(group)
        yield rivals[0] if len(rivals) == 1 else _best(rivals, size)


def _best(rivals: list[Segment], size: Callable[[Segment], int]) -> Segment:
    equals: list[Segment] = []
    for kind in _BEST_FIRST:
        equals = equals or [rival for rival in rivals if rival.type is kind]
    if len(equals) > 1:
        longest = max(map(_duration, equals))
        equals = [rival for rival in equals if rival.duration == longest]
    return equals[0] if len(equals) == 1 else max(equals, key=lambda rival: (size(rival), rival.hash, rival.name))


def best_sequence(
    hours: Iterable[HourCandidates], start: datetime, end: datetime, *, allow_holes: bool = True
) -> BestSequence:
    """Put together what covers the range from `start` to `end`, both aware and both included.

    `hours`: all hours that touch the range and the one before it, in order; they are taken one by one, so that the
    first hole ends the work at once if holes are refused (ContainsHolesError). The first segment may begin before the
    range, the last may end after it.
    """
    if start > end:
        raise ValueError("The range ends before it starts.")
    parts: list[HourCoverage] = []
    gaps: list[Hole | None] = []
    previous: HourCoverage | None = None
    for hour in hours:
        coverage = _after(previous, hour)
        part = _clip(coverage, start, end)
        if part.segments:
            if part.segments[0].start <= start:  # then what the hour before gave reaches in by the tolerance only
                parts, gaps = [], []
            before = _hole_between(parts[-1].segments[-1], part.segments[0]) if parts else _hole_at_start(part, start)
            if not allow_holes:
                _refuse(before, part)
            parts.append(part)
            gaps.append(before)
        previous = coverage if coverage.segments else previous
    gaps.append(_hole_at_end(parts[-1].segments[-1], end) if parts else Hole(start, end))
    if gaps[-1] is not None and not allow_holes:
        raise ContainsHolesError(gaps[-1])
    return BestSequence(start, end, tuple(parts), tuple(gaps))


def _refuse(before: Hole | None, part: HourCoverage) -> None:
    if before is not None:
        raise ContainsHolesError(before)
    if part.holes:
        raise ContainsHolesError(part.holes[0][1])


def _hole_at_start(part: HourCoverage, start: datetime) -> Hole | None:
    first = part.segments[0].start
    return Hole(start, first) if first - start > JOIN_TOLERANCE else None


def _hole_between(earlier: Segment, later: Segment) -> Hole | None:
    if earlier.type is SegmentType.FULL and later.start - earlier.end <= JOIN_TOLERANCE:
        return None
    return Hole(min(earlier.end, later.start), later.start)


def _hole_at_end(last: Segment, end: datetime) -> Hole | None:
    if last.type is SegmentType.FULL and end - last.end <= JOIN_TOLERANCE:
        return None
    return Hole(min(last.end, end), end)


def _clip(hour: HourCoverage, start: datetime, end: datetime) -> HourCoverage:
    """Keep the segments that hold some instant of the range: those that end after `start` and start by `end`."""
    segments = hour.segments
    first = bisect_right(segments, start, key=_start)
    if first and segments[first - 1].end > start:
        first -= 1
    last = bisect_right(segments, end, lo=first, key=_start)
    if (first, last) == (0, len(segments)):
        return hour
    holes = tuple((index - first, hole) for index, hole in hour.holes if first < index < last)
    return HourCoverage(segments[first:last], holes)


def _after(previous: HourCoverage | None, hour: HourCandidates) -> HourCoverage:
    """Cover an hour after the last that gave any segment: as if alone, unless the seam between them touches it."""
    if previous is None or not hour.segments:
        return hour.alone
    last, first = previous.segments[-1], hour.segments[0]
    taken = {
        segment.hash: segment.start
        for segment in previous.segments[bisect_left(previous.segments, last.start - SAME_MOMENT, key=_start) :]
    }
    soon = hour.segments[: bisect_right(hour.segments, last.start + SAME_MOMENT, key=_start)]
    overlaps = last.end - first.start > JOIN_TOLERANCE
    if overlaps or first.hash in hour.twins or not taken.keys().isdisjoint(map(_hash, soon)):
        return _walk(hour.segments, hour.twins, last, taken)
    return hour.alone


def _walk(
    best: tuple[Segment, ...], twins: frozenset[str], last: Segment | None, taken: Mapping[str, datetime]
) -> HourCoverage:
    """Choose among the best candidates of an hour, by start, after `last`; `taken` says where contents were chosen."""
    chosen: list[Segment] = []
    holes: list[tuple[int, Hole]] = []
    overlapped = skewed = 0
    chosen_at = dict(taken)
    watched = twins.union(taken)
    end = None if last is None else last.end
    for candidate in best:
        if candidate.hash in watched and _belongs_elsewhere(candidate, best, last, chosen_at):
            skewed += 1
            continue
        if last is not None and end is not None:
            gap = candidate.start - end
            if gap < _OVERLAP:
                overlapped += 1
                continue
            if chosen and (gap > JOIN_TOLERANCE or last.type is not SegmentType.FULL):
                holes.append((len(chosen), Hole(min(end, candidate.start), candidate.start)))
        chosen.append(candidate)
        last, end = candidate, candidate.end
        if candidate.hash in watched:
            chosen_at[candidate.hash] = candidate.start
    segments = best if len(chosen) == len(best) else tuple(chosen)
    return HourCoverage(segments, tuple(holes), overlapped, skewed)


def _belongs_elsewhere(
    candidate: Segment, best: tuple[Segment, ...], last: Segment | None, chosen_at: Mapping[str, datetime]
) -> bool:
    """Tell whether a content that stands under several start times is, or will be, chosen under another one.

    What joins the segment before it is never passed over: a slate that an encoder repeats has one content, too.
    """
    if last is not None and _join(last, candidate):
        return False
    before = chosen_at.get(candidate.hash)
    if before is not None and candidate.start - before <= SAME_MOMENT:
        return True
    here = bisect_right(best, candidate.start, key=_start)
    near = bisect_right(best, candidate.start + SAME_MOMENT, lo=here, key=_start)
    others = [other for other in best[here:near] if other.hash == candidate.hash]
    if last is not None and any(_join(last, other) for other in others):
        return True
    return not _joins_next(candidate, best) and any(_joins_next(other, best) for other in others)


def _join(earlier: Segment, later: Segment) -> bool:
    return abs(later.start - earlier.end) <= JOIN_TOLERANCE


def _joins_next(segment: Segment, best: tuple[Segment, ...]) -> bool:
    index = bisect_left(best, segment.end - JOIN_TOLERANCE, key=_start)
    return index < len(best) and best[index].start > segment.start and _join(segment, best[index])
