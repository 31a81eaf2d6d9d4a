"""Whole hours as text, kept: an hour that did not change is not rendered, nor compressed, again."""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from common.coverage import HourCoverage
from common.facts import Facts
from restreamer.playlist import RenderedHour, render_hour

# One of segments of two seconds takes some 450 kB with its compressed form.
_HOURS = 400


class RenderedHours:
    """The hours that were rendered last."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._hours: OrderedDict[tuple[str, int, int], tuple[RenderedHour, Mapping[str, Facts]]] = OrderedDict()
        self._lock = Lock()

    def render(self, base: str, hour: HourCoverage, facts: Mapping[str, Facts]) -> RenderedHour:
        """Give an hour as text; the very same object of an hour and of its facts is rendered once."""
        key = (base, id(hour), id(facts))
        with self._lock:
            if key in self._hours:
                self._hours.move_to_end(key)
                return self._hours[key][0]
        fresh = render_hour(base, hour, facts)
        with self._lock:
            # both objects are held, so that no others can take their ids as long as this is kept
            self._hours[key] = (fresh, facts)
            if len(self._hours) > _HOURS:
                self._hours.popitem(last=False)
        return fresh
