"""Timestamps: unwrapping, rates, and what is shown first and last."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.ticks import TICKS, WRAP, distance, outermost, steady_rate, ticks, unwrap

NTSC = Fraction(30_000, 1001)


def test_ticks_are_rounded_to_the_nearest() -> None:
    """A timestamp of any clock becomes ticks, exactly or to the nearest one."""
    assert ticks(1024, Fraction(1, 48_000)) == 1920
    assert ticks(1, Fraction(1, 44_100)) == 2
    assert ticks(-1, Fraction(1, 44_100)) == -2
    assert ticks(10**15, Fraction(1, 90_000)) == 10**15


@given(st.integers(0, WRAP - 1), st.integers(-(WRAP // 2), WRAP // 2 - 1))
def test_distance_goes_the_shorter_way(start: int, way: int) -> None:
    """From a timestamp to another it is as far as the clock has run, wherever it began again."""
    assert distance(start, (start + way) % WRAP) == way


@given(st.integers(0, WRAP - 1), st.lists(st.integers(-TICKS, 2 * TICKS), max_size=50))
def test_unwrapped_times_run_on(start: int, steps: list[int]) -> None:
    """Timestamps cut to 33 bits come back as they were."""
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    assert unwrap(time % WRAP for time in times) == times


def test_nothing_unwraps_to_nothing() -> None:
    """No timestamps are no timestamps."""
    assert unwrap([]) == []


@pytest.mark.parametrize(
    ("times", "first", "last"),
    [
        ([5], 0, 0),
        ([6000, 0, 3000, 15_000, 9000, 12_000], 1, 3),
        ([144 * TICKS, 145 * TICKS, 3 * TICKS, 4 * TICKS], 0, 3),
        ([100 * TICKS, 50 * TICKS, 20 * TICKS, 21 * TICKS], 0, 3),
    ],
)
def test_the_outermost_frames_are_found(times: list[int], first: int, last: int) -> None:
    """The first and last frame shown are found in decode order, also if the clock was set back in between."""
    assert outermost(times) == (first, last)


@pytest.mark.parametrize("rate", [Fraction(1), Fraction(24), Fraction(25), Fraction(50), NTSC, 2 * NTSC, NTSC / 2])
@pytest.mark.parametrize("unit", [1, 90])
def test_rates_survive_rounding(rate: Fraction, unit: int) -> None:
    """A rate is told exactly from two seconds of timestamps, even of those rounded to milliseconds."""
    times = [round(n * TICKS / rate / unit) * unit for n in range(max(3, round(2 * rate)))]
    assert steady_rate(times) == rate


def test_a_lost_frame_does_not_change_the_rate() -> None:
    """The rate is that of the frames that are there, in whatever order."""
    times = [n * 3003 for n in range(60) if n not in {7, 8, 30}]
    assert steady_rate(reversed(times)) == NTSC


@pytest.mark.parametrize("times", [[], [5], [5, 5]])
def test_one_frame_has_no_rate(times: list[int]) -> None:
    """Less than two frames have no rate."""
    assert steady_rate(times) is None


@given(st.lists(st.integers(0, WRAP)))
def test_any_times_have_a_positive_rate_or_none(times: list[int]) -> None:
    """Whatever the timestamps, a rate is positive."""
    rate = steady_rate(times)
    assert rate is None or (rate > 0 and len(set(times)) > 1)
