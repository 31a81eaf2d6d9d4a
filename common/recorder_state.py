"""Whether a quality is being recorded now: a hidden file that its recorder keeps, and that tells whether it lives.

    BASE/.recorders/<channel>/<quality>        one JSON object: recording, since, reason

It is not beside the recordings, since a quality of which nothing is recorded yet is to be in no listing.
The file is locked (flock) by its recorder before it gets its name and until another one takes its place, or the
recorder ends, however it ends. So content and lock change in one step, and one without a lock is what a recorder left.
"""

import fcntl
import json
import os
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from common.dateutil import format_utc, parse
from common.store import Store, component

FOLDER = ".recorders"
_MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class RecorderState:
    """What a recorder last said of itself: whether it records, since when (aware UTC), and if not, why (a sentence).

    `clock_offset` is in seconds how much later than the stream's own time its newest is seen here, at the least.
    """

    recording: bool
    since: datetime
    reason: str = ""
    clock_offset: float | None = None


class RecorderFile:
    """The file of one quality while it is recorded; all of it blocks, and is used from one thread at a time."""

    def __init__(self, store: Store, channel: str, quality: str) -> None:
        """Have written nothing yet."""
        self._path = _path(store, channel, quality)
        self._file: IO[bytes] | None = None

    def write(self, state: RecorderState) -> None:
        """Say how it is now, in place of what was said before. Raises OSError if the disk refuses it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        path = self._path.parent / f".{uuid.uuid4()}"
        file = path.open("xb", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(json.dumps({**asdict(state), "since": format_utc(state.since)}).encode())
            path.rename(self._path)
        except BaseException:
            file.close()
            with suppress(OSError):
                path.unlink()
            raise
        self.close()
        self._file = file

    def close(self) -> None:
        """Let go of it: from now on the recorder counts as gone."""
        if self._file is not None:
            self._file.close()
            self._file = None


def known_recorders(store: Store) -> list[tuple[str, str]]:
    """Name the channels and qualities of which recorders have left word, sorted."""
    paths = (store.base / FOLDER).glob("*/*")
    return sorted((path.parent.name, path.name) for path in paths if not path.name.startswith("."))


def read_state(store: Store, channel: str, quality: str) -> tuple[RecorderState, bool] | None:
    """Give what the last recorder of a quality said, and whether it lives; None if there never was one."""
    path = _path(store, channel, quality)
    try:
        with path.open("rb") as file:
            state = _parse(file.read(_MOST_BYTES))
            return None if state is None else (state, _is_locked(file, path))
    except OSError:
        return None


def _path(store: Store, channel: str, quality: str) -> Path:
    return store.base / FOLDER / component(channel) / component(quality)


def _is_locked(file: IO[bytes], path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    # another one may have taken its place since it was opened, which only a recorder that lives does
    with suppress(FileNotFoundError):
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    return False


def _parse(text: bytes) -> RecorderState | None:
    try:
        fields = json.loads(text)
        offset = fields.get("clock_offset")
        return RecorderState(
            bool(fields["recording"]),
            parse(fields["since"]),
            str(fields.get("reason", "")),
            None if offset is None else float(offset),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
