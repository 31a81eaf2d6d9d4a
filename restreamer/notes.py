"""What must outlive a process of its live lists: a small file for each, in a hidden folder of the store.

    BASE/.live/<hash of the list's key>

Several processes, and one that is started again, go on with the same list by it. Notes are written under one lock
(flock), by replacing: a reader sees a whole one. What is none (a crash, another version) counts as not there, and is
written anew. Where the folder cannot be written to, a list lives in its process alone.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from common.dateutil import format_utc, parse_hour, parse_utc_only

log = structlog.get_logger()

FOLDER = ".live"
_LOCK = ".lock"

# A note whose list was not asked for so long is removed, and so are the oldest of too many: any client can ask for
# lists that begin whenever it likes.
_NOTE_SECONDS = 2 * 24 * 3600.0
_MOST_NOTES = 5_000

# How often, at most, a process looks for such, and says that a list is still being read.
_SWEEP_SECONDS = 600.0
TOUCH_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Key:
    """Which list: a quality of a channel, from a moment on (None: from the first segment on)."""

    channel: str
    quality: str
    start: datetime | None

    @property
    def note(self) -> str:
        """A file name for it."""
        text = json.dumps([self.channel, self.quality, self.start and format_utc(self.start)])
        return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(slots=True)
class Note:
    """When a list opened, its target duration (seconds), and the numbers its hours began with.

    `marks`: for the first entry of an hour its Media Sequence Number, the breaks before it, and whether it has one.
    `breaks`: where the media was known to break in what the list opened with; None before it has.
    """

    opened: datetime
    target: int = 0
    marks: dict[str, tuple[int, int, bool]] = field(default_factory=dict)
    breaks: set[datetime] | None = None

    def to_json(self) -> str:
        """Write it."""
        breaks = sorted(map(format_utc, self.breaks or ()))
        return json.dumps(
            {"opened": format_utc(self.opened), "target": self.target, "marks": self.marks, "breaks": breaks}
        )

    @classmethod
    def from_json(cls, text: str) -> "Note":
        """Read it. Raises ValueError, TypeError, LookupError, AttributeError or ArithmeticError if it is none."""
        found = json.loads(text)
        marks = {str(hour): (int(mark[0]), int(mark[1]), bool(mark[2])) for hour, mark in found["marks"].items()}
        for hour in marks:
            parse_hour(hour)
        breaks = set(map(parse_utc_only, found["breaks"]))
        return cls(parse_utc_only(found["opened"]), int(found["target"]), marks, breaks)


class Notes:
    """The notes of a store; where they cannot be written they are not, which is said once. All of it blocks."""

    def __init__(self, base: Path) -> None:
        """Use the folder for them in the store at `base`; it is made when the first note is."""
        self._folder = base / FOLDER
        self._told = False
        self._swept = float("-inf")

    def read(self, key: Key) -> Note | None:
        """Give the note of a list, if there is one that can be read."""
        try:
            return Note.from_json((self._folder / key.note).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            return None

    def exists(self, key: Key) -> bool:
        """Tell whether there is something noted of a list."""
        return (self._folder / key.note).exists()

    def decide(self, key: Key, note: Note) -> Note:
        """Write a note unless another process has written one just now; give the one that holds."""
        with self._locked() as can_write:
            if not can_write:
                return note
            found = self.read(key)
            if found is None:
                self._put(key, note)
            self._sweep()
            return found or note

    def add(self, key: Key, note: Note) -> None:
        """Write what has been added to a note, beside what another process has added."""
        with self._locked() as can_write:
            found = self.read(key) if can_write else None
            if found is not None and found.opened != note.opened:
                return  # ours was removed, and the list opened anew by another process
            if found is not None:
                note.marks = found.marks | note.marks
                note.target = max(found.target, note.target)
            if can_write:
                self._put(key, note)

    def touch(self, key: Key) -> None:
        """Note that a list is still read."""
        with suppress(OSError):
            os.utime(self._folder / key.note)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Keep other processes and threads from writing; gives whether notes can be written at all."""
        try:
            self._folder.mkdir(exist_ok=True)
            lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            self._tell(error)
            yield False
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield True
        finally:
            os.close(lock)  # and with it the lock

    def _put(self, key: Key, note: Note) -> None:
        temp = self._folder / f".{key.note}"
        try:
            temp.write_text(note.to_json(), encoding="utf-8")
            temp.replace(self._folder / key.note)
        except OSError as error:
            self._tell(error)

    def _sweep(self) -> None:
        """Remove, now and then, what nobody has asked for in a long time."""
        if time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        self._swept = time.monotonic()
        with suppress(OSError):
            paths = [path for path in self._folder.iterdir() if path.name != _LOCK]
            asked = sorted(((_asked_for(path), path) for path in paths), reverse=True)
            oldest = time.time() - _NOTE_SECONDS
            for index, (last, path) in enumerate(asked):
                if last < oldest or index >= _MOST_NOTES:
                    path.unlink(missing_ok=True)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("live_lists_not_noted", folder=str(self._folder), reason=error.strerror)


def _asked_for(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
