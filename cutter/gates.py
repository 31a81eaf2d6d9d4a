"""The gates of the upload locations: how many deliveries go through at once, and none for a while after a failure."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        """Begin open."""
        self.location = location
        self._first = first
        self._most = most
        self._clock = clock
        self._inside = 0
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
        return not self.away and self._inside < at_once

    @contextmanager
    def entered(self) -> Iterator[Location]:
        """Deliver; to be asked whether it is open before."""
        self._inside += 1
        try:
            yield self.location
        finally:
            self._inside -= 1

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
