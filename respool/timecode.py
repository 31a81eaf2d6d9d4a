"""A time code in the picture: which frame this is, readable from one decoded frame.

The demo stream carries it as a thin strip along the bottom edge, so that a test, or a page that draws the video on a
canvas, can tell to the frame what is on screen and compare that with what a playlist or a clock claims.

The strip is one row of cells of equal width. Two neighbouring cells are one bit of the number of frames since the
Unix epoch, highest bit first: light then dark is 1, dark then light is 0. So a reader needs no threshold, only the
difference within each pair; brightness, contrast, scaling and another encoding do not matter, and a picture without a
strip, or a mixture of two frames, has pairs that do not differ and is told from a time.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

FRAME_RATE: Final = 30
"""Frames per second, exactly."""

BITS: Final = 40
"""Enough frames to last until the year 3131."""

CELLS: Final = 2 * BITS

STRIP_HEIGHT: Final = 16 / 720
"""Of the picture's height, measured from its bottom edge; the strip is as wide as the picture."""

DARK: Final = 26
LIGHT: Final = 128
"""Luma of the two kinds of cells, of 0 to 255: far enough apart to survive, near enough not to draw the eye."""

LEAST_DIFFERENCE: Final = 30
"""Luma by which the cells of a pair must differ at least: above what coding and scaling add, below half of ours."""

SAMPLE_POINTS: Final = tuple(((cell + 0.5) / CELLS, 1 - STRIP_HEIGHT / 2) for cell in range(CELLS))
"""The middle of each cell as (x, y), both from 0 to 1, from the top left corner: where a reader looks."""

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS: Final = 1_000_000


def frame_at(moment: datetime) -> int:
    """Return the number, counted from the Unix epoch, of the frame that starts nearest to an aware moment."""
    microseconds = (moment - _UNIX_EPOCH) // timedelta(microseconds=1)
    return (microseconds * FRAME_RATE + _MICROSECONDS // 2) // _MICROSECONDS


def moment_of(frame: int) -> datetime:
    """Return the UTC moment at which a frame starts, rounded down to the microsecond."""
    return _UNIX_EPOCH + timedelta(microseconds=frame * _MICROSECONDS // FRAME_RATE)


def cells(frame: int) -> tuple[int, ...]:
    """Return the luma of each cell of a frame's strip, from left to right."""
    bits = (frame >> place & 1 for place in reversed(range(BITS)))
    return tuple(luma for bit in bits for luma in ((LIGHT, DARK) if bit else (DARK, LIGHT)))


def decode(lumas: Sequence[float]) -> datetime | None:
    """Return the UTC time that samples at `SAMPLE_POINTS` stand for, or None if they are not a time code."""
    if len(lumas) != CELLS:
        raise ValueError(f"a time code has {CELLS} samples, not {len(lumas)}")
    differences = [left - right for left, right in zip(lumas[::2], lumas[1::2], strict=True)]
    if not all(abs(difference) >= LEAST_DIFFERENCE for difference in differences):
        return None
    frame = 0
    for difference in differences:
        frame = frame << 1 | (difference > 0)
    return moment_of(frame)


def read(luma_at: Callable[[float, float], float]) -> datetime | None:
    """Return the UTC time in a picture, given its luma at relative (x, y) from the top left, or None without one."""
    return decode([luma_at(x, y) for x, y in SAMPLE_POINTS])


def strip_source(first_frame: int, width: int, height: int) -> str:
    """Return an ffmpeg source of the strip for a picture of that size, whose first picture is of `first_frame`.

    It is drawn with one pixel for each cell and then enlarged, since the expression is worked out for each pixel. All
    numbers in it are whole and below 2^53, so that ffmpeg's floating point is exact.
    """
    bit = f"mod(floor((N+{first_frame})/pow(2,{BITS - 1}-floor(X/2))),2)"
    luma = f"if(mod({bit}+X,2),{LIGHT},{DARK})"
    tall = math.floor(height * STRIP_HEIGHT)
    return (
        f"color=size={CELLS}x2:rate={FRAME_RATE},format=yuv420p,geq=lum='{luma}':cb=128:cr=128,"
        f"scale={width}:{tall}:flags=neighbor"
    )
