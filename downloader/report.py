"""The report of truth: what the origin offered of one quality, and what became of each segment of it.

Offered is recorded, missing and under way together, always. What is missing is written down in the store
(`common.missing`), and whether the quality is being recorded in a file of its own (`common.recorder_state`).
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from common import metrics
from common.dateutil import HOUR, floor_hour
from common.missing import AWAY, STOPPED, Missing, note
from common.recorder_state import RecorderFile, RecorderState
from common.segments import Segment, SegmentType
from common.store import Store
from common.waits import in_thread
from downloader.clock import ClockWatch
from downloader.outcomes import Reason
from downloader.timeline import NewSegment

log = structlog.get_logger()

# Segments whose end is remembered: that they are told of again, or come after all, is seen for so long. A few hours.
_REMEMBERED = 10_000

# What a disk that refuses everything leaves in memory; of more, the oldest is dropped.
_MOST_UNWRITTEN = 10_000

_RETRY_SECONDS = 10.0

# What an origin dates further away than this is counted and not noted: it would get a file for each of its hours.
_NOTED = timedelta(days=31)

# Of a stream that was away the last days are noted.
_AWAY = timedelta(hours=48)

# A change of the clock's offset that is worth writing down, in seconds.
_OFFSET_STEP = 0.25

_WHERE = ("channel", "quality")
_OFFERED = metrics.counter("segments_offered", "Segments that the origin offered.", *_WHERE)
_OFFERED_SECONDS = metrics.counter("offered_media_seconds", "Seconds of media that the origin offered.", *_WHERE)
_MISSING = metrics.counter("segments_missing", "Segments offered and not recorded.", *_WHERE, "reason")
_MISSING_SECONDS = metrics.counter(
    "missing_media_seconds", "Seconds of media offered and not recorded.", *_WHERE, "reason"
)
_RECOVERED = metrics.counter("segments_recovered", "Segments recorded that had been counted as missing.", *_WHERE)
_UNDER_WAY = metrics.gauge("segments_under_way", "Segments offered and neither recorded nor given up yet.", *_WHERE)
_RECORDING = metrics.gauge("recording", "1 while a quality is being recorded.", *_WHERE)
_CLOCK_OFFSET = metrics.gauge(
    "stream_clock_offset_seconds", "How much later than by its own time the newest segment is listed.", *_WHERE
)
_CLOCK_DRIFT = metrics.gauge("stream_clock_drift_ratio", "Seconds by which the offset grows in a second.", *_WHERE)
_CLOCK_SKEWED = metrics.gauge("stream_clock_skewed", "1 while the offset is far from what is usual.", *_WHERE)


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of what was offered since the start, in segments."""

    offered: int
    recorded: Mapping[SegmentType, int]
    missing: Mapping[Reason, int]
    under_way: int


@dataclass(slots=True)
class Report:
    """What is told of one quality, in the event loop; `keep` writes it down. `now` gives aware UTC."""

    store: Store
    channel: str
    quality: str
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _under_way: dict[datetime, timedelta] = field(default_factory=dict)
    _ends: OrderedDict[datetime, SegmentType | Reason] = field(default_factory=OrderedDict)
    _offered: int = 0
    _recorded: Counter[SegmentType] = field(default_factory=Counter)
    _missing: Counter[Reason] = field(default_factory=Counter)
    _unwritten: deque[Missing] = field(default_factory=lambda: deque(maxlen=_MOST_UNWRITTEN))
    _state: RecorderState | None = None
    _written: RecorderState | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _complained: bool = False
    _clock: ClockWatch = field(default_factory=ClockWatch)

    def __post_init__(self) -> None:
        """Show that nothing is missing yet: an alert compares the first that is with it."""
        for reason in Reason:
            _MISSING.labels(self.channel, self.quality, reason.value)
            _MISSING_SECONDS.labels(self.channel, self.quality, reason.value)

    def totals(self) -> Totals:
        """Sum up."""
        return Totals(self._offered, +self._recorded, +self._missing, len(self._under_way))

    def offered(self, new: NewSegment) -> None:
        """Count an entry of a playlist; one that is known by its start is not counted again."""
        if new.start not in self._under_way and new.start not in self._ends:
            self._offer(new.start, new.entry.duration)

    def recorded(self, segment: Segment) -> None:
        """Count a segment that is in the store now; had it been missing, it no longer is.

        One that is recorded once more, for whatever doubt there was, counts as what it is now.
        """
        before = self._settle(segment.start, segment.duration)
        if isinstance(before, SegmentType):
            self._recorded[before] -= 1
        elif before is not None:
            self._missing[before] -= 1
            _RECOVERED.labels(self.channel, self.quality).inc()
        self._recorded[segment.type] += 1
        self._remember(segment.start, segment.type)

    def missing(self, new: NewSegment, reason: Reason) -> None:
        """Count a segment that was given up; one that is recorded, or missing already, stays what it is."""
        if self._settle(new.start, new.entry.duration) is not None:
            return
        self._missing[reason] += 1
        self._remember(new.start, reason)
        seconds = new.entry.duration.total_seconds()
        _MISSING.labels(self.channel, self.quality, reason.value).inc()
        _MISSING_SECONDS.labels(self.channel, self.quality, reason.value).inc(seconds)
        if abs(new.start - self.now()) <= _NOTED:
            self._write(Missing(new.start, new.entry.duration, reason.value))

    def following(self) -> None:
        """Note that the quality is being recorded."""
        self._change(RecorderState(recording=True, since=self.now()))

    def waiting(self, reason: str) -> None:
        """Note that it is not, and why, in one sentence."""
        self._change(RecorderState(recording=False, since=self.now(), reason=reason))

    def listed(self, end: datetime) -> None:
        """Note that a segment which ends at `end` (aware UTC), by the stream's own time, has just been listed."""
        changed = self._clock.saw(end, self.now())
        offset, usual, drift = self._clock.offset, self._clock.usual, self._clock.drift
        if offset is None:
            return
        where = (self.channel, self.quality)
        seconds = offset.total_seconds()
        _CLOCK_OFFSET.labels(*where).set(seconds)
        _CLOCK_SKEWED.labels(*where).set(self._clock.skewed)
        if drift is not None:
            _CLOCK_DRIFT.labels(*where).set(drift)
        if changed:
            about = {"offset_seconds": round(seconds, 3), "usual_seconds": usual and round(usual.total_seconds(), 3)}
            event, level = ("clock_skewed", log.warning) if self._clock.skewed else ("clock_agrees", log.info)
            level(event, channel=self.channel, quality=self.quality, **about)
        state = self._state
        if state and (state.clock_offset is None or abs(seconds - state.clock_offset) >= _OFFSET_STEP):
            self._state = replace(state, clock_offset=round(seconds, 3))
            self._news.set()

    async def keep(self) -> None:
        """Write down what is told, until cancelled; then the rest, and that nothing is recorded any more."""
        file = RecorderFile(self.store, self.channel, self.quality)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if not await self._save(file):
                    self._news.set()
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._stop()
            await self._save(file)
            file.close()

    def _offer(self, start: datetime, duration: timedelta) -> None:
        self._offered += 1
        self._under_way[start] = duration
        _OFFERED.labels(self.channel, self.quality).inc()
        _OFFERED_SECONDS.labels(self.channel, self.quality).inc(duration.total_seconds())
        _UNDER_WAY.labels(self.channel, self.quality).set(len(self._under_way))

    def _settle(self, start: datetime, duration: timedelta) -> SegmentType | Reason | None:
        """End what is under way; gives what it had become before, if it had."""
        before = self._ends.get(start)
        if before is None:
            if start not in self._under_way:  # nobody has told of it before: it was offered all the same
                self._offer(start, duration)
            del self._under_way[start]
            _UNDER_WAY.labels(self.channel, self.quality).set(len(self._under_way))
        return before

    def _remember(self, start: datetime, end: SegmentType | Reason) -> None:
        self._ends[start] = end
        if len(self._ends) > _REMEMBERED:
            self._ends.popitem(last=False)

    def _change(self, state: RecorderState) -> None:
        before = self._state
        _RECORDING.labels(self.channel, self.quality).set(state.recording)
        if before is None:
            self._state = state
        elif before.recording != state.recording:
            if state.recording:
                self._write(*_pieces(before.since, state.since))
            self._state = replace(state, clock_offset=before.clock_offset)
        else:
            self._state = replace(before, reason=state.reason)
        if self._state != before:
            self._news.set()

    def _stop(self) -> None:
        """Count nothing more, and leave word of what is under way."""
        under_way = ((start, length) for start, length in self._under_way.items() if abs(start - self.now()) <= _NOTED)
        self._write(*(Missing(start, length, STOPPED) for start, length in under_way))
        if self._state is not None:
            self.waiting("The recorder was stopped.")

    def _write(self, *missing: Missing) -> None:
        if missing:
            self._unwritten.extend(missing)
            self._news.set()

    async def _save(self, file: RecorderFile) -> bool:
        """Bring to disk what is not there yet; tell whether it took it."""
        missing, state = list(self._unwritten), self._state if self._state != self._written else None
        try:
            left_out = await in_thread(self._bring, file, missing, state)
        except OSError as error:
            self._complain(f"{error.filename or self.store.base}: {error.strerror}")
            return False
        for _ in range(min(len(missing), len(self._unwritten))):
            self._unwritten.popleft()
        self._written = state or self._written
        if left_out:
            self._complain(f"An hour has too many missing segments; {left_out} are not noted.")
        else:
            self._complained = False
        return True

    def _bring(self, file: RecorderFile, missing: list[Missing], state: RecorderState | None) -> int:
        if state is not None:
            file.write(state)
        return note(self.store, self.channel, self.quality, missing) if missing else 0

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning("report_not_written", channel=self.channel, quality=self.quality, reason=reason)


def _pieces(start: datetime, end: datetime) -> Iterator[Missing]:
    """Give a stretch in which the stream was away, hour by hour; a clock that was set back gives none."""
    start = max(start, end - _AWAY)
    while start < end:
        until = min(end, floor_hour(start) + HOUR)
        yield Missing(start, until - start, AWAY)
        start = until
