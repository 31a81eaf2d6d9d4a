"""One quality of one channel: what its workers show becomes one timeline, and what is new goes into one queue."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from aiohttp import ClientSession

from common import metrics
from common.addresses import without_secrets
from common.dateutil import format_utc
from common.waits import in_thread
from downloader.advertisements import Mark, advertisements, marks, prefetch_advertisements
from downloader.anchor import find_anchor
from downloader.fetch import Fetcher, Target
from downloader.held import missing
from downloader.playlist_debug import PlaylistKeeper
from downloader.playlist_values import MediaPlaylist
from downloader.polling import Phase
from downloader.queue import FetchQueue
from downloader.report import Report
from downloader.timeline import NewSegment, Timeline, View

log = structlog.get_logger()

# Of the first playlist that a worker shows, these are the live edge, and the rest is older.
_NEWEST = 3

_PLAYLISTS = metrics.counter("playlist_fetches", "Fetches of media playlists.", "channel", "quality", "result")
_PLAYLIST_SECONDS = metrics.seconds(
    "playlist_fetch", "Time to get a media playlist, unless its origin was asked to hold it back.", "channel", "quality"
)
_MARKED = metrics.counter("segments_marked", "Segments with a mark of advertising.", "channel", "quality", "mark")


class EndedError(Exception):
    """The playlist says that nothing more will come (EXT-X-ENDLIST)."""


class UnsupportedError(Exception):
    """A stream of a kind that cannot be recorded; the text is one plain sentence."""


@dataclass(slots=True)
class Recorder:
    """Takes in what the workers of a quality see, and fetches what is new. `now` tells the time (aware UTC).

    `playlist_debug` is how many of the last playlists are kept beside each segment.
    """

    target: Target
    session: ClientSession
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    playlist_debug: int = 0
    phase: Phase = field(default_factory=Phase)
    report: Report = field(init=False)
    playlists: PlaylistKeeper = field(init=False)
    _fetcher: Fetcher = field(init=False)
    _queue: FetchQueue = field(init=False)
    _timeline: Timeline = field(default_factory=Timeline)
    _unsifted: "asyncio.Queue[tuple[tuple[NewSegment, ...], bool]]" = field(default_factory=asyncio.Queue)
    _headers: Mapping[str, str] = field(default_factory=dict)
    _live: bool = False
    _warned: set[str] = field(default_factory=set)
    _address: str = ""

    def __post_init__(self) -> None:
        self._fetcher = Fetcher(self.session, self.target)
        where = (self.target.store, self.target.channel, self.target.quality)
        self.report = Report(*where, self.now)
        self.playlists = PlaylistKeeper(*where, self.playlist_debug, self.now)
        self._queue = FetchQueue(self.target, self._fetcher, self._timeline, self.report, self.now)

    async def run(self) -> None:
        """Fetch and report what is new, until cancelled."""
        try:
            await self._fetcher.learn()
        except OSError as error:
            self._complain(error)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            group.create_task(self._sift())
            group.create_task(self.report.keep())
            group.create_task(self.playlists.keep())

    def note_address(self, url: str, headers: Mapping[str, str]) -> None:
        """Take note of where the playlist is, and of what to send with each request; tell if it was elsewhere."""
        self._headers = headers
        self._fetcher.send(headers)
        if self._address != without_secrets(url):
            self._address = without_secrets(url)
            log.info("stream_found", **self.target.where(), url=self._address)

    async def prepare(self, playlist: MediaPlaylist, url: str) -> tuple[int, datetime] | None:
        """Look at a worker's first playlist before it is taken in; give its anchor (see `Timeline.advance`).

        Raises UnsupportedError if it cannot be recorded.
        """
        if playlist.i_frames_only:
            raise UnsupportedError(
                f"The stream at {without_secrets(url)} is a list of key frames only; this cannot be recorded."
            )
        if playlist.endlist and not self._live:
            await self._refuse_finished(playlist)
        if not self._timeline.must_guess(playlist):
            return None
        try:
            return await find_anchor(playlist, advertisements(playlist), self.target, self._fetcher_into, self.now())
        except OSError as error:
            self._complain(error)
            return None

    async def _refuse_finished(self, playlist: MediaPlaylist) -> None:
        """Raise UnsupportedError unless something of it is held: then it is the end of what was recorded before."""
        told = [segment for segment in Timeline().advance(playlist, self.now()).new if not segment.guessed]
        if len(await self._missing(told)) == len(told):
            raise UnsupportedError(
                "This is a finished recording (EXT-X-ENDLIST), not a live stream; it is not recorded."
            )

    def _fetcher_into(self, target: Target) -> Fetcher:
        fetcher = Fetcher(self.session, target)
        fetcher.send(self._headers)
        return fetcher

    def take_in(
        self, playlist: MediaPlaylist, session: int, *, first: bool = False, anchor: tuple[int, datetime] | None = None
    ) -> View:
        """Take in a playlist as a worker sees it, and queue what is new in it; `first`: it is the worker's first."""
        self.count_playlist("ok")
        for warning in sorted(set(playlist.warnings) - self._warned):
            log.warning("playlist_odd", **self.target.where(), reason=warning)
        self._warned = set(playlist.warnings)  # and not all there ever were: some name a segment
        found = marks(playlist)
        skipped = [mark is not None and mark.certain for mark in found]
        view = self._timeline.advance(playlist, self.now(), session=session, advertisements=skipped, anchor=anchor)
        self._count_marks(view, {e.sequence: mark for e, mark in zip(playlist.segments, found, strict=True) if mark})
        self._live = True
        if view.new and view.new[0].guessed:
            first_start = format_utc(view.new[0].start)
            log.info("start_times_guessed", **self.target.where(), segments=len(view.new), first=first_start)
        for segment, reason in view.left_out:
            self.report.offered(segment)
            self.report.missing(segment, reason)
        if view.new and view.end is not None and not (first or view.new[0].guessed):
            self.report.listed(view.end)
        self.playlists.new([segment.start for segment in view.new])
        if first:
            self._unsifted.put_nowait((view.new, anchor is not None))
        else:
            self._queue.put(view.new)
        return view

    def _count_marks(self, view: View, found: Mapping[int, Mark]) -> None:
        for segment in (*view.new, *(segment for segment, _ in view.left_out)):
            if mark := found.get(segment.entry.sequence):
                _MARKED.labels(self.target.channel, self.target.quality, mark.value).inc()

    def prefetch(self, playlist: MediaPlaylist) -> None:
        """Begin to fetch what the playlist promises next."""
        for entry, mark in zip(playlist.prefetch, prefetch_advertisements(playlist), strict=True):
            if entry.uri and not entry.gap and not mark:
                self._fetcher.prefetch(entry.uri)

    def forget(self, session: int) -> None:
        """Take note that a worker has ended."""
        self._timeline.forget(session)

    def count_playlist(self, result: str) -> None:
        """Count a request for a media playlist."""
        _PLAYLISTS.labels(self.target.channel, self.target.quality, result).inc()

    def time_playlist(self, seconds: float) -> None:
        """Note how long an origin took to give a playlist that it had."""
        _PLAYLIST_SECONDS.labels(self.target.channel, self.target.quality).observe(seconds)

    async def _sift(self) -> None:
        """Queue of what was new in the first playlist of a worker what is not on disk."""
        while True:
            new, anchored = await self._unsifted.get()
            # a guessed time is another one after a restart: that something is there at it says nothing
            doubtful = [segment for segment in new if anchored or not segment.guessed]
            wanted = {id(segment) for segment in await self._missing(doubtful)}
            rest = [segment for segment in new if id(segment) in wanted or (segment.guessed and not anchored)]
            self._queue.put(rest, urgent=_NEWEST)

    async def _missing(self, new: Sequence[NewSegment]) -> Sequence[NewSegment]:
        try:
            return await in_thread(missing, self.target, new)
        except OSError as error:
            self._complain(error)
            return new

    def _complain(self, error: OSError) -> None:
        log.error("store_unreadable", **self.target.where(), reason=error.strerror)
