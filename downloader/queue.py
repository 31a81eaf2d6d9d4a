"""The fetches of one quality: side by side, the live edge first, each again and again until it is done or hopeless."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from common import metrics
from common.addresses import without_secrets
from common.dateutil import format_utc
from common.segments import SegmentType
from common.waits import backoff, in_thread
from downloader.fetch import Fetched, Fetcher, Target
from downloader.held import newest_end
from downloader.outcomes import FetchError, Reason
from downloader.report import Report
from downloader.retries import Tries, is_hopeless, is_settled
from downloader.timeline import NewSegment, Timeline

log = structlog.get_logger()

# Four at a time, and the live edge never waits: what is new goes before what failed, and that before the older entries
# of a long playlist that were there at its first sight.
_FETCHES = 4
_FRESH, _FAILED, _BACKLOG = range(3)

# More than a day of segments of two seconds: what is beyond is not kept in mind, however long the playlists are. The
# newest always are.
_MOST_WAITING = 50_000
_NEWEST = 3

_LONGEST_PAUSE = 15.0
_FIRST_PAUSE = 0.5

# A cache that keeps half a segment does so for some seconds; and there is no hurry, since it is on disk.
_DOUBT_PAUSE = 2.0

# A segment that no playlist has shown for so long is no longer listed: more than the time between two looks.
_LISTED = timedelta(seconds=20)

_SEGMENTS = metrics.counter("segments_recorded", "Segments written.", "channel", "quality", "type")
_SECONDS = metrics.counter("recorded_media_seconds", "Seconds of media written as full.", "channel", "quality")
_BYTES = metrics.counter("recorded_bytes", "Bytes written.", "channel", "quality")
_RETRIES = metrics.counter("segment_fetch_failures", "Fetches of a segment that failed.", "channel", "quality")
_NEWEST_END = metrics.gauge(
    "newest_segment_end_timestamp_seconds", "Unix time at which the newest segment ends.", "channel", "quality"
)
_LAG = metrics.gauge(
    "recording_lag_seconds", "How far the end of the newest segment is behind now.", "channel", "quality"
)
_LISTED_SECONDS = metrics.seconds(
    "segment_seen_to_disk", "Time from a segment's first sight to its commit.", "channel", "quality"
)


def recorded_bytes() -> float:
    """Give how many bytes of segments were written since the start, of all channels."""
    return metrics.total(_BYTES)


@dataclass(frozen=True, slots=True, order=True)
class _Job:
    """A segment to be fetched; the least goes first. `since` is when it was first seen (the loop's clock).

    `doubts` is how often it has come, and been odd: it is there as `suspect`, and this is a try for something better.
    """

    urgency: int
    number: int
    segment: NewSegment = field(compare=False)
    since: float = field(compare=False)
    failed: int = field(default=0, compare=False)
    doubts: int = field(default=0, compare=False)


@dataclass(slots=True)
class FetchQueue:
    """Fetches what is put into it, and reports what becomes of it; the `timeline` knows other ways to a segment."""

    target: Target
    fetcher: Fetcher
    timeline: Timeline
    report: Report
    now: Callable[[], datetime]
    _jobs: asyncio.PriorityQueue[_Job] = field(default_factory=asyncio.PriorityQueue)
    _waiting: int = 0
    _odd: int = 0
    _newest: float = 0.0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def put(self, new: Sequence[NewSegment], *, urgent: int | None = None) -> None:
        """Queue segments, oldest first; only the last ones are `urgent` (None: all)."""
        now = asyncio.get_running_loop().time()
        for index, segment in enumerate(new):
            before_end = len(new) - index
            self.report.offered(segment)
            if self._waiting >= _MOST_WAITING and before_end > _NEWEST:
                self._lose(segment, Reason.EXPIRED, "There is more to fetch than can be kept in mind.")
                continue
            urgency = _FRESH if urgent is None or before_end <= urgent else _BACKLOG
            self._waiting += 1
            self._jobs.put_nowait(_Job(urgency, next(self._numbers), segment, now))

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_lag())
                for _ in range(_FETCHES):
                    group.create_task(self._fetch_queued())
        finally:
            await self.fetcher.close()

    async def _watch_lag(self) -> None:
        """Have the lag shown from the start: behind what the store holds already, or else behind this moment."""
        began = self.now().timestamp()
        _LAG.labels(self.target.channel, self.target.quality).set_function(
            lambda: self.now().timestamp() - (self._newest or began)
        )
        with suppress(OSError):  # whoever needs the store for more complains of it
            end = await in_thread(newest_end, self.target)
            if end is not None:
                self._note_newest(end)

    async def _fetch_queued(self) -> None:
        while True:
            job = await self._jobs.get()
            outcome = await self._attempt(job)
            if isinstance(outcome, FetchError):
                self._try_later(job, outcome)
            elif is_settled(outcome.segment.type, job.segment, job.doubts, self._odd):
                self._waiting -= 1
                self._odd = 0 if outcome.segment.type is SegmentType.FULL else self._odd + 1
            else:
                self._again(replace(job, doubts=job.doubts + 1), first=_DOUBT_PAUSE)

    async def _attempt(self, job: _Job) -> Fetched | FetchError:
        # another session may have another way to it, which is tried in turn with the first
        ways, _ = self.timeline.ways(job.segment.entry)
        entry = replace(ways[job.failed % len(ways)], duration=job.segment.entry.duration)
        try:
            fetched = await self.fetcher.fetch(replace(job.segment, entry=entry))
        except FetchError as error:
            return error
        except Exception:  # the edge of a fetch: what nobody thought of must not end all the others
            log.exception("fetch_broke", **self._about(job.segment))
            return FetchError("Something went wrong here; the log says what.", Reason.UNUSABLE, gone=False)
        self._account(fetched, asyncio.get_running_loop().time() - job.since)
        return fetched

    def _try_later(self, job: _Job, failure: FetchError) -> None:
        """Put a segment back for after a pause, in which others are fetched, until there is no hope."""
        loop = asyncio.get_running_loop()
        failed = job.failed + 1
        _RETRIES.labels(self.target.channel, self.target.quality).inc()
        log.warning("segment_fetch_failed", **self._about(job.segment), reason=str(failure), attempt=failed)
        _, listed_at = self.timeline.ways(job.segment.entry)
        listed = listed_at is not None and self.now() - listed_at <= _LISTED
        if is_hopeless(failure, Tries(failed, loop.time() - job.since, listed)):
            self._waiting -= 1
            if not job.doubts:
                self._lose(job.segment, failure.reason, str(failure))
            return
        self._again(job)

    def _again(self, job: _Job, *, first: float = _FIRST_PAUSE) -> None:
        """Put a segment back for after a pause, of up to `first` seconds after the first attempt, and growing."""
        again = replace(job, urgency=max(job.urgency, _FAILED), failed=job.failed + 1)
        pause = backoff(again.failed, first=first, most=_LONGEST_PAUSE)
        asyncio.get_running_loop().call_later(pause, self._jobs.put_nowait, again)

    def _lose(self, segment: NewSegment, reason: Reason, sentence: str) -> None:
        self.report.missing(segment, reason)
        log.error("segment_lost", **self._about(segment), reason=sentence)

    def _account(self, fetched: Fetched, since_seen: float) -> None:
        channel, quality, segment = self.target.channel, self.target.quality, fetched.segment
        self.report.recorded(segment)
        _SEGMENTS.labels(channel, quality, segment.type.value).inc()
        _BYTES.labels(channel, quality).inc(fetched.bytes)
        _LISTED_SECONDS.labels(channel, quality).observe(since_seen)
        if segment.type is SegmentType.FULL:
            _SECONDS.labels(channel, quality).inc(segment.duration.total_seconds())
        self._note_newest(segment.end)
        log.info(
            "segment_committed",
            **self.target.where(),
            start=format_utc(segment.start),
            duration=segment.duration.total_seconds(),
            type=segment.type.value,
            bytes=fetched.bytes,
            seconds=round(fetched.seconds, 3),
            **({"remarks": fetched.remarks} if fetched.remarks else {}),
        )

    def _note_newest(self, end: datetime) -> None:
        self._newest = max(self._newest, end.timestamp())
        _NEWEST_END.labels(self.target.channel, self.target.quality).set(self._newest)

    def _about(self, segment: NewSegment) -> dict[str, str]:
        url = without_secrets(segment.entry.uri)
        return {**self.target.where(), "start": format_utc(segment.start), "url": url}
