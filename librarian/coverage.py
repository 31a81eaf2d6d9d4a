"""The coverage of all that a store has: metrics of the last minutes, hour and day, and a picture of each day.

What is recorded of an hour is worked out once (`librarian.coverage_hours`), what of it was to be is told by
`librarian.coverage_account`. The last hours are looked at every few seconds, all others once a minute, which costs a
stat each.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from common import metrics
from common.coverage_pictures import FOLDER, picture_folder, picture_path
from common.dateutil import HOUR, floor_hour, hour_name, hours_touching
from common.expired import Expired
from common.recorder_state import RecorderState, read_state
from common.sidecar import FactsStore
from common.status import recordings
from common.store import BadPathError, Store
from common.waits import in_thread, pause
from librarian.coverage_account import INTERRUPTION, Expected, Kind, Noted, Span, account, ratio, since_when, totals
from librarian.coverage_hours import QualityHours
from librarian.coverage_picture import DayPicture

log = structlog.get_logger()

EVERY_SECONDS: Final = 5.0
_LOOKS_AT_ALL: Final = timedelta(minutes=1)

# A stream that is recorded is this far behind its own time at the most: what is younger is not missing yet. One that is
# seen later than that, as its recorder says, has so much longer.
DELAY: Final = timedelta(minutes=1)
_SEEN: Final = timedelta(seconds=30)

_DAY: Final = timedelta(days=1)
WINDOWS: Final = {"5m": timedelta(minutes=5), "1h": HOUR, "1d": _DAY}

# Each hour is walked once, so that there is little to remember: the hours that are being recorded, and a dozen more.
_CACHED_SEGMENTS: Final = 30_000

_WHERE: Final = ("channel", "quality", "window")
_RATIO = metrics.gauge(
    "coverage_ratio", "The share of what was expected in the window that is recorded; none if nothing was.", *_WHERE
)
_SECONDS: Final = {
    Kind.MISSING: metrics.gauge("coverage_hole_seconds", "What is missing of the window.", *_WHERE),
    Kind.PARTIAL: metrics.gauge("coverage_partial_seconds", "What is recorded as suspect or partial.", *_WHERE),
    Kind.INTERRUPTED: metrics.gauge(
        "coverage_interrupted_seconds", "Holes of over ten minutes in which nobody recorded.", *_WHERE
    ),
}
_GAUGES: Final = (_RATIO, *_SECONDS.values())
_WALKED = metrics.counter("coverage_walked_hours", "Hours whose coverage was worked out, again or for the first time.")
_DRAWN = metrics.counter("coverage_drawn_days", "Pictures of days that were drawn, again or for the first time.")

Recording = tuple[str, str]


class Coverage:
    """The coverage of one store; all of it but `run` blocks, and is used from one thread at a time."""

    def __init__(self, store: Store, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Have looked at nothing yet; `now` gives the time, aware UTC."""
        self._store = Store(store.base, cached_segments=_CACHED_SEGMENTS)
        self._facts = FactsStore(self._store)
        self._expired = Expired(store.base, now)
        self._now = now
        self._known: dict[Recording, QualityHours] = {}
        self._undrawn: dict[Recording, set[str]] = {}
        self._shown: dict[Recording, set[str]] = {}
        self._looked_at_all = datetime.min.replace(tzinfo=UTC)
        self._warned: set[str] = set()

    async def run(self, stop: asyncio.Event, every: float = EVERY_SECONDS) -> None:
        """Keep metrics and pictures until told to stop; what fails is tried again."""
        while not stop.is_set():
            try:
                await in_thread(self.look, stop.is_set)
            except OSError as error:
                self._warn("coverage_unknown", str(self._store.base), error)
            await pause(stop, every)
        await in_thread(self.save)

    def look(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Look at the last hours, and at all others if that is due; show and draw what has changed.

        It ends early when there is `enough` of it. Raises OSError if the store cannot be read.
        """
        now = self._now()
        due = not timedelta() <= now - self._looked_at_all < _LOOKS_AT_ALL  # also if the clock was set back
        if due:
            self._meet()
        for recording in sorted(self._known):
            if enough():
                return
            try:
                self._look_at(recording, now, enough, due=due)
            except OSError as error:
                self._warn("coverage_unknown", "/".join(recording), error)
        if due:
            self._looked_at_all = now

    def save(self) -> None:
        """Write down what is known of the hours."""
        for hours in self._known.values():
            hours.save(at_once=True)

    # The qualities ---------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Take in the qualities that have come, and drop those that have gone, with all that is shown of them."""
        self._store.check_readable()
        there = set(recordings(self._store))
        for recording in there - self._known.keys():
            with suppress(BadPathError):  # a recorder's word with a name that cannot be
                hours = self._known[recording] = QualityHours(self._store, self._facts, *recording)
                self._undrawn[recording] = hours.days() | {*hours.drawn}
        for recording in self._known.keys() - there:
            del self._known[recording]
            self._undrawn.pop(recording, None)
            self._show(recording, {})
        for folder in (self._store.base / FOLDER).glob("[!.]*/[!.]*"):
            if (folder.parent.name, folder.name) not in there:
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):
                    folder.parent.rmdir()

    def _look_at(self, recording: Recording, now: datetime, enough: Callable[[], bool], *, due: bool) -> None:
        hours, undrawn = self._known[recording], self._undrawn[recording]
        _, ended = hours.span()
        recorder = read_state(self._store, *recording)
        until = now - _delay(recorder[0] if recorder else None)
        last = [floor_hour(moment) - shift for moment in (now, until) for shift in (timedelta(), HOUR)]
        walked = hours.look(enough) if due else hours.look_at(last)
        if walked:
            _WALKED.inc(len(walked))
            undrawn |= {_day(each + shift) for each in walked for shift in (-INTERRUPTION, HOUR + INTERRUPTION)}
            # what came after the end has become a hole, or the other way round
            undrawn |= {_day(edge) for edge in (ended, *hours.span()) if edge is not None}
        expected = _expected(recorder, hours, now)
        self._show(recording, _sums(self._spans(recording, until - _DAY, until, expected), until))
        if due:
            undrawn |= {_day(until), _day(until - HOUR)}
            self._draw(recording, hours, until, expected, enough)
            hours.save()

    def _spans(self, recording: Recording, start: datetime, end: datetime, expected: Expected) -> list[Span]:
        """Give what a range is; of hours that were deleted as too old, nothing is expected."""
        hours = self._known[recording]
        around = start - INTERRUPTION, end + INTERRUPTION
        deleted = self._expired.hours(*recording)
        gone = [Noted(h, h + HOUR, away=True) for h in hours_touching(*around) if hour_name(h) in deleted]
        notes = sorted([*hours.noted(*around), *gone]) if gone else hours.noted(*around)
        return account(hours.recorded(*around), notes, start, end, expected)

    # What is shown ---------------------------------------------------------------------------------------------------

    def _show(self, recording: Recording, sums: dict[str, dict[Kind, timedelta]]) -> None:
        for window, found in sums.items():
            share, labels = ratio(found), (*recording, window)
            if share is not None:
                _RATIO.labels(*labels).set(share)
            elif window in self._shown.get(recording, ()):
                _remove([_RATIO], labels)
            for kind, each in _SECONDS.items():
                each.labels(*labels).set(found[kind].total_seconds())
        for window in self._shown.pop(recording, set()) - sums.keys():
            _remove(_GAUGES, (*recording, window))
        if sums:
            self._shown[recording] = {*sums}

    def _draw(
        self, recording: Recording, hours: QualityHours, until: datetime, expected: Expected, enough: Callable[[], bool]
    ) -> None:
        """Draw the days whose picture would look other than it does, newest first."""
        undrawn = self._undrawn[recording]
        for name in sorted(undrawn, reverse=True):
            if enough():
                return
            day = datetime.fromisoformat(name).replace(tzinfo=UTC)
            spans = self._spans(recording, day, min(until, day + _DAY), expected) if day < until else []
            path = picture_path(self._store, *recording, name)
            if all(span.kind is Kind.IDLE for span in spans) and name not in hours.days():
                path.unlink(missing_ok=True)
                if hours.drawn.pop(name, None) is not None:
                    hours.noticed()
            else:
                picture = DayPicture(*recording, day, spans)
                if hours.drawn.get(name) != picture.drawn_from or not path.exists():
                    self._put(recording, name, picture.png())
                    hours.drawn[name] = picture.drawn_from
                    hours.noticed()
                    _DRAWN.inc()
            undrawn.discard(name)

    def _put(self, recording: Recording, day: str, picture: bytes) -> None:
        folder = picture_folder(self._store, *recording)
        folder.mkdir(parents=True, exist_ok=True)
        temp = folder / f".{day}-{os.getpid()}"
        temp.write_bytes(picture)
        temp.replace(picture_path(self._store, *recording, day))

    def _warn(self, event: str, what: str, error: OSError) -> None:
        if what not in self._warned:
            self._warned.add(what)
            log.warning(event, of=what, reason=str(error))


def _delay(state: RecorderState | None) -> timedelta:
    """Tell how long after its own time what is offered is there for certain."""
    offset = None if state is None else state.clock_offset
    return DELAY if offset is None else max(DELAY, timedelta(seconds=offset) + _SEEN)


def _expected(recorder: tuple[RecorderState, bool] | None, hours: QualityHours, now: datetime) -> Expected:
    first, last = hours.span()
    said = None if recorder is None else (recorder[0].recording, recorder[0].since, recorder[1])
    return Expected(first, last, since_when(said, last, now))


def _sums(spans: list[Span], until: datetime) -> dict[str, dict[Kind, timedelta]]:
    """Add up what the windows hold, by their names; empty if nothing was expected in any of them."""
    if all(span.kind is Kind.IDLE for span in spans):
        return {}
    return {name: totals(spans, until - length, until) for name, length in WINDOWS.items()}


def _remove(gauges: Iterable[object], labels: tuple[str, ...]) -> None:
    for gauge in gauges:
        with suppress(KeyError):
            gauge.remove(*labels)  # type: ignore[attr-defined]


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
