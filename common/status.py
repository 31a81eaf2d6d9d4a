"""How a quality stands: whether it is being recorded, what of the last hours is missing, and why; read from the store.

It is one truth for all who tell it: `respool status` on the machine itself, and the restreamer to other machines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from common.coverage import Hole
from common.dateutil import HOUR, format_utc, hour_name, hours_touching
from common.hour_picture import HourPicture, picture_hour
from common.missing import AWAY, Missing, lacking, read
from common.recorder_state import RecorderState, known_recorders, read_state
from common.segments import SegmentType
from common.store import Store
from common.stretches import Stretch, stretches

# A stream that is recorded is this far behind its own time at the most; what is further behind has stopped.
_LIVE = timedelta(minutes=1)

_DAY = timedelta(hours=24)
_PICTURED = timedelta(hours=3)

# A hole that nothing is noted of: no recorder was looking, or the origin offered nothing.
_UNKNOWN = "unknown"

Recorder = Literal["recording", "waiting", "stopped", "unknown"]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the past: what is recorded of it by type, and what is not, by start, with the reason.

    Durations of `recorded` and `missing` together are that from `start` to `end`.
    """

    start: datetime
    end: datetime
    recorded: dict[SegmentType, timedelta]
    missing: tuple[Missing, ...]

    @property
    def share(self) -> float:
        """The share of it that is recorded, 0 to 1."""
        length = self.end - self.start
        return sum(self.recorded.values(), timedelta()) / length if length else 0.0

    @property
    def by_reason(self) -> dict[str, list[Missing]]:
        """What is missing, sorted by its reason; the one that took most first."""
        found: dict[str, list[Missing]] = {}
        for each in self.missing:
            found.setdefault(each.reason, []).append(each)
        return dict(sorted(found.items(), key=lambda item: -total_of(item[1])))

    @property
    def offered(self) -> timedelta:
        """What the origin is known to have offered of it."""
        known = (each.duration for each in self.missing if each.reason not in (AWAY, _UNKNOWN))
        return sum((*self.recorded.values(), *known), timedelta())


@dataclass(frozen=True, slots=True)
class Status:
    """One quality of a channel now; times are aware UTC. `under_way` are segments that are being written."""

    recording: tuple[str, str]
    recorder: Recorder
    state: RecorderState | None
    now: datetime
    newest: datetime | None
    under_way: int
    hour: Window
    day: Window

    @property
    def lag(self) -> timedelta | None:
        """By how much the end of the newest segment lies behind now."""
        return None if self.newest is None else max(timedelta(), self.now - self.newest)


def total_of(missing: list[Missing]) -> timedelta:
    """Add up durations."""
    return sum((each.duration for each in missing), timedelta())


def status_of(store: Store, recording: tuple[str, str], now: datetime) -> Status:
    """Look at one quality as it is `now` (aware UTC)."""
    found = read_state(store, *recording)
    state, lives = found or (None, False)
    recorder: Recorder = "unknown" if state is None else "stopped"
    if state is not None and lives:
        recorder = "recording" if state.recording else "waiting"
    span = store.span(*recording)
    newest = span and span[1]
    live = newest is not None and timedelta(0) <= now - newest < _LIVE and recorder in ("recording", "unknown")
    end = newest if live and newest is not None else now
    first = min(span[0], end) if span else end
    hour, day = (window(store, recording, max(first, end - length), end) for length in (HOUR, _DAY))
    return Status(recording, recorder, state, now, newest, _under_way(store, recording, now), hour, day)


def window(store: Store, recording: tuple[str, str], start: datetime, end: datetime) -> Window:
    """Look at a stretch of the past."""
    sequence = store.sequence(*recording, start, end)
    missing = _explained(lacking(read(store, *recording, start, end), sequence.holes), sequence.holes)
    return Window(start, end, _recorded(stretches(sequence)), tuple(missing))


def _recorded(parts: list[Stretch]) -> dict[SegmentType, timedelta]:
    """Add up what is recorded, by type."""
    found: dict[SegmentType, timedelta] = {}
    for part in parts:
        if part.type is not None:
            found[part.type] = found.get(part.type, timedelta()) + part.duration
    return found


def _explained(missing: list[Missing], holes: list[Hole]) -> Iterator[Missing]:
    """Give what is missing and why, and what is left of the holes."""
    noted = iter([*missing, None])
    each = next(noted)
    for hole in holes:
        reached = hole.start
        while each is not None and each.start < hole.end:
            if each.start > reached:
                yield Missing(reached, each.start - reached, _UNKNOWN)
            yield each
            reached, each = each.end, next(noted)
        if reached < hole.end:
            yield Missing(reached, hole.end - reached, _UNKNOWN)


def _under_way(store: Store, recording: tuple[str, str], now: datetime) -> int:
    names = (name for hour in (now - HOUR, now) for name in store.names(*recording, hour_name(hour)))
    return sum("-temp-" in name for name in names)


def recordings(store: Store) -> list[tuple[str, str]]:
    """Name the channels and qualities of which there is something, or of which recorders have left word, sorted."""
    recorded = {(channel, quality) for channel in store.channels() for quality in store.qualities(channel)}
    return sorted(recorded.union(known_recorders(store)))


def last_hours(store: Store, status: Status) -> list[HourPicture]:
    """Draw the last hours of what is, or was last, recorded of the last day."""
    start, end = max(status.day.start, status.day.end - _PICTURED), status.day.end
    hours = ((hour, max(hour, start), min(hour + HOUR, end)) for hour in hours_touching(start, end))
    return [
        picture_hour(hour, store.sequence(*status.recording, first, last))
        for hour, first, last in hours
        if first < last
    ]


def as_json(status: Status, pictures: list[HourPicture]) -> dict[str, Any]:
    """Give a status as JSON has it."""
    state, lag = status.state, status.lag
    return {
        "channel": status.recording[0],
        "quality": status.recording[1],
        "recorder": status.recorder,
        "since": state and format_utc(state.since),
        "reason": (state and state.reason) or None,
        "clock_offset_seconds": state and state.clock_offset,
        "newest": status.newest and format_utc(status.newest),
        "lag_seconds": None if lag is None else lag.total_seconds(),
        "under_way": status.under_way,
        "last_hour": _window_as_json(status.hour),
        "last_day": _window_as_json(status.day),
        "picture": [{"hour": hour_name(each.start), "cells": each.cells} for each in pictures],
    }


def _window_as_json(window: Window) -> dict[str, Any]:
    return {
        "start": format_utc(window.start),
        "end": format_utc(window.end),
        "covered": round(window.share, 6),
        "offered_seconds": window.offered.total_seconds(),
        "recorded_seconds": {kind.value: length.total_seconds() for kind, length in window.recorded.items()},
        "missing_seconds": {reason: total_of(each).total_seconds() for reason, each in window.by_reason.items()},
        "missing": [
            {"start": format_utc(each.start), "end": format_utc(each.end), "reason": each.reason}
            for each in window.missing
        ],
    }
