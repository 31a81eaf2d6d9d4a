"""Writing into the store: a `temp` in its final folder, then an atomic rename to the name that tells the content.

Invariants, whatever dies when: a file under a final name is complete and its hash is right; a `temp` that no process
writes to any more is found by `sweep_temps` and kept as `partial`. While a process writes to a temp it holds a lock on
it (flock), which the kernel releases however the process ends.
"""

import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from common.dateutil import hour_name, parse_hour
from common.durable import sync_folder
from common.segments import Segment, SegmentType, Suffix, content_hash, make_segment, parse_names
from common.store import Store
from common.timed import timed

log = structlog.get_logger()

# What the temps of copies have before their UUID.
_COPY = "copy_"

# A temp is locked in the instant after it is made; an empty one younger than this may be just there.
_EMPTY_TEMP_SECONDS = 60.0


class SegmentWriter:
    """One segment on its way to disk: `write` what arrives, then `commit` it under its type, or `abandon` it.

    Used from one thread at a time. Any OSError (a full disk, say) leaves at most a temp behind.
    """

    def __init__(
        self,
        store: Store,
        channel: str,
        quality: str,
        start: datetime,
        duration: timedelta,
        *,
        suffix: Suffix = ".ts",
        is_copy: bool = False,
    ) -> None:
        """Make the temp in its hour's folder. `start` is aware UTC.

        If it `is_copy`, what a process that dies has written of it is removed by `sweep_temps`, not kept.
        """
        unique = f"{_COPY if is_copy else ''}{uuid.uuid4()}"
        self._temp = make_segment(start, duration, SegmentType.TEMP, unique, suffix)
        self._suffix: Suffix = suffix
        self._folder = store.folder(channel, quality) / hour_name(start)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / self._temp.name
        made = self._path.with_name(f".{unique}") if is_copy else self._path
        self._file = made.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        if is_copy:  # it has its lock before anybody sees it, so that an empty one without is not left for later
            made.rename(self._path)
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def path(self) -> Path:
        """Where the temp lies until it has its final name."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether a commit was tried, or it was abandoned."""
        return self._file.closed

    def write(self, data: bytes | memoryview) -> None:
        """Append to the temp."""
        view = memoryview(data)
        while view:
            written = self._file.write(view)  # a disk that fills up takes a part before it fails
            self._hash.update(view[:written])
            self.size += written
            view = view[written:]

    @timed("segment_commit", "Bringing a segment to disk for good.", labels={"type": lambda _, kind: kind.value})
    def commit(self, kind: SegmentType) -> Segment:
        """Bring what was written to disk for good and give it its final name; closes the temp."""
        with self._file:
            os.fsync(self._file.fileno())
            # its time tells when it was there, however long the disk took to sync it
            os.utime(self._file.fileno())
            segment = make_segment(
                self._temp.start, self._temp.duration, kind, content_hash(self._hash.digest()), self._suffix
            )
            self._path.rename(self._folder / segment.name)
            sync_folder(self._folder)
        return segment

    def commit_copy(self, original: Segment) -> bool:
        """Bring a copy to disk for good under the name of its original, if the content is what that says.

        Tells whether it is; if not, nothing is left of it. Closes the temp. Whoever makes many copies syncs their
        folder afterwards, with `sync_folder`.
        """
        if content_hash(self._hash.digest()) != original.hash:
            self.discard()
            return False
        try:
            os.fsync(self._file.fileno())
            os.utime(self._file.fileno())
            self._path.rename(self._folder / original.name)
        except OSError:
            self.discard()
            raise
        self._file.close()
        return True

    def discard(self) -> None:
        """Remove the temp and what was written to it; nothing happens if a commit was tried already."""
        if not self._file.closed:
            with self._file, suppress(OSError):
                self._path.unlink()

    def abandon(self) -> Segment | None:
        """Keep what was written as `partial`, if anything was; nothing happens if a commit was tried already.

        Gives the segment kept. If the disk refuses that too, the temp is left for `sweep_temps`.
        """
        if self._file.closed:
            return None
        if self.size:
            with suppress(OSError):
                return self.commit(SegmentType.PARTIAL)
            return None
        self.discard()
        return None


def sweep_temps(
    store: Store, channel: str, quality: str, *, enough: Callable[[], bool] = lambda: False
) -> list[Segment]:
    """Make `partial` segments of the temps whose writer is gone, and remove the empty ones; give those kept.

    Those of copies are removed. The newest hours are swept first; between two of them `enough` is asked whether to
    leave the rest for another time, since a store of years takes a minute.
    """
    kept: list[Segment] = []
    for hour in reversed(store.hours(channel, quality)):
        if enough():
            break
        folder = store.folder(channel, quality) / hour
        try:
            names = os.listdir(folder)  # noqa: PTH208 - as many paths would take longer than all the rest
        except FileNotFoundError:  # deleted since it was listed
            continue
        # only temps are parsed: that takes a tenth of the time of all names
        temps, _ = parse_names(parse_hour(hour), (name for name in names if "-temp-" in name))
        for temp in temps:
            kept += _sweep(folder / temp.name, temp)
    return sorted(kept)


def sweep_copies(folder: Path) -> None:
    """Remove the temps of copies whose writer is gone from an hour's folder, if there is one."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - as above
    except FileNotFoundError:
        return
    for temp in parse_names(parse_hour(folder.name), (name for name in names if f"-temp-{_COPY}" in name))[0]:
        _sweep(folder / temp.name, temp)


def _sweep(path: Path, temp: Segment) -> list[Segment]:
    try:
        file = path.open("r+b")  # NFS locks only what is open for writing
    except FileNotFoundError:
        return []
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return []
        found = os.fstat(file.fileno())
        if not path.exists():  # committed between the listing and the lock
            return []
        is_copy = temp.hash.startswith(_COPY)
        if found.st_size == 0 or is_copy:
            if is_copy or time.time() - found.st_mtime > _EMPTY_TEMP_SECONDS:
                path.unlink()
            return []
        os.fsync(file.fileno())
        suffix: Suffix = ".mp4" if temp.name.endswith(".mp4") else ".ts"
        content = content_hash(hashlib.file_digest(file, "sha256").digest())
        segment = make_segment(temp.start, temp.duration, SegmentType.PARTIAL, content, suffix)
        path.rename(path.with_name(segment.name))
        sync_folder(path.parent)
    log.info("temp_kept", path=str(path.with_name(segment.name)), bytes=found.st_size)
    return [segment]
