"""Whole hours as text, kept: an hour that did not change is not rendered, nor compressed, again."""

from collections import OrderedDict
from threading import Lock

from common.coverage import HourCoverage
from restreamer.playlist import RenderedHour, render_hour

# One of segments of two seconds takes some 450 kB with its compressed form.
_HOURS = 400


class RenderedHours:
    """The hours that were rendered last."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._hours: OrderedDict[tuple[str, int], RenderedHour] = OrderedDict()
        self._lock = Lock()

    def render(self, base: str, hour: HourCoverage) -> RenderedHour:
        """Give an hour as text; the very same object of an hour is rendered once."""
        key = (base, id(hour))
        with self._lock:
            found = self._hours.get(key)
            if found is not None:
                self._hours.move_to_end(key)
                return found
        fresh = render_hour(base, hour)
        with self._lock:
            # it holds the hour, whose id is so taken by no other as long as it is kept
            self._hours[key] = fresh
            if len(self._hours) > _HOURS:
                self._hours.popitem(last=False)
        return fresh
