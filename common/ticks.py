"""The clock of media: ticks of 90 kHz as integers, which is exact for MPEG-TS and within 6 µs for all else."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise

TICKS = 90_000

# The timestamps of MPEG-TS have 33 bits and begin again every 26.5 hours (ISO/IEC 13818-1 §2.4.3.7).
WRAP = 1 << 33

# Frames come in decode order, up to a second or two from their place; a step back by more is a new clock.
_NEW_CLOCK = 10 * TICKS

# Live encoders round to milliseconds; a sum of such steps is off by no more than this.
_ROUNDING = TICKS // 1000


def ticks(value: int, time_base: Fraction) -> int:
    """Convert a timestamp that counts `time_base` seconds, to the nearest tick."""
    exact = value * time_base.numerator * TICKS
    return (2 * exact + time_base.denominator) // (2 * time_base.denominator)


def distance(earlier: int, later: int) -> int:
    """Give the ticks from one timestamp of MPEG-TS to another, the shorter way around the clock: negative if back."""
    return (later - earlier + WRAP // 2) % WRAP - WRAP // 2


def unwrap(times: Iterable[int]) -> list[int]:
    """Let timestamps of MPEG-TS, in decode order, run on where their clock begins again; the first is below WRAP."""
    unwrapped: list[int] = []
    last = 0
    for time in times:
        last = last + distance(last, time) if unwrapped else time % WRAP
        unwrapped.append(last)
    return unwrapped


def outermost(times: Sequence[int]) -> tuple[int, int]:
    """Give the indices of the first and the last frame shown, of at least one in decode order.

    Where the clock is set back in between, it is the first of the first stretch and the last of the last.
    """
    cuts = [index for index, (before, after) in enumerate(pairwise(times), 1) if before - after > _NEW_CLOCK]
    head = range(cuts[0] if cuts else len(times))
    tail = range(cuts[-1] if cuts else 0, len(times))
    return min(head, key=times.__getitem__), max(tail, key=times.__getitem__)


def steady_rate(times: Iterable[int]) -> Fraction | None:
    """Give the frames per second while no frame is missing, or None for less than two frames; in any order.

    It is a whole number or one of those of NTSC (times 1000/1001) if the timestamps, rounded as they may be, allow it.
    """
    ordered = sorted(set(times))
    gaps = sorted(later - earlier for earlier, later in pairwise(ordered))
    if not gaps:
        return None
    usual = gaps[len(gaps) // 2]
    steady = [gap for gap in gaps if usual <= 2 * gap <= 3 * usual]
    count, total = len(steady), sum(steady)
    exact = Fraction(count * TICKS, total)
    known = [Fraction(max(1, round(exact))), max(1, round(exact * 1001 / 1000)) * Fraction(1000, 1001)]
    nearest = min(known, key=lambda rate: abs(rate - exact))
    if abs(count * TICKS / nearest - total) <= _ROUNDING:
        return nearest
    return exact.limit_denominator(1001) or None  # some frames in years are no rate
