"""The gates of the upload locations: who delivers there now, and that nobody does for a while after a failure.

A finished file that waits gets its place before it is claimed, so that the order in which files are claimed is the one
in which they go. A file that has just been made goes at once only where none waits; else it waits with the others.
"""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from common.metrics import gauge
from common.waits import backoff
from cutter.locations import Location, LocationAwayError

log = structlog.get_logger()

_AWAY = gauge("location_away", "Whether deliveries to a location wait since it could not take one.", "location")


class Gate:
    """One location, and whether it takes deliveries now; pauses grow from `first` to `most` seconds."""

    def __init__(
        self, location: Location, *, first: float, most: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin open, with files that may wait."""
        self.location = location
        self._first = first
        self._most = most
        self._clock = clock
        self._inside: set[str] = set()
        self._turned_away: set[str] = set()
        self._queue = True
        self._queue_changed = clock()
        self._failures = 0
        self._until = clock()
        _AWAY.labels(location.name).set(0)

    @property
    def left(self) -> timedelta:
        """For how long nothing goes to the location."""
        return timedelta(seconds=max(0.0, self._until - self._clock()))

    @property
    def away(self) -> bool:
        """Whether nothing goes to the location now."""
        return self.left > timedelta(0)

    @property
    def open(self) -> bool:
        """Whether another delivery may begin. After a failure a single one shows whether the location is back."""
        at_once = 1 if self._failures else self.location.settings.at_once
        return not self.away and len(self._inside) < at_once

    def looked(self, asked: float, *, waits: bool) -> None:
        """Hear whether finished files wait, from who has looked; `asked`: when that began, by the clock."""
        if waits or asked >= self._queue_changed:
            self._queue = waits

    def reserve(self, event: str) -> bool:
        """Give a place to an event whose turn it is, if there is one; tells whether it has it."""
        if self.open:
            self._inside.add(event)
        return event in self._inside

    def enter(self, event: str) -> bool:
        """Tell whether an event may be delivered now: it has a place, or gets one that is free and nobody waits for.

        Whatever is told, `leave` is to be called when the row says what has become of it.
        """
        if event in self._inside and not self.away:
            return True
        if self.open and not self._queue and not self._turned_away:
            self._inside.add(event)
            return True
        self._turned_away.add(event)
        return False

    def leave(self, event: str) -> None:
        """Make the place of an event free, which may wait with the others now."""
        if event in self._inside | self._turned_away:
            self._inside.discard(event)
            self._turned_away.discard(event)
            self._queue, self._queue_changed = True, self._clock()

    def answered(self) -> None:
        """Note that the location has answered."""
        if self._failures:
            log.info("location_back", location=self.location.name)
        self._failures = 0
        _AWAY.labels(self.location.name).set(0)

    def failed(self, error: LocationAwayError) -> None:
        """Note that it could not do what it was asked; a pause begins, unless one is under way."""
        if self.away:
            return
        self._failures += 1
        pause = backoff(self._failures, first=self._first, most=self._most)
        if error.retry_after is not None:
            pause = max(pause, error.retry_after.total_seconds())
        self._until = self._clock() + pause
        _AWAY.labels(self.location.name).set(1)
        log.warning("location_away", location=self.location.name, reason=str(error), pause_seconds=round(pause, 1))
