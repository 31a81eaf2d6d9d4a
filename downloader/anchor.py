"""Where a stream that tells no times goes on: what is in the store of it already tells when its segments start.

After a restart such a stream would be dated anew by the clock, and its window be stored again a little beside what was
stored before. So the first segments are fetched, and looked for in the store by their content.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from common.store import Store
from common.waits import in_thread
from downloader.fetch import Fetcher, Target
from downloader.held import start_of
from downloader.outcomes import FetchError
from downloader.playlist_values import MediaPlaylist
from downloader.timeline import NewSegment

# Longer than most playlists, and than a restart takes.
_LOOKED_BACK = timedelta(minutes=30)

# The oldest segments are the likeliest to be stored; one of them may have been lost.
_PROBES = 3

# Hidden, so that nobody takes it for a channel.
_PREFIX = ".anchor-"

# No look takes so long: what is older was left by a process that died.
_LEFT_SECONDS = 3600.0


async def find_anchor(
    playlist: MediaPlaylist,
    marks: Sequence[bool],
    target: Target,
    fetcher_into: Callable[[Target], Fetcher],
    now: datetime,
) -> tuple[int, datetime] | None:
    """Find an entry of the playlist in the store; give its index and its start there.

    `marks` are the entries that are not to be looked for, `fetcher_into` makes what fetches them into another store.
    Raises OSError if a store cannot be read or written.
    """
    if not await in_thread(_has_recent, target, now):
        return None
    folder = Path(await in_thread(tempfile.mkdtemp, "", _PREFIX, target.store.base))
    try:
        fetcher = fetcher_into(Target(Store(folder), target.channel, target.quality))
        entries = [n for n, entry in enumerate(playlist.segments) if not entry.gap and not marks[n]]
        for index in entries[:_PROBES]:
            with suppress(FetchError):
                fetched = await fetcher.fetch(NewSegment(playlist.segments[index], now, guessed=True))
                start = await in_thread(start_of, target, fetched.segment.hash, now - _LOOKED_BACK, now)
                if start is not None:
                    return index, start
        return None
    finally:
        await in_thread(partial(shutil.rmtree, folder, ignore_errors=True))


def _has_recent(target: Target, now: datetime) -> bool:
    return bool(target.store.sequence(target.channel, target.quality, now - _LOOKED_BACK, now).segments)


def sweep_anchors(store: Store, now: datetime) -> None:
    """Remove what a process that died has left of its looks; blocks."""
    for folder in store.base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if now.timestamp() - folder.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(folder)
