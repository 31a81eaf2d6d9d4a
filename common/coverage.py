"""From candidates to the best sequence: what covers a range of time, in order, without overlap, holes marked.

The work goes by hours, as the store does. What an hour gives does, but for its seam with the hour before, not depend
on the range that is asked for; so it is worked out once (`cover_hour`) and shared by all ranges (`best_sequence`).

Names decide, and where they leave a doubt the media's own timestamps, as far as the caller knows them (`MediaJoins`).
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

# The same content under two start times at most this far apart is one moment that two nodes have dated differently; a
# gap or an overlap of so much may be nothing but a step in the dating, too.
SAME_MOMENT = timedelta(seconds=5)

# Tells whether the timestamps within two segments run on from one to the other; None if that is not known.
MediaJoins = Callable[[Segment, Segment], bool | None]

_BEST_FIRST = (SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL)
_start = attrgetter("start")
_duration = attrgetter("duration")
_type = attrgetter("type")
_hash = attrgetter("hash")


def names_only(_earlier: Segment, _later: Segment) -> None:
    """Know nothing of the media: the names decide."""


def bridges(earlier: Segment, later: Segment, joins: MediaJoins) -> bool | None:
    """Tell whether the media runs on over a gap or an overlap that two names leave; None if that is not known.

    Never if they leave more than SAME_MOMENT, or if by its name the later one ends within the earlier one.
    """
    if abs(later.start - earlier.end) > SAME_MOMENT or later.end <= earlier.end:
        return False
    return joins(earlier, later)


class _Chain:
    """The media's timestamps, asked where names leave a doubt; `doubts` are the segments of which they told nothing."""

    def __init__(self, joins: MediaJoins) -> None:
        self._joins = joins
        self.doubts: dict[Segment, None] = {}

    def ask(self, earlier: Segment, later: Segment) -> bool | None:
        told = bridges(earlier, later, self._joins)
        if told is None:
            self.doubts.update({earlier: None, later: None})
        return told

    def bridges(self, earlier: Segment, later: Segment) -> bool:
        return self.ask(earlier, later) is True


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
    content is chosen under another start time. `doubts`: the segments, chosen or not, on whose timestamps the choice
    would depend if they were known. Equal only to itself: as long as an hour does not change, all ranges that hold it
    whole get the same object.
    """

    segments: tuple[Segment, ...]
    holes: tuple[tuple[int, Hole], ...] = ()
    overlapped: int = 0
    skewed: int = 0
    doubts: tuple[Segment, ...] = ()


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
    one at the end (None where there is none), so it is longer by one. `doubtful` are the doubts of all hours looked at.
    """

    start: datetime
    end: datetime
    hours: tuple[HourCoverage, ...]
    gaps: tuple[Hole | None, ...]
    doubtful: tuple[tuple[Segment, ...], ...] = ()

    @property
    def segments(self) -> list[Segment]:
        """The chosen segments, by start."""
        return list(chain.from_iterable(hour.segments for hour in self.hours))

    @property
    def holes(self) -> list[Hole]:
        """The holes, by start."""
        within = ((hole for _, hole in hour.holes) for hour in self.hours)
        return [hole for gap, holes in zip(self.gaps, [*within, ()], strict=True) for hole in (*_present(gap), *holes)]

    @property
    def doubts(self) -> list[Segment]:
        """The segments, by start, whose timestamps would decide what joins in the range or close to it."""
        first, last = self.start - SAME_MOMENT, self.end + SAME_MOMENT
        found = chain.from_iterable(self.doubtful)
        return sorted({segment for segment in found if segment.end >= first and segment.start <= last})

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


def cover_hour(
    candidates: Iterable[Segment], size: Callable[[Segment], int], joins: MediaJoins = names_only
) -> HourCandidates:
    """Work out what the segments that start in one hour cover; the order in which they are given is irrelevant.

    `size` gives a candidate's bytes; it is asked only where type and duration leave two candidates equal. `joins` is
    asked only where the names of two neighbours leave a gap or an overlap.
    """
    finished = sorted(candidates, key=_start)
    if SegmentType.TEMP in set(map(_type, finished)):
        finished = [item for item in finished if item.type is not SegmentType.TEMP]
    starts = list(map(_start, finished))
    best = tuple(finished if all(map(lt, starts, starts[1:])) else _best_by_start(finished, size))
    twins = frozenset[str]()
    if len(set(map(_hash, best))) < len(best):
        twins = frozenset(content for content, count in Counter(map(_hash, best)).items() if count > 1)
    alone = HourCoverage(best) if not twins and _all_join(best) else _walk(best, twins, None, {}, joins)
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


def merit(segment: Segment) -> tuple[int, timedelta]:
    """Rank a candidate among others for the same start time by what its name tells: the greater, the better."""
    return -_BEST_FIRST.index(segment.type), segment.duration


def _best(rivals: list[Segment], size: Callable[[Segment], int]) -> Segment:
    equals: list[Segment] = []
    for kind in _BEST_FIRST:
        equals = equals or [rival for rival in rivals if rival.type is kind]
    if len(equals) > 1:
        longest = max(map(_duration, equals))
        equals = [rival for rival in equals if rival.duration == longest]
    return equals[0] if len(equals) == 1 else max(equals, key=lambda rival: (size(rival), rival.hash, rival.name))


def best_sequence(
    hours: Iterable[HourCandidates],
    start: datetime,
    end: datetime,
    *,
    allow_holes: bool = True,
    joins: MediaJoins = names_only,
) -> BestSequence:
    """Put together what covers the range from `start` to `end`, both aware and both included.

    `hours`: all hours that touch the range, the one before it, and the one in which SAME_MOMENT after it lies, in
    order; they are taken one by one, so that the first hole ends the work at once if holes are refused
    (ContainsHolesError). The first segment may begin before the range, the last may end after it. `joins` is asked
    at the seams between hours; it should know what it knew when the hours were covered.
    """
    if start > end:
        raise ValueError("The range ends before it starts.")
    parts: list[HourCoverage] = []
    gaps: list[Hole | None] = []
    doubtful: list[tuple[Segment, ...]] = []
    seams = _Chain(joins)
    before: Segment | None = None  # the last one that begins too early for the range
    after: Segment | None = None  # the first one that begins too late for it
    previous: HourCoverage | None = None
    for hour in hours:
        coverage = _after(previous, hour, joins)
        doubtful += [coverage.doubts] if coverage.doubts else []
        first, last = _touched(coverage.segments, start, end)
        before = coverage.segments[first - 1] if first else before
        if first < last:
            part = _clip(coverage, first, last)
            if part.segments[0].start <= start:  # then what the hour before gave reaches in by the tolerance only
                parts, gaps = [], []
            hole = _hole_between(parts[-1].segments[-1], part.segments[0], seams) if parts else None
            hole = hole if parts else _hole_at_start(before, part.segments[0], start, seams)
            if not allow_holes:
                _refuse(hole, part)
            parts.append(part)
            gaps.append(hole)
        if last < len(coverage.segments):
            after = after or coverage.segments[last]
        previous = coverage if coverage.segments else previous
    gaps.append(_hole_at_end(parts[-1].segments[-1], after, end, seams) if parts else Hole(start, end))
    if gaps[-1] is not None and not allow_holes:
        raise ContainsHolesError(gaps[-1])
    return BestSequence(start, end, tuple(parts), tuple(gaps), (*doubtful, tuple(seams.doubts)))


def _refuse(before: Hole | None, part: HourCoverage) -> None:
    if before is not None:
        raise ContainsHolesError(before)
    if part.holes:
        raise ContainsHolesError(part.holes[0][1])


def _hole_at_start(before: Segment | None, first: Segment, start: datetime, chain: _Chain) -> Hole | None:
    if first.start - start <= JOIN_TOLERANCE or (before is not None and _hole_between(before, first, chain) is None):
        return None
    return Hole(start, first.start)


def _hole_between(earlier: Segment, later: Segment, chain: _Chain) -> Hole | None:
    close = later.start - earlier.end <= JOIN_TOLERANCE
    if earlier.type is SegmentType.FULL and (close or chain.bridges(earlier, later)):
        return None
    return Hole(min(earlier.end, later.start), later.start)


def _hole_at_end(last: Segment, after: Segment | None, end: datetime, chain: _Chain) -> Hole | None:
    if last.type is SegmentType.FULL and end - last.end <= JOIN_TOLERANCE:
        return None
    if after is not None and _hole_between(last, after, chain) is None:
        return None
    return Hole(min(last.end, end), end)


def _touched(segments: tuple[Segment, ...], start: datetime, end: datetime) -> tuple[int, int]:
    """Find the segments that hold some instant of the range: those that end after `start` and start by `end`."""
    first = bisect_right(segments, start, key=_start)
    if first and segments[first - 1].end > start:
        first -= 1
    return first, bisect_right(segments, end, lo=first, key=_start)


def _clip(hour: HourCoverage, first: int, last: int) -> HourCoverage:
    if (first, last) == (0, len(hour.segments)):
        return hour
    holes = tuple((index - first, hole) for index, hole in hour.holes if first < index < last)
    return HourCoverage(hour.segments[first:last], holes)


def _after(previous: HourCoverage | None, hour: HourCandidates, joins: MediaJoins) -> HourCoverage:
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
        fresh = _walk(hour.segments, hour.twins, last, taken, joins)
        return hour.alone if _alike(fresh, hour.alone) else fresh
    return hour.alone


def _alike(one: HourCoverage, other: HourCoverage) -> bool:
    return (one.segments, one.holes, one.doubts) == (other.segments, other.holes, other.doubts)


def _walk(
    best: tuple[Segment, ...],
    twins: frozenset[str],
    last: Segment | None,
    taken: Mapping[str, datetime],
    joins: MediaJoins,
) -> HourCoverage:
    """Choose among the best candidates of an hour, by start, after `last`; `taken` says where contents were chosen."""
    return _Walk(best, twins, last, taken, _Chain(joins)).choose()


class _Walk:
    """The choice among the best candidates of an hour, one after the other."""

    def __init__(
        self,
        best: tuple[Segment, ...],
        twins: frozenset[str],
        before: Segment | None,
        taken: Mapping[str, datetime],
        media: _Chain,
    ) -> None:
        self._best = best
        self._before = before
        self._watched = twins.union(taken)
        self._chosen_at = dict(taken)
        self._media = media
        self._chosen: list[Segment] = []
        self._holes: list[tuple[int, Hole]] = []
        self._overlapped = self._skewed = 0

    def choose(self) -> HourCoverage:
        """Go through all candidates; those that simply follow, as nearly all do, cost hardly more than a look."""
        chosen, watched = self._chosen, self._watched
        end: datetime | None = None
        for candidate in self._best:
            if (
                end is not None
                and _OVERLAP <= candidate.start - end <= JOIN_TOLERANCE
                and candidate.hash not in watched
            ):
                chosen.append(candidate)
            else:
                self._take(candidate)
            end = chosen[-1].end if chosen and chosen[-1].type is SegmentType.FULL else None
        segments = self._best if len(chosen) == len(self._best) else tuple(chosen)
        return HourCoverage(
            segments, tuple(self._holes), self._overlapped, self._skewed, doubts=tuple(self._media.doubts)
        )

    def _take(self, candidate: Segment) -> None:
        last = self._chosen[-1] if self._chosen else self._before
        if candidate.hash in self._watched and self._belongs_elsewhere(candidate, last):
            self._skewed += 1
            return
        if last is not None:
            end = last.end
            gap = candidate.start - end
            if gap < _OVERLAP and not self._media.bridges(last, candidate):
                self._overlapped += 1
                if self._replaces_last(candidate):
                    self._chosen.pop()
                    self._holes = [(index, hole) for index, hole in self._holes if index < len(self._chosen)]
                    self._take(candidate)
                return
            broken = last.type is not SegmentType.FULL or (
                gap > JOIN_TOLERANCE and not self._media.bridges(last, candidate)
            )
            if self._chosen and broken:
                self._holes.append((len(self._chosen), Hole(min(end, candidate.start), candidate.start)))
        self._chosen.append(candidate)
        if candidate.hash in self._watched:
            self._chosen_at[candidate.hash] = candidate.start

    def _replaces_last(self, rival: Segment) -> bool:
        """Tell whether what overlaps the last chosen one is, by the media, what follows the one before that.

        Then the last chosen one, which only begins earlier, must be of no better type, and either of a worse one or
        not follow itself.
        """
        if not self._chosen or self._chosen[-1].hash in self._watched:
            return False
        last = self._chosen[-1]
        before = self._chosen[-2] if len(self._chosen) > 1 else self._before
        (rank, _), (others_rank, _) = merit(rival), merit(last)
        if before is None or rank < others_rank or not self._media.bridges(before, rival):
            return False
        return rank > others_rank or self._media.ask(before, last) is False

    def _belongs_elsewhere(self, candidate: Segment, last: Segment | None) -> bool:
        """Tell whether a content that stands under several start times is, or will be, chosen under another one.

        What joins the segment before it is never passed over: a slate that an encoder repeats has one content, too.
        """
        if last is not None and _join(last, candidate):
            return False
        before = self._chosen_at.get(candidate.hash)
        if before is not None and candidate.start - before <= SAME_MOMENT:
            return True
        here = bisect_right(self._best, candidate.start, key=_start)
        near = bisect_right(self._best, candidate.start + SAME_MOMENT, lo=here, key=_start)
        others = [other for other in self._best[here:near] if other.hash == candidate.hash]
        if last is not None and any(_join(last, other) for other in others):
            return True
        rivals = [other for other in others if other.start < candidate.end]
        if last is not None and len(rivals) < len(others) and self._media.bridges(last, candidate):
            others = rivals  # the rest is not only dated differently, but in another place, and this one is right
        return not _joins_next(candidate, self._best) and any(_joins_next(other, self._best) for other in others)


def _join(earlier: Segment, later: Segment) -> bool:
    return abs(later.start - earlier.end) <= JOIN_TOLERANCE


def _joins_next(segment: Segment, best: tuple[Segment, ...]) -> bool:
    index = bisect_left(best, segment.end - JOIN_TOLERANCE, key=_start)
    return index < len(best) and best[index].start > segment.start and _join(segment, best[index])
