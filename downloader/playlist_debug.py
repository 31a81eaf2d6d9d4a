"""The last playlists, kept beside each segment for later questions (`--playlist-debug N`).

    BASE/<channel>/<quality>/<hour>/.playlists/<MM:SS.ffffff>-<n>.m3u8

are the last N that had been fetched when the segment which starts at that time was new; 1 is the one that showed it.
Each is as it came, secrets in its addresses included, and its file's time is when it came. They are hidden from
listings and are removed after a day.
"""

import asyncio
import itertools
import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from common.dateutil import hour_name, parse_hour
from common.histories import FOLDER, name_for
from common.store import Store
from common.waits import in_thread

log = structlog.get_logger()

_KEPT = timedelta(hours=24)

# Ten hours of two seconds; what is longer, or comes in greater numbers at once, is not worth the disk.
_MOST_CHARACTERS = 4 << 20
_MOST_SEGMENTS = 20

# What a slow disk leaves to be done; what comes then is not kept.
_MOST_WAITING = 20


@dataclass(slots=True)
class _Playlist:
    """One as it came, and where it has been written to; what is written is linked, not written again."""

    text: str
    at: datetime
    path: Path | None = None


@dataclass(slots=True)
class PlaylistKeeper:
    """Keeps the last `count` playlists of one quality; with 0 it does nothing."""

    store: Store
    channel: str
    quality: str
    count: int
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _last: deque[_Playlist] = field(init=False)
    _waiting: "deque[tuple[Sequence[datetime], list[_Playlist]]]" = field(default_factory=deque)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _hour: str = ""
    _failed: bool = False

    def __post_init__(self) -> None:
        self._last = deque(maxlen=self.count)

    def saw(self, text: str) -> None:
        """Take in a playlist as it came just now."""
        if self.count and len(text) <= _MOST_CHARACTERS:
            self._last.append(_Playlist(text, self.now()))

    def new(self, starts: Sequence[datetime]) -> None:
        """Have the last playlists kept beside the segments that start then, which the newest of them shows first."""
        if self._last and starts and len(self._waiting) < _MOST_WAITING:
            self._waiting.append((starts[-_MOST_SEGMENTS:], [*reversed(self._last)]))
            self._news.set()

    async def keep(self) -> None:
        """Bring to disk what is to be kept, until cancelled; a disk that refuses it is told once."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                starts, playlists = self._waiting.popleft()
                try:
                    await in_thread(self._keep_all, starts, playlists)
                except OSError as error:
                    if not self._failed:
                        log.warning("playlists_not_kept", channel=self.channel, quality=self.quality, reason=str(error))
                    self._failed = True

    def _keep_all(self, starts: Sequence[datetime], playlists: Sequence[_Playlist]) -> None:
        for start in starts:
            self._keep(start, playlists)

    def _keep(self, start: datetime, playlists: Sequence[_Playlist]) -> None:
        hours = self.store.folder(self.channel, self.quality)
        folder = hours / hour_name(start) / FOLDER
        if self._hour != hour_name(start):
            self._hour = hour_name(start)
            folder.mkdir(parents=True, exist_ok=True)
            _prune(self.store, self.channel, self.quality, start - _KEPT)
        for number, playlist in zip(itertools.count(1), playlists):
            path = folder / name_for(start, number)
            if playlist.path is not None:
                with suppress(OSError):  # it may be gone, or linked too often
                    path.unlink(missing_ok=True)
                    path.hardlink_to(playlist.path)
                    continue
            path.write_text(playlist.text, encoding="utf-8", newline="")
            os.utime(path, (playlist.at.timestamp(),) * 2)
            playlist.path = path


def _prune(store: Store, channel: str, quality: str, before: datetime) -> None:
    """Remove those of hours that began before a moment."""
    for hour in store.hours(channel, quality):
        if parse_hour(hour) >= before:
            break
        shutil.rmtree(store.folder(channel, quality) / hour / FOLDER, ignore_errors=True)
