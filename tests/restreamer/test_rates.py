"""Bit rates: what a peak is, over which range, and that nothing is measured twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.facts import Facts
from common.segments import Segment
from common.sidecar import FactsStore
from common.store import Store, size_of
from restreamer import rates
from restreamer.rates import Measured, MeasuredHours, rates_of

Put = Callable[..., Segment]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("sizes", "durations", "peak"),
    [
        ([], [], 0),
        ([1000], [2.0], 4000),
        ([1000, 3000, 1000], [2.0, 2.0, 2.0], 12_000),
        # too short to be one by itself: with a neighbour, whichever gives more
        ([1000, 500, 1000], [2.0, 0.5, 2.0], 4800),
        ([2000, 500, 1000], [2.0, 0.5, 2.0], 8000),
        # all of it is
        ([50], [0.4], 1000),
        ([100, 100], [0.2, 0.2], 4000),
        ([100], [0.0], 0),
    ],
)
def test_the_peak_is_that_of_about_one_target_duration(sizes: list[int], durations: list[float], peak: float) -> None:
    """The peak is the greatest of any successive segments that last 0.5 to 1.5 target durations (RFC 8216 §4.1)."""
    assert rates_of(sizes, durations).peak == pytest.approx(peak)


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose sizes were looked at."""
    looked: list[str] = []
    real = size_of

    def noted(path: str) -> int:
        looked.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(rates, "size_of", noted)
    return looked


@pytest.fixture
def hours(store: Store) -> MeasuredHours:
    return MeasuredHours(store, FactsStore(store, lambda _: Facts(5000)))


def measure(hours: MeasuredHours, start: datetime, end: datetime, seconds: float = 60.0) -> Measured:
    found = hours.measure("chan", "source", start, end, seconds=seconds)
    assert found is not None
    return found


def test_the_whole_range_is_measured(store: Store, put: Put, hours: MeasuredHours) -> None:
    """Peak and average are those of all segments that the range touches, and of no others."""
    put(NOON - 3 * HOUR, 2.0, b"x" * 90_000)
    for number, size in enumerate((8000, 1000, 2000)):
        put(NOON + number * HOUR, 2.0, b"x" * size)
    put(NOON + timedelta(seconds=2), 2.0, b"x" * 1000)
    found = measure(hours, NOON + timedelta(seconds=1), NOON + 3 * HOUR)
    assert (found.rates.peak, found.rates.bits, found.rates.seconds) == (32_000, 96_000, 8.0)
    assert [segment.start for segment in found.newest] == [NOON + 2 * HOUR]
    assert measure(hours, NOON + timedelta(seconds=2), NOON + 3 * HOUR).rates.peak == 8000
    assert hours.measure("chan", "source", NOON + 5 * HOUR, NOON + 6 * HOUR, seconds=1.0) is None


def test_an_unchanged_hour_is_measured_once(store: Store, put: Put, hours: MeasuredHours, sized: list[str]) -> None:
    """What has not changed since is not looked at again; what has, is."""
    for number in range(3):
        put(NOON + number * HOUR, 2.0, b"x" * 1000)
    # as long as its folder may change within a tick of the clock, an hour is not trusted
    first = measure(hours, NOON, NOON + 3 * HOUR)
    while sized:
        sized.clear()
        first = measure(hours, NOON, NOON + 3 * HOUR)
    put(NOON + HOUR + timedelta(seconds=2), 2.0, b"x" * 3000)
    assert measure(hours, NOON, NOON + 3 * HOUR).rates == rates.Rates(12_000, first.rates.bits + 24_000, 8.0)
    assert len(sized) == 2


def test_facts_are_taken_where_there_are_some(store: Store, put: Put, sized: list[str]) -> None:
    """The bytes of a segment that has been probed are known without another look at the file."""
    segment = put(NOON, 2.0, b"x")
    facts = FactsStore(store, lambda _: Facts(5000))
    facts.probe_missing("chan", "source", [segment])
    assert measure(MeasuredHours(store, facts), NOON, NOON + HOUR).rates.bits == 40_000
    assert sized == []


def test_a_long_range_is_measured_in_parts(store: Store, put: Put, hours: MeasuredHours) -> None:
    """Without time for more, each who asks brings one hour, the newest first, and gets what is known."""
    for number in range(4):
        put(NOON + number * HOUR, 2.0, b"x" * 1000)
    found = [measure(hours, NOON, NOON + 4 * HOUR, seconds=0.0)]
    assert found[0].newest
    while not found[-1].complete:
        found.append(measure(hours, NOON, NOON + 4 * HOUR, seconds=0.0))
    seconds = [each.rates.seconds for each in found]
    assert seconds == sorted(seconds)
    assert (seconds[0], seconds[-1]) == (2.0, 8.0)
