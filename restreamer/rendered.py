"""Whole hours as text, kept: an hour that did not change is not rendered, nor compressed, again."""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from common.coverage import HourCoverage
from common.facts import Facts
from common.timed import timed
from restreamer.playlist import RenderedHour, render_hour

# One of segments of two seconds takes some 450 kB with its compressed form.
_HOURS = 400


class RenderedHours:
    """The hours that were rendered last."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._hours: OrderedDict[tuple[str, int, int], tuple[RenderedHour, Mapping[str, Facts]]] = OrderedDict()
        self._lock = Lock()

    def find(self, base: str, hour: HourCoverage, facts: Mapping[str, Facts]) -> RenderedHour | None:
        """Give an hour as text if it is kept: the very same object of an hour, and of its facts."""
        key = (base, id(hour), id(facts))
        with self._lock:
            if key in self._hours:
                self._hours.move_to_end(key)
                return self._hours[key][0]
        return None

    @timed(
        "playlist_hour",
        "Writing an hour as lines of a playlist.",
        per=("segment", lambda _, __, ___, hour, *____, **_____: len(hour.segments)),
    )
    def render(self, base: str, hour: HourCoverage, facts: Mapping[str, Facts], *, keep: bool) -> RenderedHour:
        """Give an hour as text, and keep it: not a part of one, which is another object for each who asks."""
        fresh = render_hour(base, hour, facts)
        if not keep:
            return fresh
        key = (base, id(hour), id(facts))
        with self._lock:
            # both objects are held, so that no others can take their ids as long as this is kept
            self._hours[key] = (fresh, facts)
            if len(self._hours) > _HOURS:
                self._hours.popitem(last=False)
        return fresh
