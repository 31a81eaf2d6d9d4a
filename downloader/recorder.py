"""One quality of one channel: follow its playlist, fetch what is new, side by side, into the store."""

import asyncio
import itertools
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from aiohttp import ClientSession

from common import metrics
from common.coverage import JOIN_TOLERANCE
from common.dateutil import floor_hour, format_utc
from common.segments import SegmentType
from common.waits import backoff, in_thread, pause
from common.web import without_secrets
from downloader.fetch import Fetched, Fetcher, FetchError, Target
from downloader.origin import OriginError, fetch_playlist
from downloader.playlist_values import MediaPlaylist
from downloader.timeline import NewSegment, Timeline, reload_after

log = structlog.get_logger()

# Four at a time, and the live edge never waits: what is new goes before what failed, and that before the older entries
# of a long playlist that were there at its first sight.
_FETCHES = 4
_NEWEST = 3
_FRESH, _FAILED, _BACKLOG = range(3)

# An origin that fails so often in a row may have moved: the manager then looks at the channel's address again.
_FAILURES_TO_MOVE = 3

# Tries of a segment, with growing pauses in between: some two minutes in all, longer than most origins keep one.
_TRIES = 12
_LONGEST_PAUSE = 15.0

_SEGMENTS = metrics.counter("segments_recorded", "Segments written.", "channel", "quality", "type")
_SECONDS = metrics.counter("recorded_media_seconds", "Seconds of media written as full.", "channel", "quality")
_BYTES = metrics.counter("recorded_bytes", "Bytes written.", "channel", "quality")
_LOST = metrics.counter("segments_lost", "Segments offered but not recorded.", "channel", "quality", "reason")
_RETRIES = metrics.counter("segment_fetch_failures", "Fetches of a segment that failed.", "channel", "quality")
_NEWEST_END = metrics.gauge("newest_segment_end_seconds", "Unix time at which the newest ends.", "channel", "quality")
_FETCH_SECONDS = metrics.seconds("segment_fetch", "Time to fetch one segment and bring it to disk.", "channel")
_PLAYLISTS = metrics.counter("playlist_fetches", "Fetches of media playlists.", "channel", "quality", "result")


class EndedError(Exception):
    """The playlist says that nothing more will come (EXT-X-ENDLIST)."""


class UnsupportedError(Exception):
    """A stream of a kind that cannot be recorded; the text is one plain sentence."""


@dataclass(frozen=True, slots=True, order=True)
class _Job:
    """A segment to be fetched; the least goes first. `attempts` have failed."""

    urgency: int
    number: int
    segment: NewSegment = field(compare=False)
    attempts: int = field(default=0, compare=False)


@dataclass(slots=True)
class Recorder:
    """Follows one media playlist after another of the same quality, and remembers what it has seen of them.

    `found` is how many segments it has found to record.
    """

    target: Target
    session: ClientSession
    found: int = 0
    _fetcher: Fetcher = field(init=False)
    _timeline: Timeline = field(default_factory=Timeline)
    _queue: asyncio.PriorityQueue[_Job] = field(default_factory=asyncio.PriorityQueue)
    _live: bool = False
    _warned: set[str] = field(default_factory=set)
    _newest: float = 0.0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._fetcher = Fetcher(self.session, self.target)

    async def fetch_forever(self) -> None:
        """Fetch what `follow` finds, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_FETCHES):
                group.create_task(self._fetch_queued())

    async def follow(self, url: str, stop: asyncio.Event) -> None:
        """Follow the media playlist at `url` until `stop`.

        Raises OriginError if it fails at once, or several times in a row; EndedError when it ends; UnsupportedError.
        """
        failures = 0
        first = True
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = loop.time()
            try:
                playlist = await self._playlist(url)
            except OriginError as error:
                failures += 1
                _PLAYLISTS.labels(self.target.channel, self.target.quality, "failed").inc()
                if first or failures == _FAILURES_TO_MOVE:
                    raise
                log.warning("playlist_failed", **self._where(), reason=str(error), failures=failures)
                await pause(stop, backoff(failures, first=0.5))
                continue
            failures = 0
            changed = await self._take_in(playlist, first=first)
            first = False
            if playlist.endlist:
                raise EndedError
            wait = reload_after(playlist, changed=changed).total_seconds() - (loop.time() - began)
            await pause(stop, wait)

    async def _playlist(self, url: str) -> MediaPlaylist:
        playlist = await fetch_playlist(self.session, url)
        if not isinstance(playlist, MediaPlaylist):
            raise OriginError(f"{without_secrets(url)} is now a choice of qualities, where a list of segments was.")
        _refuse_unsupported(playlist, url)
        _PLAYLISTS.labels(self.target.channel, self.target.quality, "ok").inc()
        for warning in sorted(set(playlist.warnings) - self._warned):
            log.warning("playlist_odd", **self._where(), reason=warning)
        self._warned = set(playlist.warnings)  # and not all there ever were: some name a segment
        return playlist

    async def _take_in(self, playlist: MediaPlaylist, *, first: bool) -> bool:
        new = self._timeline.advance(playlist, datetime.now(UTC))
        wanted = await in_thread(self._missing, new) if first else new
        if playlist.endlist and len(wanted) == len(new) and not self._live:
            # never seen live, and nothing of it is on disk: this is not the end of something that we record
            self._timeline = Timeline()
            raise UnsupportedError(
                "This is a finished recording (EXT-X-ENDLIST), not a live stream; it is not recorded."
            )
        self._live = True
        if new and new[0].guessed:
            log.info("start_times_guessed", **self._where(), segments=len(new), first=format_utc(new[0].start))
        for index, segment in enumerate(wanted):
            backlog = first and index < len(wanted) - _NEWEST
            self._queue.put_nowait(_Job(_BACKLOG if backlog else _FRESH, next(self._numbers), segment))
        self.found += len(wanted)
        return bool(new)

    def _missing(self, new: list[NewSegment]) -> list[NewSegment]:
        """Leave out what is on disk already: after a restart the whole playlist looks new."""
        store, channel, quality = self.target.store, self.target.channel, self.target.quality
        # a guessed time is another one after a restart: that something is there at it says nothing
        told = [segment.start for segment in new if not segment.guessed]
        hours = {floor_hour(start + shift) for start in told for shift in (-JOIN_TOLERANCE, JOIN_TOLERANCE)}
        try:
            have = sorted(
                segment.start
                for hour in hours
                for segment in store.candidates(channel, quality, hour).segments
                if segment.type is SegmentType.FULL
            )
        except OSError as error:
            log.error("store_unreadable", **self._where(), reason=error.strerror)  # noqa: TRY400 - the reason is enough
            return new
        return [segment for segment in new if segment.guessed or not _holds(have, segment.start)]

    async def _fetch_queued(self) -> None:
        while True:
            job = await self._queue.get()
            if (failure := await self._attempt(job.segment)) is not None:
                self._try_later(job, failure)

    def _try_later(self, job: _Job, failure: FetchError) -> None:
        """Put a segment back for after a pause, in which others are fetched, until it is gone."""
        entry, attempts = job.segment.entry, job.attempts + 1
        about = {**self._where(), "start": format_utc(job.segment.start), "url": without_secrets(entry.uri)}
        _RETRIES.labels(self.target.channel, self.target.quality).inc()
        log.warning("segment_fetch_failed", **about, reason=str(failure), attempt=attempts)
        if failure.gone or attempts == _TRIES:
            _LOST.labels(self.target.channel, self.target.quality, "gone" if failure.gone else "failed").inc()
            log.error("segment_lost", **about, reason=str(failure))
            return
        again = replace(job, urgency=max(job.urgency, _FAILED), attempts=attempts)
        pause_seconds = backoff(attempts, first=0.5, most=_LONGEST_PAUSE)
        asyncio.get_running_loop().call_later(pause_seconds, self._queue.put_nowait, again)

    async def _attempt(self, new: NewSegment) -> FetchError | None:
        try:
            self._account(await self._fetcher.fetch(new))
        except FetchError as error:
            return error
        return None

    def _account(self, fetched: Fetched) -> None:
        channel, quality, segment = self.target.channel, self.target.quality, fetched.segment
        _SEGMENTS.labels(channel, quality, segment.type.value).inc()
        _BYTES.labels(channel, quality).inc(fetched.bytes)
        _FETCH_SECONDS.labels(channel).observe(fetched.seconds)
        if segment.type is SegmentType.FULL:
            _SECONDS.labels(channel, quality).inc(segment.duration.total_seconds())
        self._newest = max(self._newest, segment.end.timestamp())
        _NEWEST_END.labels(channel, quality).set(self._newest)
        log.info(
            "segment_committed",
            **self._where(),
            start=format_utc(segment.start),
            duration=segment.duration.total_seconds(),
            type=segment.type.value,
            bytes=fetched.bytes,
            seconds=round(fetched.seconds, 3),
        )

    def _where(self) -> dict[str, str]:
        return {"channel": self.target.channel, "quality": self.target.quality}


def _holds(starts: list[datetime], start: datetime) -> bool:
    """Tell whether one of the sorted `starts` is `start`, within the tolerance of names."""
    nearest = bisect_left(starts, start - JOIN_TOLERANCE)
    return nearest < len(starts) and starts[nearest] - start <= JOIN_TOLERANCE


def _refuse_unsupported(playlist: MediaPlaylist, url: str) -> None:
    kinds = {
        "a list of key frames only": playlist.i_frames_only,
        "fragmented MP4 (EXT-X-MAP)": any(entry.map for entry in playlist.segments),
        "encrypted (EXT-X-KEY)": any(entry.key for entry in playlist.segments),
        "made of byte ranges (EXT-X-BYTERANGE)": any(entry.byterange for entry in playlist.segments),
    }
    for kind, found in kinds.items():
        if found:
            raise UnsupportedError(f"The stream at {without_secrets(url)} is {kind}; this cannot be recorded yet.")
