"""How large each hour is: added up once, and again only when its folder has changed.

    BASE/.expired/.sizes        a JSON object, so that a new process adds up nothing that is known; a cache

All of it blocks; used from one thread at a time.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from common.dateutil import parse_hour
from common.expired import FOLDER
from common.segments import TOMBSTONE_SUFFIX
from common.store import Store
from librarian.retention import StoredHour

log = structlog.get_logger()

_NAME = ".sizes"

# As for the store's listings: what has changed so shortly before may change again without showing it.
_CLOCK_TICK_NS = 50_000_000

# The hour that is being recorded changes all the time; what has been added up is written this often at most.
_SAVED_EVERY_SECONDS = 600.0


class _Size(NamedTuple):
    inode: int
    changed_ns: int
    size: int
    files: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class _Counted:
    size: int
    files: int
    tombstones: int


class Sizes:
    """The sizes of all hours of a store."""

    def __init__(self, store: Store) -> None:
        """Read nothing yet."""
        self._store = store
        self._path = store.base / FOLDER / _NAME
        self._known: dict[str, _Size] | None = None
        self._saved = time.monotonic()
        self._warned: set[str] = set()

    def look(self, enough: Callable[[], bool] = lambda: False) -> list[StoredHour] | None:
        """Give all hours as they are now; None if there was `enough` of it before it was done.

        Raises OSError if the store cannot be read.
        """
        if self._known is None:
            self._known = _read(self._path)
        disk = self._store.base.stat().st_dev
        seen: dict[str, _Size] = {}
        found: list[StoredHour] = []
        for channel, quality, hour in self._all():
            if enough():
                self._known |= seen
                self.save()
                return None
            folder, name = self._store.folder(channel, quality) / hour, f"{channel}/{quality}/{hour}"
            try:
                known, on_disk = self._size(folder, self._known.get(name), disk)
            except FileNotFoundError:  # gone since it was listed
                continue
            except OSError as error:  # such as a folder of somebody else's: no reason to let the disk fill up
                if name not in self._warned:
                    log.warning("hour_unreadable", hour=name, reason=str(error))
                    self._warned.add(name)
                continue
            seen[name] = known
            found.append(StoredHour(parse_hour(hour), channel, quality, *known[2:], on_disk))
        changed, self._known = seen != self._known, seen
        if changed and time.monotonic() - self._saved > _SAVED_EVERY_SECONDS:
            self.save()
        return found

    def _size(self, folder: Path, known: _Size | None, disk: int) -> tuple[_Size, bool]:
        """Give an hour's size, `known` if it has not changed, and whether it lies on this disk."""
        looked_ns, status = time.time_ns(), folder.stat()
        if known is None or (known.inode, known.changed_ns) != (status.st_ino, status.st_ctime_ns):
            counted = _count(folder)
            settled = looked_ns - status.st_ctime_ns > _CLOCK_TICK_NS
            changed_ns = status.st_ctime_ns if settled else 0
            known = _Size(status.st_ino, changed_ns, counted.size, counted.files, counted.tombstones)
        return known, status.st_dev == disk

    def save(self) -> None:
        """Write down what was added up; where that fails it is added up again by the next process."""
        self._saved = time.monotonic()
        temp = self._path.with_name(f"{_NAME}-new")
        with suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            temp.write_text(json.dumps(self._known or {}, separators=(",", ":")))
            temp.replace(self._path)

    def _all(self) -> Iterator[tuple[str, str, str]]:
        for channel in self._store.channels():
            for quality in self._store.qualities(channel):
                for hour in self._store.hours(channel, quality):
                    yield channel, quality, hour


def _read(path: Path) -> dict[str, _Size]:
    try:
        return {str(name): _Size(*map(int, each)) for name, each in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _count(folder: Path) -> _Counted:
    """Add up what lies in a folder and below: bytes, and how many files an hour's own listing shows."""
    size = files = tombstones = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    size += _count(Path(entry.path)).size
                    continue
                size += entry.stat(follow_symlinks=False).st_size
                files += not entry.name.startswith(".") and not entry.name.endswith(TOMBSTONE_SUFFIX)
                tombstones += entry.name.endswith(TOMBSTONE_SUFFIX) and not entry.name.startswith(".")
    return _Counted(size, files, tombstones)
