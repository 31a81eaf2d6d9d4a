"""What a live playlist has listed so far: an append-only ledger, worked out from what arrived when. Pure.

Between two reloads of a playlist, entries may only be appended, or removed at its head (RFC 8216 §6.2.1). So the
question is not only what is recorded, but also in which order it came. A ledger opens at some moment with the best
sequence of all that was there, and from then on lists each segment when it has come and joins what is listed; what
comes too late for its place is left out. The result depends only on the segments and on the times of their arrival,
never on when or how often it is asked for: so several processes agree, and a restart changes nothing.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from operator import attrgetter

from common.coverage import (
    JOIN_TOLERANCE,
    SAME_MOMENT,
    BestSequence,
    Hole,
    MediaJoins,
    bridges,
    merit,
    names_only,
)
from common.segments import Arrival, Segment, SegmentType

# What is missing at the live edge, or came broken, may only be late: segments are fetched side by side, and again when
# a fetch fails. So long, from the first arrival of anything behind it, nothing behind it is listed.
EDGE_HELD = timedelta(seconds=12)

# How far before the opening of a ledger its edge may be. What lies further back has been waited for.
_EDGE = timedelta(minutes=2)

LONG_AGO = datetime.min.replace(tzinfo=UTC)

_start = attrgetter("segment.start")


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed segment; `broken`: nothing promises that it joins the one before it (EXT-X-DISCONTINUITY)."""

    segment: Segment
    broken: bool


@dataclass(slots=True)
class Ledger:
    """The entries of one live playlist, oldest first, with their numbers.

    `first` is the Media Sequence Number of the first entry that is still listed, `first_break` its Discontinuity
    Sequence Number: how many breaks have been removed with the entries before it. `breaks` tells of two segments whose
    times join whether the media breaks between them all the same; `joins` of two whose times do not, whether the media
    runs on. Both must know by then what they will ever know, since what is listed stays.
    """

    breaks: Callable[[Segment, Segment], bool]
    joins: MediaJoins = names_only
    entries: list[Entry] = field(default_factory=list)
    first: int = 0
    first_break: int = 0
    _waiting: list[Arrival] = field(default_factory=list)
    _time: datetime = LONG_AGO
    _removed: Segment | None = None

    @property
    def last(self) -> Segment | None:
        """What was listed last, even if it has been removed since."""
        return self.entries[-1].segment if self.entries else self._removed

    def advance(self, arrivals: Iterable[Arrival], now: datetime) -> None:
        """Take in what arrived since the last time, in the order of arrival and none after `now`; list what can be."""
        for arrival in arrivals:
            self._list_until(arrival.at)
            self._time = max(self._time, arrival.at)
            self._wait(arrival)
            self._list_until(arrival.at)
        self._list_until(now)

    def forget(self, before: datetime) -> None:
        """Remove the entries that start before a moment: their hours have been deleted."""
        gone = sum(1 for _ in takewhile(lambda entry: entry.segment.start < before, self.entries))
        self.first += gone
        self.first_break += sum(entry.broken for entry in self.entries[:gone])
        self._removed = self.last
        del self.entries[:gone]

    def _wait(self, arrival: Arrival) -> None:
        rival = next((rival for rival in self._waiting if rival.segment.start == arrival.segment.start), None)
        if rival is None:
            insort(self._waiting, arrival, key=_start)
        elif merit(arrival.segment) > merit(rival.segment) or arrival.segment == rival.segment:
            # its place has been waited for since the rival came
            self._waiting[self._waiting.index(rival)] = arrival._replace(at=rival.at)

    def _list_until(self, now: datetime) -> None:
        """List what may be listed at `now`, each at the time from which it may."""
        while self._waiting:
            nearest = self._waiting[0]
            due = self._time if self._is_ready(nearest.segment) else self._held_until()
            if due > now:
                return
            self._time = max(self._time, due)
            del self._waiting[0]
            if not self._is_passed_over(nearest):
                self.entries.append(Entry(nearest.segment, self._is_broken_before(nearest.segment)))

    def _held_until(self) -> datetime:
        return max(self._time, min(arrival.at for arrival in self._waiting) + EDGE_HELD)

    def _is_ready(self, segment: Segment) -> bool:
        """Tell whether there is nothing to wait for: it is whole and joins, or has come too late for its place."""
        if self.last is None:
            return False
        if self._follows(segment):
            return segment.type is SegmentType.FULL
        return segment.start < self.last.end

    def _is_passed_over(self, nearest: Arrival) -> bool:
        if nearest.hidden is not None and nearest.hidden <= self._time:
            return True
        if self.last is None:
            return False
        if self._follows(nearest.segment):
            return False
        return nearest.segment.start < self.last.end or self._is_listed_nearby(nearest.segment)

    def _follows(self, segment: Segment) -> bool:
        """Tell whether it joins the last one listed: by their times or, where these leave a doubt, by the media.

        Never if it starts before the last one: what is listed is in the order of its starts, as in a best sequence.
        """
        last = self.last
        if last is None or segment.start <= last.start:
            return False
        return abs(segment.start - last.end) <= JOIN_TOLERANCE or bridges(last, segment, self.joins) is True

    def _is_listed_nearby(self, segment: Segment) -> bool:
        """Tell whether its content is listed under another start time a few seconds before."""
        recent = takewhile(lambda entry: segment.start - entry.segment.start <= SAME_MOMENT, reversed(self.entries))
        return any(entry.segment.hash == segment.hash for entry in recent)

    def _is_broken_before(self, segment: Segment) -> bool:
        last = self.last
        if last is None:
            return False
        if last.type is not SegmentType.FULL or not self._follows(segment):
            return True
        return self.breaks(last, segment)


def open_ledger(
    sequence: BestSequence,
    at: Callable[[Segment], datetime],
    opened: datetime,
    breaks: Callable[[Segment, Segment], bool],
    joins: MediaJoins = names_only,
) -> Ledger:
    """Open a ledger with the best sequence of what was there at `opened`, up to its live edge.

    `at` tells when a segment arrived; it is asked only for those of the last minutes. `joins` is what the sequence was
    made by.
    """
    ledger = Ledger(breaks, joins)
    items = list(sequence)
    edge = _edge(items, at, opened)
    broken = False
    for item in items[:edge]:
        if isinstance(item, Hole):
            broken = bool(ledger.entries)
        else:
            joined = bool(ledger.entries) and not broken
            ledger.entries.append(Entry(item, broken or (joined and breaks(ledger.entries[-1].segment, item))))
            broken = False
    behind = sorted(
        (Arrival(item, at(item)) for item in items[edge:] if isinstance(item, Segment)), key=attrgetter("at")
    )
    ledger.advance(behind, opened)
    return ledger


def _edge(items: Sequence[Segment | Hole], at: Callable[[Segment], datetime], opened: datetime) -> int:
    """Find the first item at which the edge is held: a young hole, or a young segment that is not whole."""
    earliest = None
    edge = len(items)
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if item.end < opened - _EDGE:
            break
        if isinstance(item, Segment):
            arrived = at(item)
            earliest = arrived if earliest is None else min(arrived, earliest)
            held = item.type is not SegmentType.FULL
        else:
            held = index > 0  # nothing is before a hole at the start that could be waited with
        if held and earliest is not None and opened < earliest + EDGE_HELD:
            edge = index
    return edge
