"""One session of a quality: an address is found, its media playlist is asked for again and again, and is judged."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from common.waits import backoff, pause
from common.web import without_secrets
from downloader.handover import Cause, Standing, is_stale
from downloader.origin import OriginError, fetch_media_playlist
from downloader.playlist_values import MediaPlaylist
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
    _asked: float | None = None
    _began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _newest_at: float = 0.0
    _least_behind: float | None = None

    async def run(self) -> None:
        """Work until the stop.

        Raises OriginError if the address cannot be found, or its playlist not be had, EndedError when it ends, and
        UnsupportedError.
        """
        with self._watched(_SLOW_ADDRESS_SECONDS, "The channel's address takes long to find."):
            found = await self.source.find(self.recorder.target.quality, self.attempt)
        self.recorder.note_address(found.url, found.headers)
        playlist, asked = found.playlist, found.asked
        while not self.stop.is_set():
            if playlist is None:
                asked = asyncio.get_running_loop().time()
                playlist = await self._load(found)
            if playlist is not None:
                due = await self._take_in(playlist, found, asked)
                await pause(self.stop, due - asyncio.get_running_loop().time())
            playlist = None

    async def _load(self, found: Found) -> MediaPlaylist | None:
        """Ask for the playlist; None after a failure, and a pause that is due to it."""
        sentence = f"{without_secrets(found.url)} takes long to answer."
        try:
            with self._watched(_SLOW_PLAYLIST_SECONDS, sentence):
                return await fetch_media_playlist(self.recorder.session, found.url, found.headers)
        except OriginError as error:
            self.recorder.count_playlist("failed")
            self._failures += 1
            if not self.standing.programme or self._failures == _MOST_FAILURES:
                raise
            self._set(trouble=Cause.FAILED, reason=str(error))
            await pause(self.stop, backoff(self._failures, first=0.5, most=_LONGEST_PAUSE))
            return None

    async def _take_in(self, playlist: MediaPlaylist, found: Found, asked: float) -> float:
        """Hand a playlist to the recorder, judge it, and give when to ask for the next (the loop's clock)."""
        self._failures = 0
        anchor = None
        if self._asked is None:
            anchor = await self.recorder.prepare(playlist, found.url)
        view = self.recorder.take_in(playlist, self.number, first=self._asked is None, anchor=anchor)
        self.recorder.phase.saw(view, asked, self._asked)
        self._judge(view, playlist, found)
        self._asked = asked
        if playlist.endlist:
            raise EndedError
        return self.recorder.phase.due(playlist, view, asked)

    def _judge(self, view: View, playlist: MediaPlaylist, found: Found) -> None:
        now, url = asyncio.get_running_loop().time(), without_secrets(found.url)
        if view.changed or not self._newest_at:
            self._newest_at = now
        behind = (self.recorder.now() - view.end).total_seconds() if view.end is not None else None
        if behind is not None:
            self._least_behind = min(behind, self._least_behind if self._least_behind is not None else behind)
        trouble, reason = None, ""
        if is_stale(playlist.target_duration, now - self._newest_at, behind, self._least_behind):
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
        self._set(Standing(programme, keeps_up, trouble), reason=reason)

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
