"""Loudness in columns, and columns as pixels: pure arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.levels import RATE, Levels, Samples, Size


def tone(samples: int, amplitude: float = 0.5) -> Samples:
    """A square wave, both channels, of which peak and loudness are the amplitude."""
    wave = np.where(np.arange(samples) % 2, 1.0, -1.0) * amplitude * 32_768
    return np.repeat(wave.clip(-32_768, 32_767).astype(np.int16)[:, np.newaxis], 2, axis=1)


def heights(levels: Levels, size: Size) -> list[float]:
    """How high each column is, from 0 to 1, at more than half of full opacity."""
    return [float(value) for value in (levels.draw(size)[:, :, 3] > 127).mean(axis=0)]


def test_full_scale_reaches_the_edge_and_silence_is_a_line() -> None:
    """The scale is fixed: whatever else is in the picture, an amplitude has one height, and silence a thin line."""
    levels = Levels(4, 4000)
    for column, amplitude in enumerate((1.0, 0.25, 0.01, 0.0)):
        levels.add(column * 1000, tone(1000, amplitude))
    assert heights(levels, Size(4, 100)) == pytest.approx([1.0, 0.5, 0.1, 0.02], abs=0.011)


def test_what_was_not_heard_is_transparent() -> None:
    """A hole is not the line of silence: it is nothing, and as wide as it is long."""
    levels = Levels(10, 10_000)
    levels.add(0, tone(4000, 0.0))
    levels.add(5000, tone(5000, 0.0))
    assert [height > 0 for height in heights(levels, Size(10, 50))] == [True] * 4 + [False] + [True] * 5


def test_peaks_are_fainter_than_loudness() -> None:
    """A click shows how high it is, half transparent, over the loudness of what is around it."""
    samples = tone(1000, 0.01)
    samples[500] = 32_767
    levels = Levels(1, 1000)
    levels.add(0, samples)
    opacity = levels.draw(Size(1, 101))[:, 0, 3]
    assert opacity[50] == 255
    assert all(abs(int(edge) - 128) <= 1 for edge in (opacity[0], opacity[-1]))


def test_one_channel_is_enough_to_be_heard() -> None:
    """Sound on one side only, or on both in opposite phase, is not silence."""
    samples = tone(1000)
    samples[:, 1] *= -1
    levels = Levels(1, 1000)
    levels.add(0, samples)
    assert heights(levels, Size(1, 100))[0] > 0.6


def test_a_range_shorter_than_the_picture_is_wide_has_no_gaps() -> None:
    """Where there are more pixels than samples, each sample takes several."""
    levels = Levels(100, 7)
    levels.add(0, tone(7))
    assert min(heights(levels, Size(100, 10))) > 0.5


@given(st.data())
def test_it_does_not_matter_in_which_pieces_sound_comes(data: st.DataObject) -> None:
    """Cut anywhere, and beyond both ends of the range, the same sound makes the same picture."""
    length, columns = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 500))
    before, after = data.draw(st.integers(0, 50)), data.draw(st.integers(0, 50))
    dice = np.random.default_rng(data.draw(st.integers(0, 1000)))
    samples = dice.integers(-32_768, 32_767, (before + length + after, 2)).astype(np.int16)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(samples)), max_size=5)))
    levels = Levels(columns, length)
    for first, last in zip([0, *cuts], [*cuts, len(samples)], strict=True):
        levels.add(first - before, samples[first:last])
    size = Size(columns, 40)
    inside = np.abs(samples[before : before + length].astype(np.float64)) / 32_768
    shown = np.arange(size.width) * min(columns, length) // size.width
    of_column = np.arange(length) * min(columns, length) // length
    peaks = np.array([inside[of_column == column].max() for column in shown])
    reach = np.maximum(np.sqrt(peaks) * size.height / 2, 0.75)
    drawn = levels.draw(size)[:, :, 3]
    middle = np.abs(np.arange(size.height) + 0.5 - size.height / 2)[:, np.newaxis]
    assert ((drawn > 0) == (np.clip(reach - middle + 0.5, 0, 1) > 0.004)).mean() > 0.97


def test_an_hour_is_as_exact_as_a_second() -> None:
    """The columns of a long range are where they belong."""
    levels = Levels(1000, 3600 * RATE)
    levels.add(1800 * RATE, tone(RATE))
    found = [index for index, height in enumerate(heights(levels, Size(1000, 20))) if height]
    assert found == [500]
