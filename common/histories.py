"""The playlists that a downloader has kept beside its segments (`--playlist-debug N`): where they lie.

    BASE/<channel>/<quality>/<hour>/.playlists/<MM:SS.ffffff>-<n>.m3u8

are the last that had been fetched when the segment which starts at that time was new; 1 is the one that showed it. They
are as they came, so that there may be secrets in their addresses. All of it blocks.
"""

import os
import re
from datetime import datetime
from pathlib import Path

from common.digests import digest
from common.store import BadPathError, Store

FOLDER = ".playlists"

_NAME = re.compile(r"[0-5][0-9]:[0-5][0-9]\.[0-9]{6}-[1-9][0-9]{0,3}\.m3u8", re.ASCII)


def name_for(start: datetime, number: int) -> str:
    """Name one: the start of its segment, and how many had come by then, itself included, from the newest on."""
    return f"{start:%M:%S.%f}-{number}.m3u8"


def digests(store: Store, channel: str, quality: str) -> dict[str, str]:
    """Give, for each hour that has any, the digest of their names."""
    hours = store.hours(channel, quality)
    found = {hour: digest(names(store, channel, quality, hour)) for hour in hours}
    return {hour: told for hour, told in found.items() if told is not None}


def names(store: Store, channel: str, quality: str, hour: str) -> list[str]:
    """List those of an hour, sorted; none if it has none, or is unknown."""
    try:
        listed = os.listdir(store.hour_folder(channel, quality, hour) / FOLDER)  # noqa: PTH208 - some thousand names
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in listed if _NAME.fullmatch(name))


def path(store: Store, channel: str, quality: str, hour: str, name: str) -> Path:
    """Give the path of one. Raises BadPathError for a name that is none's."""
    if _NAME.fullmatch(name) is None:
        raise BadPathError(f"{name[:200]!r} is not the name of a kept playlist.")
    return store.hour_folder(channel, quality, hour) / FOLDER / name
