"""One quality of one channel: what its workers show becomes one timeline, and what is new one queue of fetches."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from aiohttp import ClientSession

from common import metrics
from common.dateutil import format_utc
from common.segments import SegmentType
from common.waits import backoff, in_thread
from common.web import without_secrets
from downloader.advertisements import advertisements
from downloader.fetch import Fetched, Fetcher, Target
from downloader.held import missing
from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import MediaPlaylist
from downloader.polling import Phase
from downloader.retries import Tries, is_hopeless
from downloader.timeline import NewSegment, Timeline, View

log = structlog.get_logger()

# Four at a time, and the live edge never waits: what is new goes before what failed, and that before the older entries
# of a long playlist that were there at its first sight.
_FETCHES = 4
_NEWEST = 3
_FRESH, _FAILED, _BACKLOG = range(3)

# More than a day of segments of two seconds: what is beyond is not kept in mind, however long the playlists are.
_MOST_WAITING = 50_000

_LONGEST_PAUSE = 15.0

# A segment that no playlist has shown for so long is no longer listed: more than the time between two looks.
_LISTED = timedelta(seconds=20)

_SEGMENTS = metrics.counter("segments_recorded", "Segments written.", "channel", "quality", "type")
_SECONDS = metrics.counter("recorded_media_seconds", "Seconds of media written as full.", "channel", "quality")
_BYTES = metrics.counter("recorded_bytes", "Bytes written.", "channel", "quality")
_LOST = metrics.counter("segments_lost", "Segments offered but not recorded.", "channel", "quality", "reason")
_RETRIES = metrics.counter("segment_fetch_failures", "Fetches of a segment that failed.", "channel", "quality")
_NEWEST_END = metrics.gauge("newest_segment_end_seconds", "Unix time at which the newest ends.", "channel", "quality")
_FETCH_SECONDS = metrics.seconds("segment_fetch", "Time to fetch one segment and bring it to disk.", "channel")
_LISTED_SECONDS = metrics.seconds("segment_listed_to_disk", "Time from a segment's listing to its commit.", "channel")
_PLAYLISTS = metrics.counter("playlist_fetches", "Fetches of media playlists.", "channel", "quality", "result")


class EndedError(Exception):
    """The playlist says that nothing more will come (EXT-X-ENDLIST)."""


class UnsupportedError(Exception):
    """A stream of a kind that cannot be recorded; the text is one plain sentence."""


@dataclass(frozen=True, slots=True, order=True)
class _Job:
    """A segment to be fetched; the least goes first. `since` is when it was new (the loop's clock)."""

    urgency: int
    number: int
    segment: NewSegment = field(compare=False)
    since: float = field(compare=False)
    failed: int = field(default=0, compare=False)


@dataclass(slots=True)
class Recorder:
    """Takes in what the workers of a quality see, and fetches what is new. `now` tells the time (aware UTC)."""

    target: Target
    session: ClientSession
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    phase: Phase = field(default_factory=Phase)
    _fetcher: Fetcher = field(init=False)
    _timeline: Timeline = field(default_factory=Timeline)
    _queue: asyncio.PriorityQueue[_Job] = field(default_factory=asyncio.PriorityQueue)
    _unsifted: asyncio.Queue[tuple[NewSegment, ...]] = field(default_factory=asyncio.Queue)
    _waiting: int = 0
    _live: bool = False
    _warned: set[str] = field(default_factory=set)
    _address: str = ""
    _newest: float = 0.0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._fetcher = Fetcher(self.session, self.target)

    # What workers bring ---------------------------------------------------------------------------------------------

    async def prepare(self, playlist: MediaPlaylist, url: str) -> tuple[int, datetime] | None:
        """Look at a worker's first playlist before it is taken in; give its anchor (see `Timeline.advance`).

        Raises UnsupportedError if it cannot be recorded.
        """
        if playlist.i_frames_only:
            raise UnsupportedError(
                f"The stream at {without_secrets(url)} is a list of key frames only; this cannot be recorded."
            )
        if playlist.endlist and not self._live:
            new = Timeline().advance(playlist, self.now()).new
            told = [segment for segment in new if not segment.guessed]
            if len(await self._missing(told)) == len(told):
                # never seen live, and nothing of it is on disk: this is not the end of something that we record
                raise UnsupportedError(
                    "This is a finished recording (EXT-X-ENDLIST), not a live stream; it is not recorded."
                )
        return None

    def take_in(
        self, playlist: MediaPlaylist, session: int, *, first: bool = False, anchor: tuple[int, datetime] | None = None
    ) -> View:
        """Take in a playlist as a worker sees it, and queue what is new in it; `first`: it is the worker's first."""
        self.count_playlist("ok")
        for warning in sorted(set(playlist.warnings) - self._warned):
            log.warning("playlist_odd", **self.where(), reason=warning)
        self._warned = set(playlist.warnings)  # and not all there ever were: some name a segment
        view = self._timeline.advance(
            playlist, self.now(), session=session, advertisements=advertisements(playlist), anchor=anchor
        )
        self._live = True
        if view.new and view.new[0].guessed:
            first_start = format_utc(view.new[0].start)
            log.info("start_times_guessed", **self.where(), segments=len(view.new), first=first_start)
        if first:
            self._unsifted.put_nowait(view.new)
        else:
            self._enqueue(view.new, urgent=len(view.new))
        return view

    def forget(self, session: int) -> None:
        """Take note that a worker has ended."""
        self._timeline.forget(session)

    def note_address(self, url: str, headers: Mapping[str, str]) -> None:
        """Take note of where the playlist is, and of what to send with each request; tell if it was elsewhere."""
        self._fetcher.send(headers)
        if self._address != without_secrets(url):
            self._address = without_secrets(url)
            log.info("stream_found", **self.where(), url=self._address)

    def count_playlist(self, result: str) -> None:
        """Count a request for a media playlist."""
        _PLAYLISTS.labels(self.target.channel, self.target.quality, result).inc()

    async def _sift(self) -> None:
        """Queue of what was new in the first playlist of a worker what is not on disk."""
        while True:
            new = await self._unsifted.get()
            # a guessed time is another one after a restart: that something is there at it says nothing
            told = [segment for segment in new if not segment.guessed]
            wanted = {id(segment) for segment in await self._missing(told)}
            self._enqueue([s for s in new if s.guessed or id(s) in wanted], urgent=_NEWEST)

    async def _missing(self, new: Sequence[NewSegment]) -> Sequence[NewSegment]:
        try:
            return await in_thread(missing, self.target, new)
        except OSError as error:
            log.error("store_unreadable", **self.where(), reason=error.strerror)  # noqa: TRY400 - the reason is enough
            return new

    def _enqueue(self, new: Sequence[NewSegment], *, urgent: int) -> None:
        """Queue segments, oldest first; the last ones are `urgent`."""
        now = asyncio.get_running_loop().time()
        for index, segment in enumerate(new):
            urgency = _FRESH if index >= len(new) - urgent else _BACKLOG
            if self._waiting >= _MOST_WAITING and index < len(new) - _NEWEST:
                self._lose(segment, Reason.EXPIRED, "There is more to fetch than can be kept in mind.")
                continue
            self._waiting += 1
            self._queue.put_nowait(_Job(urgency, next(self._numbers), segment, now))

    # Fetches --------------------------------------------------------------------------------------------------------

    async def fetch_forever(self) -> None:
        """Fetch what is queued, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sift())
                for _ in range(_FETCHES):
                    group.create_task(self._fetch_queued())
        finally:
            await self._fetcher.close()

    async def _fetch_queued(self) -> None:
        while True:
            job = await self._queue.get()
            if (failure := await self._attempt(job)) is not None:
                self._try_later(job, failure)
            else:
                self._waiting -= 1

    async def _attempt(self, job: _Job) -> FetchError | None:
        # another session may have another way to it, which is tried in turn with the first
        ways, _ = self._timeline.ways(job.segment.entry)
        entry = replace(ways[job.failed % len(ways)], duration=job.segment.entry.duration)
        try:
            fetched = await self._fetcher.fetch(replace(job.segment, entry=entry))
        except FetchError as error:
            return error
        except Exception:  # the edge of a fetch: what nobody thought of must not end all the others
            log.exception("fetch_broke", **self.where(), url=without_secrets(entry.uri))
            return FetchError("Something went wrong here; the log says what.", Reason.UNUSABLE, gone=False)
        self._account(fetched, asyncio.get_running_loop().time() - job.since)
        return None

    def _try_later(self, job: _Job, failure: FetchError) -> None:
        """Put a segment back for after a pause, in which others are fetched, until there is no hope."""
        failed = job.failed + 1
        loop = asyncio.get_running_loop()
        _RETRIES.labels(self.target.channel, self.target.quality).inc()
        log.warning("segment_fetch_failed", **self._about(job.segment), reason=str(failure), attempt=failed)
        _, listed_at = self._timeline.ways(job.segment.entry)
        listed = listed_at is not None and self.now() - listed_at <= _LISTED
        if is_hopeless(failure, Tries(failed, loop.time() - job.since, listed)):
            self._waiting -= 1
            self._lose(job.segment, failure.reason, str(failure))
            return
        again = replace(job, urgency=max(job.urgency, _FAILED), failed=failed)
        loop.call_later(backoff(failed, first=0.5, most=_LONGEST_PAUSE), self._queue.put_nowait, again)

    def _lose(self, segment: NewSegment, reason: Reason, sentence: str) -> None:
        _LOST.labels(self.target.channel, self.target.quality, reason.value).inc()
        log.error("segment_lost", **self._about(segment), reason=sentence)

    def _account(self, fetched: Fetched, since_listed: float) -> None:
        channel, quality, segment = self.target.channel, self.target.quality, fetched.segment
        _SEGMENTS.labels(channel, quality, segment.type.value).inc()
        _BYTES.labels(channel, quality).inc(fetched.bytes)
        _FETCH_SECONDS.labels(channel).observe(fetched.seconds)
        _LISTED_SECONDS.labels(channel).observe(since_listed)
        if segment.type is SegmentType.FULL:
            _SECONDS.labels(channel, quality).inc(segment.duration.total_seconds())
        self._newest = max(self._newest, segment.end.timestamp())
        _NEWEST_END.labels(channel, quality).set(self._newest)
        log.info(
            "segment_committed",
            **self.where(),
            start=format_utc(segment.start),
            duration=segment.duration.total_seconds(),
            type=segment.type.value,
            bytes=fetched.bytes,
            seconds=round(fetched.seconds, 3),
        )

    def where(self) -> dict[str, str]:
        """Give what each line of the log says of where it belongs."""
        return {"channel": self.target.channel, "quality": self.target.quality}

    def _about(self, segment: NewSegment) -> dict[str, str]:
        return {**self.where(), "start": format_utc(segment.start), "url": without_secrets(segment.entry.uri)}
