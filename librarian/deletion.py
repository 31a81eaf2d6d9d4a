"""How an hour goes: out of the store in one rename, and its files one by one, so quietly that nobody notices.

    BASE/<channel>/<quality>/.deleted/<hour>-<uuid>      the queue: an hour's folder that waits to be removed

The queue of a quality lies beside its hours, hence on the same disk. The steps, each of them for good on disk:

1. The hour is marked (`common.expired`): from now on nobody fetches it from another node.
2. Its folder is renamed into the queue: for readers it is gone, at once and as a whole, hidden notes and all.
3. Its tombstones are made again in a new folder of its name, so that nodes which were away still learn them.
4. What was noted of missing segments of it is removed.

Whatever dies in between: after 1 the hour is there, and goes again or is wanted again; after 2 the queue has it, and
whoever empties the queue takes step 3 first. All of it blocks.
"""

import errno
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from common.dateutil import hour_name
from common.durable import FULL, sync_folder
from common.expired import Expired
from common.missing import FOLDER as MISSING
from common.segments import TOMBSTONE_SUFFIX
from common.store import Store
from common.tombstones import put
from librarian.retention import StoredHour

log = structlog.get_logger()

QUEUE = ".deleted"

# How long after its hour was deleted a tombstone stays, so that a node that was away so long still learns it.
TOMBSTONES_STAY = timedelta(days=90)

# More than what is written for a mark. So much of an hour goes first where the disk has no room even for that.
_ROOM_BYTES = 4 << 20

# A piece of work in the background: then the disk is left to others.
_PIECE_FILES = 32
_PIECE_SECONDS = 0.2


def delete(store: Store, expired: Expired, hour: StoredHour) -> bool:
    """Take an hour out of the store and into the queue; tell whether it was there. Raises OSError if that fails."""
    name = hour_name(hour.start)
    hours = store.folder(hour.channel, hour.quality)
    _mark(expired, hour, hours / name)
    queue = hours / QUEUE
    if not queue.is_dir():
        queue.mkdir(exist_ok=True)
        sync_folder(hours)
    entry = queue / f"{name}-{uuid.uuid4()}"
    try:
        (hours / name).rename(entry)
    except FileNotFoundError:
        return False
    sync_folder(queue)
    sync_folder(hours)
    _keep_tombstones(entry)
    forget_missing(store, hour.channel, hour.quality, [name])
    return True


def _mark(expired: Expired, hour: StoredHour, folder: Path) -> None:
    """Mark an hour; a disk that is full to the last byte gets room for that from the hour itself, which goes anyway."""
    name = hour_name(hour.start)
    try:
        expired.mark(hour.channel, hour.quality, [name])
    except OSError as error:
        if error.errno not in FULL:
            raise
        freed = 0
        for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != TOMBSTONE_SUFFIX):
            freed += path.stat().st_size
            path.unlink()
            if freed >= _ROOM_BYTES:
                break
        log.warning("room_made_for_mark", hour=hour.name, bytes=freed)
        expired.mark(hour.channel, hour.quality, [name])


def _keep_tombstones(entry: Path) -> None:
    """Have the tombstones of an hour in the queue in the hour's own place, too."""
    try:
        tombstones = [name for name in os.listdir(entry) if name.endswith(TOMBSTONE_SUFFIX)]  # noqa: PTH208 - names only
    except FileNotFoundError:  # somebody else has emptied the queue
        return
    if tombstones:
        folder = entry.parent.parent / entry.name[: len("2026-03-01T12")]
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        put(folder, tombstones)


def forget_missing(store: Store, channel: str, quality: str, hours: list[str]) -> None:
    """Remove what was noted of segments that are missing in hours that are gone."""
    for hour in hours:
        (store.base / MISSING / channel / quality / hour).unlink(missing_ok=True)


def drop_tombstones(store: Store, expired: Expired, hour: StoredHour, now: datetime) -> bool:
    """Remove an hour that is nothing but tombstones, some time after it was deleted; tell whether it has gone."""
    name = hour_name(hour.start)
    deleted = expired.deleted(hour.channel, hour.quality).get(name)
    if deleted is None:  # somebody has removed its segments: their time begins now
        expired.mark(hour.channel, hour.quality, [name])
        return False
    if now - deleted < TOMBSTONES_STAY:
        return False
    folder = store.folder(hour.channel, hour.quality) / name
    for path in folder.iterdir():
        if path.is_file() and (path.name.startswith(".") or path.suffix == TOMBSTONE_SUFFIX):
            path.unlink()
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # something has come in the meantime, and stays
            raise
        return False
    return True


class Queue:
    """The hours of a store that wait to be removed; may be used from several threads."""

    def __init__(self, store: Store) -> None:
        """Have looked at nothing yet."""
        self._store = store
        self._sizes: dict[Path, int] = {}
        self._stuck: set[Path] = set()
        self._removing: tuple[Path, Iterator[int]] | None = None
        self._lock = threading.Lock()

    def entries(self) -> list[Path]:
        """Give what waits, oldest hours first."""
        found = [
            entry
            for channel in self._store.channels()
            for quality in self._store.qualities(channel)
            for entry in _entries(self._store.folder(channel, quality) / QUEUE)
        ]
        return sorted(found, key=lambda entry: entry.name)

    def size(self) -> int:
        """Add up the bytes that wait; what cannot be removed does not count."""
        with self._lock:
            entries = self.entries()
            for entry in entries:
                if entry not in self._sizes:
                    self._sizes[entry] = sum(_sizes(entry))
            self._sizes = {entry: self._sizes[entry] for entry in entries}
            return sum(size for entry, size in self._sizes.items() if entry not in self._stuck)

    def remove_some(self) -> bool:
        """Remove some files; tell whether anything was left to remove. What the disk refuses is left for a restart."""
        with self._lock:
            return self._remove_some()

    def _remove_some(self) -> bool:
        if self._removing is None:
            entry = next((each for each in self.entries() if each not in self._stuck), None)
            if entry is None:
                return False
            self._removing = (entry, _remove(entry))
        entry, files = self._removing
        ends = time.monotonic() + _PIECE_SECONDS
        try:
            for _ in range(_PIECE_FILES):
                freed = next(files, None)
                if freed is None:
                    self._removing = None
                    log.info("hour_removed", path=str(entry))
                    break
                self._sizes[entry] = max(0, self._sizes.get(entry, 0) - freed)
                if time.monotonic() > ends:
                    break
        except OSError as error:
            self._removing = None
            self._stuck.add(entry)
            log.warning("hour_not_removed", path=str(entry), reason=str(error))
        return True


def _entries(queue: Path) -> list[Path]:
    try:
        return [queue / name for name in os.listdir(queue)]  # noqa: PTH208 - names only
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sizes(entry: Path) -> Iterator[int]:
    for root, _, files in () if entry.is_symlink() else os.walk(entry):
        for name in files:
            with suppress(FileNotFoundError):
                yield Path(root, name).lstat().st_size


def _remove(entry: Path) -> Iterator[int]:
    """Remove a folder and all in it, a file at each step, whose bytes are given. Links are removed, not followed."""
    if entry.is_symlink():
        entry.unlink()
        return
    _keep_tombstones(entry)
    for root, folders, files in os.walk(entry, topdown=False):
        for name in files:
            path = Path(root, name)
            with suppress(FileNotFoundError):  # somebody else empties the queue, too
                size = path.lstat().st_size
                path.unlink()
                yield size
        for name in folders:
            path = Path(root, name)
            with suppress(FileNotFoundError):
                path.unlink() if path.is_symlink() else path.rmdir()
    with suppress(FileNotFoundError):
        entry.rmdir()
