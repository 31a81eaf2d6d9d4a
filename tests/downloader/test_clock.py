"""The stream's clock against ours: jitter is nothing, steps and drift are told once, and their end."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from downloader.clock import LIMIT, ClockWatch

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Watched:
    """A watch that looks every two seconds; `changes` are when it was told, in seconds."""

    def __init__(self) -> None:
        self.watch = ClockWatch()
        self.now = 0.0
        self.changes: list[tuple[float, bool]] = []
        self._dice = random.Random(1)

    def run(self, seconds: float, offset: float, drift: float = 0.0) -> None:
        """See segments that are listed `offset` after their end, and up to six seconds later."""
        begin = self.now
        while self.now < begin + seconds:
            late = self._dice.choice([0, 0.2, 0.5, 3, 6])
            behind = offset + drift * (self.now - begin) + late
            now = NOON + self.now * SECOND
            if self.watch.saw(now - behind * SECOND, now):
                self.changes.append((self.now, self.watch.skewed))
            self.now += 2


def test_jitter_is_no_skew() -> None:
    """However much the delays go up and down, the offset is the shortest, and nothing is told."""
    watched = Watched()
    watched.run(3600, offset=4)
    assert watched.watch.offset == 4 * SECOND
    assert watched.watch.usual == 4 * SECOND
    assert watched.changes == []


@pytest.mark.parametrize("step", [3, -3])
def test_step_is_told_and_its_end(step: float) -> None:
    """A clock that is set by more than the limit is told within minutes, once, and when it is back."""
    watched = Watched()
    watched.run(1200, offset=4)
    watched.run(1200, offset=4 + step)
    watched.run(1200, offset=4.5)
    assert [skewed for _, skewed in watched.changes] == [True, False]
    (first, _), (second, _) = watched.changes
    assert 1200 <= first < 1200 + 400
    assert 2400 <= second < 2400 + 400


def test_small_step_is_not_told() -> None:
    """What stays within the limit is latency."""
    watched = Watched()
    watched.run(1200, offset=4)
    watched.run(1200, offset=4 + LIMIT.total_seconds() * 0.9)
    assert watched.changes == []


def test_stream_from_the_future_is_told_at_once() -> None:
    """A stream whose segments end later than now has a wrong clock, or we have; that needs no usual offset."""
    watched = Watched()
    watched.run(10, offset=-20)
    assert [skewed for _, skewed in watched.changes] == [True]
    watched.run(3600, offset=-20)
    assert [skewed for _, skewed in watched.changes] == [True]


def test_edge_of_the_limit_is_told_once() -> None:
    """An offset that goes back and forth over the limit does not alarm again and again."""
    watched = Watched()
    watched.run(1200, offset=4)
    for _ in range(5):
        watched.run(600, offset=4 + 2.2)
        watched.run(600, offset=4 + 1.8)
    assert [skewed for _, skewed in watched.changes] == [True]


def test_drift_is_measured_over_hours() -> None:
    """Two clocks that run apart by a second per hour are seen to, and in the end pass the limit."""
    watched = Watched()
    watched.run(1800, offset=4, drift=1 / 3600)
    assert watched.watch.drift is None
    watched.run(3 * 3600, offset=4.5, drift=1 / 3600)
    assert watched.watch.drift == pytest.approx(1 / 3600, rel=0.1)
    assert [skewed for _, skewed in watched.changes] == [True]


def test_clock_that_is_set_back_begins_anew() -> None:
    """When our own clock goes back, the offset follows it."""
    watched = Watched()
    watched.run(1200, offset=4)
    watched.now -= 600
    watched.run(1200, offset=4)
    assert watched.watch.offset == 4 * SECOND


def test_memory_is_bounded() -> None:
    """A week of looks keeps a day."""
    watch = ClockWatch()
    for minute in range(7 * 24 * 60):
        now = NOON + minute * 60 * SECOND
        watch.saw(now - 4 * SECOND, now)
    assert len(watch._slots) == 24 * 60
    assert watch.drift == 0.0
