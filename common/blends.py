"""Transitions in a cut that is exact to the frame: which pictures of two ranges are blended into each other.

Two ranges that a transition joins overlap by its length. All before and after it is cut as if there were none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from common.pieces import CannotSpliceError, Encode, PicturesOf, Piece, plan_encode, segments_around
from common.scan import Stretch
from common.ticks import TICKS, steady_rate
from common.transitions import Transition, TransitionError
from common.transport import Times

# Steps between pictures of a constant rate differ by as much, where an encoder rounds to milliseconds.
_UNEVEN = 2 * TICKS // 1000

# What can be encoded again as the frames that it was.
_ENCODED_SOUNDS = {"adts", "mpeg", "ac3", "eac3"}


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one range gives to a transition: what is shown from `start` to before `end`, on the stretch's clock.

    The segments `first` to before `last` are needed. `shift` takes the clock of the stretch to that of the video.
    """

    stretch: Stretch
    pictures: Encode
    start: int
    end: int
    first: int
    last: int
    shift: int = 0

    @property
    def needed(self) -> range:
        """The pictures, in decode order, that a decoder goes through."""
        return range(self.pictures.opened, self.pictures.closed)


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """A part of a video in which two ranges are seen, picture by picture at the constant `rate` that both have.

    It has as many pictures as either side, at the times of those of `before`; `dts`, on the clock of the video, is when
    they are decoded.
    """

    transition: Transition
    rate: Fraction
    before: Side
    after: Side
    dts: Times

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both, in their order."""
        return self.before, self.after

    @property
    def stretch(self) -> Stretch:
        """That of the range that ends."""
        return self.before.stretch

    @property
    def start(self) -> int:
        """When it begins, on the clock of that stretch."""
        return self.before.start

    @property
    def end(self) -> int:
        """When it is over, on that clock."""
        return self.before.end

    @property
    def shift(self) -> int:
        """What takes that clock to that of the video."""
        return self.before.shift

    @property
    def first(self) -> int:
        """The first segment of that stretch that is needed."""
        return self.before.first

    @property
    def last(self) -> int:
        """The segment behind the last one."""
        return self.before.last

    @property
    def frames(self) -> int:
        """The number of pictures that it shows."""
        return len(self.pts)

    @property
    def pts(self) -> Times:
        """When its pictures are shown, on the clock of the video."""
        return self.before.pictures.pts + self.before.shift

    @property
    def decoded(self) -> tuple[int, int]:
        """When its first and its last picture are decoded, on the clock of the video."""
        return int(self.dts[0]), int(self.dts[-1])

    @property
    def seams(self) -> list[int]:
        """It has none inside."""
        return []


Part = Piece | Blend
"""What a video is made of, one after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A stretch as far as a range shows it: the pictures from `low` to before `high`, on the stretch's clock."""

    stretch: Stretch
    low: int
    high: int

    @property
    def pictures(self) -> NDArray[np.intp]:
        """The indices of the pictures, in the order in which they are shown."""
        found = np.flatnonzero((self.stretch.pts >= self.low) & (self.stretch.pts < self.high))
        ordered: NDArray[np.intp] = found[np.argsort(self.stretch.pts[found])]
        return ordered


def plan_blend(
    transition: Transition, before: Sequence[Shown], after: Sequence[Shown], pictures_of: PicturesOf
) -> tuple[Sequence[Shown], Blend, Sequence[Shown]]:
    """Plan the transition between two ranges; what they show besides comes back with it. It has no place yet.

    `before` and `after`: the stretches of each range, in order. Raises TransitionError if it does not fit, and
    CannotSpliceError if it cannot stand among pictures and sounds that are copied.
    """
    before = [shown for shown in before if len(shown.pictures)]
    after = [shown for shown in after if len(shown.pictures)]
    if not before or not after:
        raise TransitionError("A transition leads into a range of which nothing is recorded, or nothing is left.")
    ending, beginning = before[-1], after[0]
    rate = _common_rate(ending.stretch, beginning.stretch)
    count = max(1, round(Fraction(transition.duration // timedelta(microseconds=1), 1_000_000) * rate))
    for shown, all_of_it in ((ending, before), (beginning, after)):
        _check_room(transition, count, shown, all_of_it)
    step = ending.stretch.step
    last, first = ending.pictures[-count:], beginning.pictures[:count]
    gap_before = ending.high - int(ending.stretch.pts[last[-1]]) - step
    gap_after = int(beginning.stretch.pts[first[0]]) - beginning.low
    if max(gap_before, gap_after) > step:
        raise TransitionError(f"A transition of {_seconds(transition)} seconds leads into a hole.")
    sides = (_side(ending.stretch, last, pictures_of), _side(beginning.stretch, first, pictures_of))
    _check_steady(sides)
    rest = replace(ending, high=sides[0].start), replace(beginning, low=sides[1].end)
    return [*before[:-1], rest[0]], Blend(transition, rate, *sides, sides[0].pictures.dts), [rest[1], *after[1:]]


def _seconds(transition: Transition) -> str:
    return f"{transition.duration.total_seconds():g}"


def _common_rate(before: Stretch, after: Stretch) -> Fraction:
    if before.programme.video is None or after.programme.video is None:
        raise CannotSpliceError("A transition needs pictures in both ranges.")
    sounds = [[sound.audio for sound in stretch.programme.audio] for stretch in (before, after)]
    if sounds[0] != sounds[1] or before.programme.video.video != after.programme.video.video:
        raise CannotSpliceError("The ranges on both sides of a transition are coded differently.")
    if not _ENCODED_SOUNDS.issuperset(sounds[0]):
        raise CannotSpliceError("The sound of a transition cannot be encoded in the form that it has.")
    rates = [steady_rate(stretch.pts.tolist()) for stretch in (before, after)]
    if rates[0] is None or rates[0] != rates[1]:
        raise CannotSpliceError("The ranges on both sides of a transition have pictures at different rates.")
    return rates[0]


def _check_room(transition: Transition, count: int, shown: Shown, all_of_it: Sequence[Shown]) -> None:
    """Check that a transition lies within a stretch of its range."""
    if len(shown.pictures) >= count:
        return
    if len(all_of_it) > 1:
        raise TransitionError(f"A transition of {_seconds(transition)} seconds leads over a break in the recording.")
    length = len(shown.pictures) * shown.stretch.step / TICKS
    raise TransitionError(
        f"A transition of {_seconds(transition)} seconds does not fit into the {length:.3g} seconds that a range has"
        " left for it."
    )


def _side(stretch: Stretch, shown: NDArray[np.intp], pictures_of: PicturesOf) -> Side:
    pictures = plan_encode(stretch, shown, pictures_of)
    if pictures is None:
        raise CannotSpliceError("A transition needs pictures that cannot be decoded.")
    last = int(pictures.pts[-1])
    later = stretch.pts[stretch.pts > last]
    end = int(later.min()) if len(later) else last + stretch.step
    return Side(stretch, pictures, int(pictures.pts[0]), end, *segments_around(stretch, pictures.opened, shown))


def _check_steady(sides: Sequence[Side]) -> None:
    steps = np.concatenate([np.diff(side.pictures.pts, append=side.end) for side in sides])
    if np.ptp(steps) > _UNEVEN:
        raise CannotSpliceError("The pictures of a transition do not come at a constant rate.")


# Its place ------------------------------------------------------------------------------------------------------------


def place(part: Part, moment: int) -> Part:
    """Let a part begin at a time of the video's clock."""
    if isinstance(part, Piece):
        return replace(part, shift=moment - part.start)
    before, after = part.before, part.after
    return replace(
        part,
        before=replace(before, shift=moment - before.start),
        after=replace(after, shift=moment - after.start),
        dts=before.pictures.dts + moment - before.start,
    )


def delay_of(parts: Sequence[Part]) -> int:
    """Tell how long before its time the first picture is decoded; a blend goes by what follows it."""
    first = next((part for part in parts if isinstance(part, Piece)), None)
    return 0 if first is None else first.start + first.shift - first.decoded[0]


def spread(parts: Sequence[Part], delay: int) -> list[Part]:
    """Let the pictures of blends be decoded evenly in the time between those before and after them.

    `delay` is that of the first picture. So none is decoded after it is shown, whatever the order on both sides.
    """
    placed: list[Part] = []
    for index, part in enumerate(parts):
        if isinstance(part, Piece):
            placed.append(part)
            continue
        begin, length, step = part.start + part.shift, part.end - part.start, (part.end - part.start) / part.frames
        low: float = placed[-1].decoded[1] if placed else begin - delay - step
        following = parts[index + 1] if index + 1 < len(parts) else None
        high = following.decoded[0] if isinstance(following, Piece) else low + length + step
        times = np.linspace(low, high, part.frames + 2)[1:-1]
        placed.append(replace(part, dts=np.minimum(np.round(times).astype(np.int64), part.pts)))
    return placed
