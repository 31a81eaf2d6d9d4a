"""Tombstones on disk: empty files that hide a segment, here and, once copied, on all nodes."""

import os
from contextlib import suppress
from pathlib import Path

from common.dateutil import parse_hour
from common.durable import sync_folder
from common.segments import BadNameError, SegmentType, parse_name, tombstone_name
from common.store import Store


def hide(store: Store, channel: str, quality: str, hour: str, names: list[str]) -> list[str]:
    """Hide segments of an hour, for good on disk; give the names of the tombstones that are new.

    Raises BadPathError or BadNameError for names that cannot be, FileNotFoundError without such an hour, OSError if the
    disk refuses it.
    """
    moment = parse_hour(hour)
    for name in names:
        if parse_name(moment, name).type is SegmentType.TEMP:
            raise BadNameError(f"{name[:200]!r} is still being written and has no name to hide yet.")
    folder = store.path(channel, quality, hour, "any").parent
    return put(folder, [tombstone_name(name) for name in names])


def put(folder: Path, tombstones: list[str]) -> list[str]:
    """Make these tombstones in the folder of an hour, which is there; give those that were not."""
    made = []
    for name in tombstones:
        with suppress(FileExistsError):
            os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            made.append(name)
    if made:
        sync_folder(folder)
    return made


def remove(store: Store, channel: str, quality: str, hour: str, names: list[str]) -> list[str]:
    """Show hidden segments again, on this node; give the names of those whose tombstones were there."""
    folder = store.path(channel, quality, hour, "any").parent
    shown = []
    for name in names:
        parse_name(parse_hour(hour), name)
        with suppress(FileNotFoundError):
            (folder / tombstone_name(name)).unlink()
            shown.append(name)
    if shown:
        sync_folder(folder)
    return shown
