"""What is recorded of each hour of a quality, worked out once and again only when something of it has changed.

    BASE/.coverage/<channel>/<quality>/.hours        a JSON object, so that a new process walks no hour that is known

The file is a cache: it may be deleted at any time. An hour depends on its folder, on those of its neighbours, and on
what is noted as missing (`common.missing`) of it and of the hour before. All of it blocks; used from one thread at a
time.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from common import missing
from common.coverage_pictures import picture_folder
from common.dateutil import HOUR, floor_hour, hour_name, parse_hour
from common.missing import AWAY, STOPPED
from common.segments import SegmentType
from common.sidecar import FactsStore
from common.store import Store, stamp_of
from common.stretches import stretches
from librarian.coverage_account import Kind, Noted, Span

log = structlog.get_logger()

NAME: Final = ".hours"
_VERSION: Final = 1

# The hour that is being recorded changes all the time; what was worked out is written this often at most.
_SAVED_EVERY_SECONDS: Final = 600.0

# A file of ten years has a tenth of this.
_MOST_BYTES: Final = 256 << 20

_MICROSECOND: Final = timedelta(microseconds=1)
_LETTERS: Final = {Kind.FULL: "f", Kind.PARTIAL: "p"}
_KINDS: Final = {letter: kind for kind, letter in _LETTERS.items()}
_AWAY, _STOPPED, _LOST = "a", "s", "l"


class _Stamp(NamedTuple):
    """What changes when an hour's folder or its notes do; zeros for what is not there."""

    inode: int = 0
    changed_ns: int = 0
    notes_inode: int = 0
    notes_size: int = 0


_UNKNOWN: Final = _Stamp(-1)  # no hour has it: to be walked again

# Parts are microseconds from the beginning of the hour to their start and end, and a letter.
_Part = tuple[int, int, str]


class _Hour(NamedTuple):
    """An hour: its stamp when it was walked, what is recorded of it, and what is noted."""

    stamp: _Stamp
    recorded: tuple[_Part, ...] = ()
    noted: tuple[_Part, ...] = ()


class QualityHours:
    """The hours of one quality. `drawn` is for whoever draws them: by day, what its picture was drawn from."""

    def __init__(self, store: Store, facts: FactsStore, channel: str, quality: str) -> None:
        """Read what is known of them, if anything is. Raises BadPathError for names that cannot be."""
        self._store, self._facts = store, facts
        self._where = channel, quality
        self._path = picture_folder(self._store, channel, quality) / NAME
        self._hours: dict[datetime, _Hour] = {}
        self.drawn: dict[str, str] = {}
        self._unsaved = False
        self._saved = float("-inf")
        self._read()

    # Looking ---------------------------------------------------------------------------------------------------------

    def look(self, enough: Callable[[], bool] = lambda: False) -> set[datetime]:
        """Walk what has changed, newest first, until there is `enough` of it, and give the hours walked.

        Raises OSError if the store cannot be read.
        """
        folders = map(parse_hour, self._store.hours(*self._where))
        return self._walk({*folders, *self._noted_hours(), *self._hours}, enough)

    def look_at(self, hours: Iterable[datetime]) -> set[datetime]:
        """Walk what has changed of some hours and their neighbours, as long as there is anything of them."""
        return self._walk(set(hours), lambda: False)

    def _walk(self, hours: Iterable[datetime], enough: Callable[[], bool]) -> set[datetime]:
        walked: set[datetime] = set()
        for hour in sorted(hours, reverse=True):
            if enough():
                break
            stamp = self._stamp(hour)
            known = self._hours.get(hour)
            if stamp == (known.stamp if known else _Stamp()) and stamp != _UNKNOWN:
                continue
            for each in {hour - HOUR, hour, hour + HOUR} - walked:
                self._walk_hour(each)
                walked.add(each)
            self._put(hour, self._hours.get(hour, _Hour(_UNKNOWN))._replace(stamp=stamp))
        self._unsaved = self._unsaved or bool(walked)
        return walked

    def _stamp(self, hour: datetime) -> _Stamp:
        """Look at an hour; one that has changed so shortly before that it might again without showing it is unknown."""
        looked_ns = time.time_ns()
        name = hour_name(hour)
        folder = stamp_of(self._store.folder(*self._where) / name)
        notes = _notes_stamp(self._store.base / missing.FOLDER / self._where[0] / self._where[1] / name)
        if folder is None:
            return _Stamp(0, 0, *notes)
        return _Stamp(*folder, *notes) if folder.settled(looked_ns) else _UNKNOWN

    def _walk_hour(self, hour: datetime) -> None:
        end = hour + HOUR
        cover = partial(self._store.sequence, *self._where, hour, end)
        full, found = SegmentType.FULL, stretches(self._facts.settle(*self._where, cover))
        recorded = tuple(
            (*_within(hour, each.start, each.end), _LETTERS[Kind.FULL if each.type is full else Kind.PARTIAL])
            for each in found
            if each.type is not None
        )
        noted = tuple(
            (*_within(hour, each.start, each.end), {AWAY: _AWAY, STOPPED: _STOPPED}.get(each.reason, _LOST))
            for each in missing.read(self._store, *self._where, hour, end)
        )
        known = self._hours.get(hour)
        self._put(hour, _Hour(known.stamp if known else _Stamp(), recorded, noted))

    def _put(self, hour: datetime, found: _Hour) -> None:
        if found == _Hour(_Stamp()):
            self._hours.pop(hour, None)
        else:
            self._hours[hour] = found

    def _noted_hours(self) -> list[datetime]:
        try:
            names = os.listdir(self._store.base / missing.FOLDER / self._where[0] / self._where[1])  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [hour for name in names if (hour := _parsed(name)) is not None]

    # What is known ---------------------------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether nothing is recorded or noted."""
        return not self._hours

    def days(self) -> set[str]:
        """Name the days (UTC) of which anything is recorded or noted."""
        return {f"{hour:%Y-%m-%d}" for hour, each in self._hours.items() if each.recorded or each.noted}

    def span(self) -> tuple[datetime, datetime] | tuple[None, None]:
        """Give the first and the last moment that is recorded."""
        hours = [hour for hour, each in self._hours.items() if each.recorded]
        if not hours:
            return None, None
        first, last = min(hours), max(hours)
        return _moment(first, self._hours[first].recorded[0][0]), _moment(last, self._hours[last].recorded[-1][1])

    def recorded(self, start: datetime, end: datetime) -> list[Span]:
        """Give what is recorded of all hours that the range touches: spans, by start, apart."""
        found: list[Span] = []
        for hour in _touching(start, end):
            for first, last, letter in self._hours.get(hour, _NOTHING).recorded:
                span = Span(_moment(hour, first), _moment(hour, last), _KINDS[letter])
                if found and found[-1].end == span.start and found[-1].kind is span.kind:
                    span = Span(found.pop().start, span.end, span.kind)
                found.append(span)
        return found

    def noted(self, start: datetime, end: datetime) -> list[Noted]:
        """Give what is noted of all hours that the range touches, by start."""
        return [
            Noted(_moment(hour, first), _moment(hour, last), letter == _AWAY, letter == _STOPPED)
            for hour in _touching(start, end)
            for first, last, letter in self._hours.get(hour, _NOTHING).noted
        ]

    # Keeping ---------------------------------------------------------------------------------------------------------

    def save(self, *, at_once: bool = False) -> None:
        """Write down what is known, if there is news and the last time is long ago; what fails is worked out again."""
        if not self._unsaved or (not at_once and time.monotonic() - self._saved < _SAVED_EVERY_SECONDS):
            return
        self._saved, self._unsaved = time.monotonic(), False
        hours = {hour_name(hour): [each.stamp, each.recorded, each.noted] for hour, each in sorted(self._hours.items())}
        told = {"version": _VERSION, "hours": hours, "drawn": self.drawn}
        temp = self._path.with_name(f"{NAME}-new")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temp.write_text(json.dumps(told, separators=(",", ":")))
            temp.replace(self._path)

    def _read(self) -> None:
        """Read what was known; what cannot be read is not."""
        try:
            with self._path.open("rb") as file:
                told = json.loads(file.read(_MOST_BYTES))
            if told["version"] != _VERSION:
                return
            self._hours = {parse_hour(name): _hour_of(each) for name, each in told["hours"].items()}
            self.drawn = {f"{date.fromisoformat(day)}": str(drawn) for day, drawn in told["drawn"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self._hours, self.drawn = {}, {}

    def noticed(self) -> None:
        """Take note that `drawn` has changed."""
        self._unsaved = True


_NOTHING: Final = _Hour(_Stamp())


def _hour_of(told: Any) -> _Hour:  # noqa: ANN401 - JSON
    """Read an hour as `save` wrote it. Raises ValueError, TypeError or KeyError if it is none."""
    stamp, recorded, noted = told
    parts = [tuple((int(first), int(last), str(letter)) for first, last, letter in each) for each in (recorded, noted)]
    if not {letter for _, _, letter in parts[0]} <= {*_KINDS}:
        raise ValueError("This is no kind.")
    if not all(0 <= first <= last <= HOUR // _MICROSECOND for part in parts for first, last, _ in part):
        raise ValueError("This is no part of an hour.")
    return _Hour(_Stamp(*map(int, stamp)), parts[0], parts[1])


def _within(hour: datetime, start: datetime, end: datetime) -> tuple[int, int]:
    """Give the part of a stretch that lies in an hour, in microseconds from its beginning."""
    return (max(start, hour) - hour) // _MICROSECOND, (min(end, hour + HOUR) - hour) // _MICROSECOND


def _moment(hour: datetime, microseconds: int) -> datetime:
    return hour + microseconds * _MICROSECOND


def _touching(start: datetime, end: datetime) -> list[datetime]:
    first = floor_hour(start)
    return [first + number * HOUR for number in range((end - first) // HOUR + 1)]


def _notes_stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    return found.st_ino, found.st_size


def _parsed(name: str) -> datetime | None:
    try:
        return parse_hour(name)
    except ValueError:
        return None
