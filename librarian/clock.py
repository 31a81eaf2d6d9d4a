"""The clock by which ages are told. One that leaps ahead is not believed at once: all recordings would be too old."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger()

# A machine that was switched off, or asleep, for longer counts as one whose clock has leapt.
_LEAP = timedelta(days=1)

# Whoever looks after the machine has so long to set it right; then it is believed.
_DOUBTED_SECONDS = 86_400.0


class SteadyClock:
    """What time it is, by the machine's clock as far as it goes on at the pace of `elapsed`, which gives seconds."""

    def __init__(self, last: datetime | None, elapsed: Callable[[], float]) -> None:
        """`last` is what it was believed to be when that was last noted, by a former process; None: it never was."""
        self._at = last
        self._elapsed = elapsed
        self._seconds = elapsed()
        self._leapt_at: float | None = None

    def believe(self, now: datetime) -> datetime:
        """Give the time: `now`, but for a day after a leap of more than a day what it would be without that."""
        seconds = self._elapsed()
        going_on = now if self._at is None else self._at + timedelta(seconds=seconds - self._seconds)
        leap = now - going_on
        if leap <= _LEAP:
            self._leapt_at = None
        elif self._leapt_at is None:
            self._leapt_at = seconds
            log.error("clock_not_believed", ahead_seconds=round(leap.total_seconds()), for_seconds=_DOUBTED_SECONDS)
        doubted = self._leapt_at is not None and seconds - self._leapt_at < _DOUBTED_SECONDS
        self._at, self._seconds = going_on if doubted else now, seconds
        return self._at
