"""One session of a quality: an address is found, its media playlist is asked for again and again, and is judged."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from common.addresses import without_secrets
from common.waits import backoff, pause
from downloader.advertisements import Ranges
from downloader.handover import Cause, Standing, is_stale
from downloader.origin import OriginError, fetch_media_playlist
from downloader.playlist_values import MediaPlaylist
from downloader.polling import BLOCKED_SECONDS, held_back, with_number
from downloader.recorder import EndedError, Recorder
from downloader.source import Found, Source
from downloader.timeline import View

# After so long another attempt is made while this one goes on. A playlist is some kilobytes; an address may take a page
# and an interface or two.
_SLOW_PLAYLIST_SECONDS = 4.0
_SLOW_ADDRESS_SECONDS = 8.0

# A worker that has proved itself goes on through so many failures in a row: an origin that stumbles is soon back.
_MOST_FAILURES = 6
_LONGEST_PAUSE = 10.0

# Longer than the advertisements with which a session begins; what has not shown any programme then never will.
_PROOF_SECONDS = 120.0

# An origin that says it can hold answers back, and does not, is believed so many times.
_MOST_UNHELD = 2

# A request that is later than planned by no more than this is in time: what the timer adds would add up otherwise.
_PUNCTUAL_SECONDS = 0.01


@dataclass(slots=True, eq=False)
class Worker:
    """Follows one media playlist; what it says of itself may change at any time, and then it sets `changed`.

    `attempt` is how many were started before it without success, `reason` the sentence about its trouble.
    `has_news`: it has found segments since somebody looked.
    """

    number: int
    source: Source
    recorder: Recorder
    stop: asyncio.Event
    changed: asyncio.Event
    attempt: int = 0
    standing: Standing = field(default_factory=Standing)
    reason: str = ""
    has_news: bool = False
    _failures: int = 0
    _unheld: int = 0
    _awaited: int | None = None
    _held_back: float = 0.0
    _due: float = 0.0
    _asked: float | None = None
    _began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _changed_at: float | None = None
    _least_behind: float | None = None
    _ranges: Ranges = field(default_factory=Ranges)

    async def run(self) -> None:
        """Work until cancelled, or the stop.

        Raises OriginError if the address cannot be found, or its playlist not be had, EndedError when it ends, and
        UnsupportedError.
        """
        with self._watched(_SLOW_ADDRESS_SECONDS, "The channel's address takes long to find."):
            found = await self.source.find(self.recorder.target.quality, self.attempt)
        self.recorder.note_address(found.url, found.headers)
        playlist, asked = found.playlist, found.asked
        while not self.stop.is_set():
            if playlist is None:
                now = asyncio.get_running_loop().time()
                asked = self._due if 0 <= now - self._due <= _PUNCTUAL_SECONDS else now
                playlist = await self._load(found)
            if playlist is not None:
                await self._take_in(playlist, found, asked)
            playlist = None
            await pause(self.stop, self._due - asyncio.get_running_loop().time())

    async def _load(self, found: Found) -> MediaPlaylist | None:
        """Ask for the playlist; None after a failure, when `_due` says when to ask again."""
        url, held = found.url, 0.0
        if self._awaited is not None:
            url, held = with_number(url, self._awaited), self._held_back
        try:
            with self._watched(_SLOW_PLAYLIST_SECONDS + held, f"{without_secrets(url)} takes long to answer."):
                began = asyncio.get_running_loop().time()
                playlist = await fetch_media_playlist(
                    self.recorder.session,
                    url,
                    found.headers,
                    variables=found.variables,
                    seconds=held,
                    seen=self.recorder.playlists.saw,
                )
                if self._awaited is None:
                    self.recorder.time_playlist(asyncio.get_running_loop().time() - began)
                return playlist
        except OriginError as error:
            self.recorder.count_playlist("failed")
            if self._awaited is not None:  # perhaps it is only this that it cannot do
                self._awaited, self._unheld = None, _MOST_UNHELD
                return None
            self._failures += 1
            if not self.standing.programme or self._failures == _MOST_FAILURES:
                raise
            self._set(trouble=Cause.FAILED, reason=str(error))
            wait = backoff(self._failures, first=0.5, most=_LONGEST_PAUSE)
            self._due = asyncio.get_running_loop().time() + wait
            return None

    async def _take_in(self, playlist: MediaPlaylist, found: Found, asked: float) -> None:
        """Hand a playlist to the recorder, judge it, and see when to ask for the next."""
        recorder, first = self.recorder, self._asked is None
        playlist = self._ranges.complete(playlist)
        anchor = await recorder.prepare(playlist, found.url) if first else None
        view = recorder.take_in(playlist, self.number, first=first, anchor=anchor)
        if self._awaited is None:
            recorder.phase.saw(view, asked, self._asked)
        self._failures, self._asked = 0, asked
        self._judge(view, playlist, found)
        if playlist.endlist:
            raise EndedError
        self._due = recorder.phase.due(playlist, view, asked)
        self._await_next(playlist, asked)
        if self.standing.keeps_up:
            recorder.prefetch(playlist)

    def _await_next(self, playlist: MediaPlaylist, asked: float) -> None:
        """Have the origin hold the next answer back until there is something new, if it can."""
        awaited, self._awaited = self._awaited, None
        if not (playlist.server_control.can_block_reload and playlist.segments):
            return
        newest = playlist.segments[-1].sequence
        if awaited is not None:
            self._unheld = self._unheld + 1 if newest < awaited else 0
        if self._unheld < _MOST_UNHELD and (awaited is None or newest >= awaited):
            self._awaited, self._held_back = newest + 1, held_back(playlist)
            self._due = asked + BLOCKED_SECONDS

    def _judge(self, view: View, playlist: MediaPlaylist, found: Found) -> None:
        now, url = asyncio.get_running_loop().time(), without_secrets(found.url)
        if view.changed or self._changed_at is None:
            self._changed_at = now
        behind = self._behind(view.end)
        trouble, reason = None, ""
        if is_stale(playlist.target_duration, now - self._changed_at, behind, self._least_behind):
            trouble, reason = Cause.STALE, f"{url} answers, but shows nothing new."
        elif view.jumped:
            trouble, reason = Cause.JUMPED, f"The times that {url} tells have jumped."
        elif found.renew_at is not None and now >= found.renew_at:
            trouble, reason = Cause.EXPIRES, f"The address {url} ends soon."
        programme = self.standing.programme or view.programme
        keeps_up = self.standing.keeps_up or (view.programme and (view.ahead or view.overlaps))
        if not keeps_up and now - self._began > _PROOF_SECONDS:
            raise OriginError(f"{url} shows nothing of the programme, or only what is old.")
        if view.new:
            self.has_news = True
            self.changed.set()
        goes_on = self.standing.goes_on or view.goes_on
        self._set(Standing(programme, keeps_up, goes_on, trouble), reason=reason)

    def _behind(self, end: datetime | None) -> float | None:
        """Give how many seconds the end of the playlist is behind the clock, and remember the least."""
        if end is None:
            return None
        behind = (self.recorder.now() - end).total_seconds()
        self._least_behind = behind if self._least_behind is None else min(behind, self._least_behind)
        return behind

    def _set(self, standing: Standing | None = None, *, trouble: Cause | None = None, reason: str = "") -> None:
        """Note how it stands now, or what its trouble is; tell if that has changed."""
        standing = standing or replace(self.standing, trouble=trouble)
        if standing != self.standing or reason != self.reason:
            self.changed.set()
        self.standing, self.reason = standing, reason

    @contextmanager
    def _watched(self, seconds: float, sentence: str) -> Iterator[None]:
        """Say so if what is done inside takes longer."""

        def complain() -> None:
            self._set(trouble=Cause.SLOW, reason=sentence)

        timer = asyncio.get_running_loop().call_later(seconds, complain)
        try:
            yield
        finally:
            timer.cancel()
