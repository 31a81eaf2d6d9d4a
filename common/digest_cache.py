"""The digests of a store, each hour's worked out once and kept until its folder changes, over restarts too.

    BASE/<channel>/<quality>/.digests        a line that names the rest's own digest; then one for each hour:
                                             <hour> <inode> <time of change, ns> <digest, or - where it has none>

The file is a cache: it may be deleted at any time, and one that is damaged counts as none. It is replaced as a whole,
at most once a minute, by whichever process has worked out something new; each reads what the others have written. What
it says of an hour holds only while the hour's folder has the inode and the time of change that stand there.
"""

import fcntl
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import structlog

from common.digests import day_digests, quality_digest
from common.digests import digest as digest_of
from common.store import Stamp, Store, stamp_of

log = structlog.get_logger()

NAME = ".digests"
_NEW = ".digests.new"

_HEAD = b"respool digests 1 "
_NO_NAMES = "-"

# A file of ten years has a tenth of this.
_MOST_BYTES = 64 << 20

# How often, at most, a quality's file is written while the service runs.
_SAVE_SECONDS = 60.0


class _Known(NamedTuple):
    """The digest of an hour's names, None if it has none, and the stamp of the folder in which they lay."""

    stamp: Stamp
    digest: str | None


@dataclass(slots=True)
class _Quality:
    """What is known of one quality: its hours by name; `file` is the inode, time and size of what was last read."""

    hours: dict[str, _Known] = field(default_factory=dict)
    file: tuple[int, int, int] | None = None
    unsaved: bool = False
    saved_at: float = float("-inf")


class Digests:
    """The digests of a store. It may be used from several threads; all of it blocks.

    Names that cannot be raise BadPathError, a disk that fails OSError. In a store that cannot be written to, digests
    are kept in memory, which is logged once.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Open them; nothing is read yet. `clock` gives seconds."""
        self._store = store
        self._clock = clock
        self._qualities: dict[tuple[str, str], _Quality] = {}
        self._lock = threading.Lock()
        self._warned: set[Path] = set()

    def all(self) -> dict[str, dict[str, str]]:
        """Give the digest of each quality that has one, by channel and quality.

        A channel that cannot be read is left out, and logged.
        """
        found: dict[str, dict[str, str]] = {}
        for channel in self._store.channels():
            try:
                digests = {name: self.quality(channel, name) for name in self._store.qualities(channel)}
            except OSError as error:
                self._warn("channel_unreadable", self._store.base / channel, error)
                continue
            if there := {name: digest for name, digest in digests.items() if digest is not None}:
                found[channel] = there
        return found

    def quality(self, channel: str, quality: str) -> str | None:
        """Give the digest of a quality; None if nothing of it is there."""
        return quality_digest(self.days(channel, quality))

    def days(self, channel: str, quality: str) -> dict[str, str]:
        """Give the digests of the days, such as `2026-03-01`, of which there is something."""
        return day_digests(self.hours(channel, quality))

    def hours(self, channel: str, quality: str, day: str = "") -> dict[str, str]:
        """Give the digests of the hours of one day, or of all; an hour that cannot be read is left out, and logged."""
        names = self._store.hours(channel, quality)
        if not names:
            return {}
        known = self._look(channel, quality)
        found: dict[str, str] = {}
        for hour in names if not day else [name for name in names if name.startswith(f"{day}T")]:
            try:
                digest = self._hour(known, channel, quality, hour)
            except OSError as error:
                self._warn("hour_unreadable", self._store.folder(channel, quality) / hour, error)
                continue
            if digest is not None:
                found[hour] = digest
        with self._lock:
            for gone in known.hours.keys() - set(names):
                del known.hours[gone]
                known.unsaved = True
        if known.unsaved and self._clock() - known.saved_at >= _SAVE_SECONDS:
            self._save(channel, quality, known)
        return found

    def hour(self, channel: str, quality: str, hour: str) -> str | None:
        """Give the digest of one hour, such as `2026-03-01T18`; None if nothing of it is there."""
        if stamp_of(self._store.hour_folder(channel, quality, hour)) is None:
            return None
        return self._hour(self._look(channel, quality), channel, quality, hour)

    def flush(self) -> None:
        """Bring to disk what is not there yet: to be called when the service stops."""
        with self._lock:
            places = [*self._qualities]
        for channel, quality in places:
            known = self._look(channel, quality)
            if known.unsaved:
                self._save(channel, quality, known)

    def _hour(self, known: _Quality, channel: str, quality: str, hour: str) -> str | None:
        looked_ns = time.time_ns()
        stamp = stamp_of(f"{self._store.base}/{channel}/{quality}/{hour}")
        if stamp is None:
            return None
        before = known.hours.get(hour)
        if before is not None and before.stamp == stamp:
            return before.digest
        # what hour_digest would give: what is listed with tombstones is what counts
        digest = digest_of(self._store.names(channel, quality, hour, tombstones=True))
        if stamp.settled(looked_ns):
            with self._lock:
                known.hours[hour] = _Known(stamp, digest)
                known.unsaved = True
        return digest

    def _look(self, channel: str, quality: str) -> _Quality:
        """Give what is known of a quality that is there, with what another process has written since."""
        path = self._store.folder(channel, quality) / NAME
        with self._lock:
            known = self._qualities.setdefault((channel, quality), _Quality())
            file = _file_stamp(path)
            if file is not None and file != known.file:
                known.file, written = file, _read(path)
                for hour, theirs in written.items():
                    ours = known.hours.get(hour)
                    if ours is None or ours.stamp.changed_ns < theirs.stamp.changed_ns:
                        known.hours[hour] = theirs
                known.unsaved = known.unsaved and known.hours != written
        return known

    def _save(self, channel: str, quality: str, known: _Quality) -> None:
        """Replace the file, unless another process is about to; what fails is logged once, and tried again later."""
        folder = self._store.folder(channel, quality)
        with self._lock:
            known.saved_at, known.unsaved = self._clock(), False
            text = _format(known.hours)
        try:
            file = _write(folder, text)
        except FileNotFoundError:  # the quality itself is gone
            return
        except OSError as error:
            self._warn("digests_not_kept", self._store.base, error)
            file = None
        with self._lock:
            if file is None:
                known.unsaved = True
            else:
                known.file = file

    def _warn(self, event: str, path: Path, error: OSError) -> None:
        with self._lock:
            if path in self._warned:
                return
            self._warned.add(path)
        log.warning(event, path=str(path), reason=error.strerror)


def _file_stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - as in the store, for each request
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _write(folder: Path, text: bytes) -> tuple[int, int, int] | None:
    """Replace the file and give its stamp; None if another process is writing it. It need not survive a power cut."""
    path = folder / _NEW
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_ino != path.stat().st_ino:
            return None  # it has become the file itself in the meantime
        os.ftruncate(file, 0)
        with os.fdopen(os.dup(file), "wb") as written:
            written.write(text)
        path.replace(folder / NAME)
        found = os.fstat(file)
    except (BlockingIOError, FileNotFoundError):
        return None
    finally:
        os.close(file)
    return found.st_ino, found.st_mtime_ns, found.st_size


def _format(hours: Mapping[str, _Known]) -> bytes:
    lines = (
        f"{hour} {known.stamp.inode} {known.stamp.changed_ns} {known.digest or _NO_NAMES}\n"
        for hour, known in sorted(hours.items())
    )
    text = "".join(lines).encode()
    return _HEAD + hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def _read(path: Path) -> dict[str, _Known]:
    """Read a file; empty if it cannot be read, is damaged, or is of another version."""
    try:
        with path.open("rb") as file:
            whole = file.read(_MOST_BYTES)
    except OSError:
        return {}
    head, _, text = whole.partition(b"\n")
    if head != _HEAD + hashlib.sha256(text).hexdigest().encode():
        return {}
    rows = (line.split(" ") for line in text.decode().splitlines())
    return {
        hour: _Known(Stamp(int(inode), int(changed_ns)), None if digest == _NO_NAMES else digest)
        for hour, inode, changed_ns, digest in rows
    }
