"""Sound as a picture: samples become the loudness of columns, columns become pixels.

The scale is fixed, so that two pictures can be compared: full scale reaches the edge, and the height is the square root
of the amplitude, in which -20 dB is a third of it and -60 dB can still be told from silence. Silence is a thin line;
where nothing is recorded there is not even that.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
Columns = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RATE: Final = 48_000
"""Samples per second of each channel, as they are expected here."""

_FULL_SCALE: Final = 32_768.0

# Teal, seen well on dark and on light; the peaks let the ground through, the loudness (RMS) does not.
_COLOUR: Final = (63, 183, 159)
_PEAK_OPACITY: Final = 0.5

# Half of the height of the line of silence, in pixels.
_LINE: Final = 0.75


# So many columns are drawn at once: a large picture would take ten times its own memory.
_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a picture in pixels."""

    width: int
    height: int


class Levels:
    """The loudness of a range of sound, in columns of equal length that together are the range."""

    def __init__(self, columns: int, samples: int) -> None:
        """Know of nothing yet; `samples` is the length of the range, at RATE. There are at most as many columns."""
        self._columns = max(1, min(columns, samples))
        self._samples = samples
        self._peak = np.zeros(self._columns)
        self._energy = np.zeros(self._columns)
        self._heard = np.zeros(self._columns, np.int64)

    def add(self, first: int, samples: Samples) -> None:
        """Add sound: `samples` has a row per moment and a column per channel, `first` is its place in the range.

        What lies outside of the range is left out.
        """
        samples = samples[max(0, -first) : max(0, self._samples - first)]
        first = max(0, first)
        if not len(samples):
            return
        touched = np.arange(self._column(first), self._column(first + len(samples) - 1) + 1)
        # the first sample of each column that is touched; the columns' lengths differ by one
        bounds = np.maximum(-(-touched * self._samples // self._columns) - first, 0)
        channels, flat = samples.shape[1], samples.reshape(-1)
        highest, lowest = (which.reduceat(flat, bounds * channels) for which in (np.maximum, np.minimum))
        peak = np.maximum(np.abs(highest.astype(np.float64)), np.abs(lowest.astype(np.float64)))
        squares = np.square(flat, dtype=np.float32)
        self._peak[touched] = np.maximum(self._peak[touched], peak / _FULL_SCALE)
        self._energy[touched] += np.add.reduceat(squares, bounds * channels) / (_FULL_SCALE**2 * channels)
        self._heard[touched] += np.diff(bounds, append=len(samples))

    def _column(self, sample: int) -> int:
        return sample * self._columns // self._samples

    def draw(self, size: Size) -> npt.NDArray[np.uint8]:
        """Draw them: rows of pixels of red, green, blue and opacity; transparent where nothing was heard."""
        picture = np.empty((size.height, size.width, 4), np.uint8)
        picture[:, :, :3] = _COLOUR
        from_middle = np.abs(np.arange(size.height) + 0.5 - size.height / 2)[:, np.newaxis]
        for first in range(0, size.width, _AT_ONCE):
            columns = np.arange(first, min(first + _AT_ONCE, size.width)) * self._columns // size.width
            picture[:, first : first + len(columns), 3] = np.rint(self._opacity(columns, from_middle) * 255)
        return picture

    def _opacity(self, columns: Columns, from_middle: Floats) -> Floats:
        """How opaque the pixels of these columns are, from 0 to 1, by their distance from the middle."""
        heard = self._heard[columns] > 0
        loudness = np.sqrt(self._energy[columns] / np.maximum(self._heard[columns], 1))
        height = 2 * from_middle.max() + 1
        peak, body = (np.where(heard, _reach(values, height), -1.0) for values in (self._peak[columns], loudness))
        # an edge within a pixel makes it half as opaque, which is what smooths it
        return np.maximum(_cover(body, from_middle), _PEAK_OPACITY * _cover(peak, from_middle))


def _reach(amplitude: Floats, height: float) -> Any:  # noqa: ANN401 - an array, of which numpy loses the type
    """How far from the middle an amplitude from 0 to 1 reaches, in pixels."""
    return np.maximum(np.sqrt(amplitude) * height / 2, _LINE)


def _cover(reach: Floats, from_middle: Floats) -> Floats:
    """How much of each pixel lies within the reach, from 0 to 1."""
    return np.where(reach > 0, np.clip(reach - from_middle + 0.5, 0.0, 1.0), 0.0)
