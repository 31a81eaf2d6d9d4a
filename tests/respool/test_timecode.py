"""Tests of the time code, without a video."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from respool.timecode import (
    BITS,
    CELLS,
    DARK,
    LEAST_DIFFERENCE,
    LIGHT,
    SAMPLE_POINTS,
    cells,
    decode,
    frame_at,
    moment_of,
    read,
)

frames = st.integers(0, 2**BITS - 1)


@given(frames)
def test_moment_and_frame_are_inverse(frame: int) -> None:
    """The moment of a frame, though rounded to the microsecond, leads back to that frame."""
    assert frame_at(moment_of(frame)) == frame


def test_whole_seconds_are_exact() -> None:
    """Each thirtieth frame starts at a whole second, and the one after it 33333 microseconds later."""
    moment = datetime(2026, 11, 22, 23, 59, 59, tzinfo=UTC)
    assert moment_of(frame_at(moment)) == moment
    assert moment_of(frame_at(moment) + 1) == moment + timedelta(microseconds=33_333)


@given(frames)
def test_reading_returns_what_was_drawn(frame: int) -> None:
    """The cells of a frame decode to the moment of that frame."""
    assert decode(cells(frame)) == moment_of(frame)


@given(frames, st.floats(0.4, 2.0), st.floats(-60, 60), st.data())
def test_brightness_contrast_and_noise_do_not_matter(
    frame: int, gain: float, offset: float, data: st.DataObject
) -> None:
    """A strip reads the same if the picture was made brighter, darker, flatter or a little noisy."""
    noise = data.draw(st.lists(st.floats(-5, 5), min_size=CELLS, max_size=CELLS))
    lumas = [luma * gain + offset + error for luma, error in zip(cells(frame), noise, strict=True)]
    assert decode(lumas) == moment_of(frame)


@given(frames.filter(lambda frame: frame > 0))
def test_a_mixture_of_two_frames_is_no_time(frame: int) -> None:
    """A picture that is half one frame and half the next is not taken for either."""
    mixed = [(one + other) / 2 for one, other in zip(cells(frame - 1), cells(frame), strict=True)]
    assert decode(mixed) is None


@given(frames, st.integers(0, CELLS - 1))
def test_one_wrong_cell_is_no_time(frame: int, wrong: int) -> None:
    """A single cell of the other kind makes the strip unreadable and never a wrong time."""
    lumas = list(cells(frame))
    lumas[wrong] = DARK + LIGHT - lumas[wrong]
    assert decode(lumas) is None


@given(st.integers(0, 255), st.floats(0, LEAST_DIFFERENCE - 1))
def test_a_picture_without_a_strip_is_no_time(luma: int, slope: float) -> None:
    """An even picture, or one that changes softly from left to right, holds no time."""
    assert read(lambda x, _: luma + slope * x) is None


def test_the_points_lie_in_the_strip_from_left_to_right() -> None:
    """A reader looks at as many points as there are cells, in order, along the bottom edge."""
    looked_at: list[tuple[float, float]] = []

    def luma_at(x: float, y: float) -> float:
        looked_at.append((x, y))
        return cells(1234)[int(x * CELLS)]

    assert read(luma_at) == moment_of(1234)
    assert looked_at == list(SAMPLE_POINTS)
    assert all(0.97 < y < 1 for _, y in looked_at)


def test_a_wrong_number_of_samples_is_refused() -> None:
    """Samples of some other code are an error of the caller, not a picture without a time."""
    with pytest.raises(ValueError, match="80 samples, not 3"):
        decode([0, 255, 0])
