"""The bit rates of recorded ranges: worked out once for each hour, and again only when it has changed.

Sizes are those of the facts; of a segment of which nothing is known yet, what the disk says.
"""

import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter

from common.coverage import HourCoverage
from common.segments import Segment
from common.sidecar import FactsStore
from common.store import Store, size_of

# A year of one quality, in a few megabytes.
_HOURS = 10_000

_SECOND = timedelta(seconds=1)
_start = attrgetter("start")


@dataclass(frozen=True, slots=True)
class Rates:
    """The peak bit rate of some segments (per second), and their bits and seconds in all.

    The peak is the greatest of any that follow each other and last between a half and one and a half of the target
    duration (RFC 8216 §4.1), here that of these segments.
    """

    peak: float = 0.0
    bits: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Rates") -> "Rates":
        """Put together what was measured apart; what spans the seam is not looked at."""
        return Rates(max(self.peak, other.peak), self.bits + other.bits, self.seconds + other.seconds)


def rates_of(sizes: Sequence[int], durations: Sequence[float]) -> Rates:
    """Measure segments that follow each other: their sizes in bytes, and durations in seconds."""
    bits, seconds = 8 * sum(sizes), sum(durations)
    target = max(1, math.ceil(max(durations, default=0.0)))
    least, most = target / 2, target * 1.5
    peak = 0.0
    for first in range(len(sizes)):
        size, lasts = 0, 0.0
        for following in range(first, len(sizes)):
            lasts += durations[following]
            if lasts > most:
                break
            size += sizes[following]
            if lasts >= least and 8 * size > peak * lasts:
                peak = 8 * size / lasts
    # all of it may be shorter than half a target duration
    return Rates(peak or (bits / seconds if seconds else 0.0), bits, seconds)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a range has: its newest segments, its rates, and whether all its hours have been measured."""

    newest: tuple[Segment, ...]
    rates: Rates
    complete: bool


# Which coverage of an hour was measured: the object's id alone could be that of another one by now.
_Mark = tuple[int, int, str, str]


class MeasuredHours:
    """The rates of the hours that were asked for last. It may be used from several threads; it blocks."""

    def __init__(self, store: Store, facts: FactsStore) -> None:
        """Hold none yet."""
        self._store = store
        self._facts = facts
        self._hours: OrderedDict[tuple[str, str, datetime], tuple[_Mark, Rates]] = OrderedDict()
        self._lock = threading.Lock()

    def measure(self, channel: str, quality: str, start: datetime, end: datetime, *, seconds: float) -> Measured | None:
        """Measure a range, both ends aware and included, the newest hours first; None if nothing is recorded in it.

        When so many seconds have passed, hours count with what was known of them, and those of which nothing is known
        are left to those who ask next; each who asks brings at least one hour.
        """
        newest: tuple[Segment, ...] = ()
        total, complete, measured = Rates(), True, False
        deadline = time.monotonic() + seconds
        for hour in reversed(self._store.hours_for(channel, quality, start, end)):
            key = (channel, quality, hour)
            if measured and time.monotonic() > deadline:
                kept = self._hours.get(key)
                total, complete = total + (kept[1] if kept else Rates()), complete and kept is not None
                continue
            coverage = self._store.candidates(channel, quality, hour).alone
            inside = _inside(coverage.segments, start, end)
            whole = len(inside) == len(coverage.segments)
            rates, fresh = self._whole(key, coverage) if whole else (self._rates(key, inside), False)
            measured = measured or fresh
            newest = newest or inside
            total += rates
        return Measured(newest, total, complete) if newest else None

    def _whole(self, key: tuple[str, str, datetime], coverage: HourCoverage) -> tuple[Rates, bool]:
        """Give the rates of an hour, and whether they had to be worked out."""
        segments = coverage.segments
        if not segments:
            return Rates(), False
        mark = (id(coverage), len(segments), segments[0].hash, segments[-1].hash)
        kept = self._hours.get(key)
        if kept is not None and kept[0] == mark:
            return kept[1], False
        rates = self._rates(key, segments)
        with self._lock:
            self._hours[key] = (mark, rates)
            self._hours.move_to_end(key)
            if len(self._hours) > _HOURS:
                self._hours.popitem(last=False)
        return rates, True

    def _rates(self, key: tuple[str, str, datetime], segments: Sequence[Segment]) -> Rates:
        if not segments:
            return Rates()
        channel, quality, hour = key
        known = self._facts.known(channel, quality, hour)
        folder = self._store.segment_path(channel, quality, segments[0]).parent
        sizes = [
            facts.bytes if (facts := known.get(segment.hash)) is not None else size_of(f"{folder}/{segment.name}")
            for segment in segments
        ]
        there = [(size, segment.duration / _SECOND) for size, segment in zip(sizes, segments, strict=True) if size >= 0]
        return rates_of([size for size, _ in there], [lasts for _, lasts in there])


def _inside(segments: tuple[Segment, ...], start: datetime, end: datetime) -> tuple[Segment, ...]:
    """Keep the segments that hold some instant of the range."""
    first = bisect_left(segments, start, key=_start)
    while first and segments[first - 1].end > start:
        first -= 1
    return segments[first : bisect_right(segments, end, key=_start)]
