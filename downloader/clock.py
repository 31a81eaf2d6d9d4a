"""The stream's time held against ours: how far apart the two are, and whether that changes. Pure.

A segment is listed some seconds after it has ended: the encoder, the origin and our looking take their time. That delay
is never negative and goes up and down; of many looks the shortest is steady. So the shortest delay of some minutes is
the offset of the two clocks, and the latency that cannot be avoided: a change of it is a clock that runs or steps, and
one below zero is a stream that claims to come from the future.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

# What is within so much of what is usual is no news.
LIMIT = timedelta(seconds=2)

# The shortest delay of each minute is kept, that of the last five is the offset now.
_SLOT = timedelta(minutes=1)
_WINDOW = 5

# A day of slots, by which drift is told; told only when an hour of them is there.
_KEPT = 24 * 60
_DRIFT_AFTER = timedelta(hours=1)

# What alarmed leaves the alarm only when it is clearly better, so that one on the edge is not told again and again.
_BETTER = 0.75


class _Slot(NamedTuple):
    begin: datetime
    shortest: timedelta


@dataclass(slots=True)
class ClockWatch:
    """What was seen of one quality's clock; `usual` is the offset that it began with, against which others are held."""

    usual: timedelta | None = None
    skewed: bool = False
    _slots: deque[_Slot] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def saw(self, end: datetime, now: datetime) -> bool:
        """Take note that what ends at `end` was first listed `now` (both aware); tell whether `skewed` has changed."""
        behind = now - end
        last = self._slots[-1] if self._slots else None
        if last is None or not timedelta() <= now - last.begin < _SLOT:
            self._slots.append(_Slot(now, behind))
        elif behind < last.shortest:
            self._slots[-1] = _Slot(last.begin, behind)
        offset = self.offset
        if offset is None:
            return False
        if self.usual is None and len(self._slots) >= _WINDOW:
            self.usual = offset
        was = self.skewed
        self.skewed = self._is_far(offset, LIMIT * _BETTER if was else LIMIT)
        return self.skewed != was

    @property
    def offset(self) -> timedelta | None:
        """The shortest delay of the last minutes: how much later than by the stream's own time it is seen."""
        return min((slot.shortest for slot in list(self._slots)[-_WINDOW:]), default=None)

    @property
    def drift(self) -> float | None:
        """By how many seconds the offset grows in a second; None until there is an hour to tell it from."""
        if len(self._slots) < 2 * _WINDOW or self._slots[-1].begin - self._slots[0].begin < _DRIFT_AFTER:
            return None
        slots = list(self._slots)
        first, last = slots[:_WINDOW], slots[-_WINDOW:]
        change = min(slot.shortest for slot in last) - min(slot.shortest for slot in first)
        return change / (last[0].begin - first[0].begin)

    def _is_far(self, offset: timedelta, limit: timedelta) -> bool:
        ahead = offset < -limit
        return ahead or (self.usual is not None and abs(offset - self.usual) > limit)
