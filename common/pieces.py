"""A piece of one stretch of the recording, exact to the frame: what is copied, what is encoded again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, takewhile

import numpy as np
from numpy.typing import NDArray

from common.alignment import Alignment, align, stands_alone
from common.nal import Entry, Picture
from common.scan import Stretch
from common.ticks import TICKS
from common.transport import Times

# No more than this is encoded at an end of a piece that is copied otherwise: then it were hardly copied at all.
_LONGEST_ENCODE = 30 * TICKS

# So many pictures after one may tell of those before it.
_LOOKS_AHEAD = 64

# A packet of sound may hold so much from its time on, and lie so far from the pictures that it belongs to.
_LONGEST_SOUND_PES = 2 * TICKS


# Their parameters come in units of their own, which need not come with each picture to begin with.
_TOLD_APART = {"h264", "hevc"}


class CannotSpliceError(ValueError):
    """A cut that cannot be made by copying, and must be encoded anew; its text says why, in one sentence."""


@dataclass(frozen=True, slots=True, eq=False)
class Encode:
    """Pictures that are encoded again: the times at which they are shown, in that order, and are decoded.

    `opened` and `closed` bound the pictures, in decode order, from which a decoder makes them. `alignment`: how they
    are placed so that copying can begin with a picture of H.264 that is no IDR. Those that it leads are the last ones
    shown, and are decoded where they were.
    """

    pts: Times
    dts: Times
    opened: int
    closed: int
    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a video from one stretch: what is shown from `start` to before `end`, on the stretch's clock.

    The pictures `copied` (in decode order) but for those in `skipped` go through as they are, those of `head` and
    `tail` are encoded again. The segments `first` to before `last` are needed; those in `whole` need no look inside.
    `shift` takes the clock of the stretch to that of the video.
    """

    stretch: Stretch
    start: int
    end: int
    shift: int
    head: Encode | None
    copied: range
    skipped: frozenset[int]
    tail: Encode | None
    first: int
    last: int
    whole: range

    @property
    def frames(self) -> int:
        """The number of pictures that it shows."""
        encoded = sum(len(part.pts) for part in (self.head, self.tail) if part)
        return encoded + len(self.copied) - len(self.skipped)

    @property
    def needed(self) -> range:
        """The pictures, in decode order, of which it is made: from the first to the last that is copied or decoded."""
        parts = [range(part.opened, part.closed) for part in (self.head, self.tail) if part]
        parts += [self.copied] if self.copied else []
        return range(min(part.start for part in parts), max(part.stop for part in parts)) if parts else range(0)

    @property
    def decoded(self) -> tuple[int, int]:
        """When its first and its last picture are decoded, on the clock of the video; without any, when it begins."""
        parts = [part.dts for part in (self.head, self.tail) if part]
        times = np.concatenate([*parts, self.stretch.dts[self.copied.start : self.copied.stop]])
        if not len(times):
            return self.start + self.shift, self.start + self.shift
        return int(times.min()) + self.shift, int(times.max()) + self.shift

    @property
    def seams(self) -> list[int]:
        """Where copied pictures follow encoded ones or the other way round, on the clock of the video."""
        if not self.copied:
            return []
        found = [int(self.stretch.pts[self.copied.start])] if self.head else []
        found += [int(self.tail.pts[0])] if self.tail else []
        return [time + self.shift for time in found]


# Gives the pictures of a segment of a stretch, by its number; asked only around the ends of a piece.
PicturesOf = Callable[[Stretch, int], Sequence[Picture]]


def plan_piece(stretch: Stretch, low: int, high: int, pictures_of: PicturesOf, *, begins: bool) -> Piece | None:
    """Plan what is shown from `low` to before `high`, on the stretch's clock; None if that is nothing.

    `begins`: the video begins with it. Where a stretch begins amid pictures that need what came before, it is shown
    from the first one that does not. Raises CannotSpliceError if too much would have to be encoded.
    """
    if stretch.programme.video is None:
        return _sound_piece(stretch, low, high)
    picture_of = _pictures(stretch, pictures_of)
    found = _shown(stretch, low, high, picture_of)
    if found is None:
        return None
    shown, opened = found
    key = _first_copied(stretch, shown, opened, picture_of, begins=begins)
    if key is None:
        encode = _all(stretch, shown, opened)
        if encode.pts[-1] - encode.pts[0] > _LONGEST_ENCODE:
            raise CannotSpliceError("For too long a time no picture comes with which copying could begin.")
        return _put_together(stretch, shown, encode, range(0), None)
    head = _head(stretch, shown, opened, key, _alignment(stretch, shown, key, picture_of))
    stop = _copied_until(stretch, shown, key)
    return _put_together(stretch, shown, head, range(key, stop), _tail(stretch, shown, key, stop, picture_of))


def plan_decoded(stretch: Stretch, low: int, high: int, pictures_of: PicturesOf) -> Piece | None:
    """Plan a piece of which all is decoded, so that nothing must be taken apart; else as `plan_piece`.

    Its segments go through whole, with what a decoder needs before `start`; of what is shown nothing is counted.
    """
    if stretch.programme.video is None:
        piece = _sound_piece(stretch, low, high)
        return None if piece is None else replace(piece, whole=range(piece.first, piece.last))
    picture_of = _pictures(stretch, pictures_of)
    found = _shown(stretch, low, high, picture_of)
    if found is None:
        return None
    piece = _put_together(stretch, found[0], _all(stretch, *found), range(0), None)
    # in whole segments nothing can be put before a picture that does not bring its parameters
    first = min(piece.first, _segment_with_parameters(stretch, found[1], picture_of))
    return replace(piece, first=first, whole=range(first, piece.last))


def _segment_with_parameters(stretch: Stretch, index: int, picture_of: Callable[[int], Picture]) -> int:
    """Find the last segment up to that of a picture with which a decoder is told the parameters that hold for it."""
    if _codec(stretch) not in _TOLD_APART:
        return stretch.segment_of(index)
    told = next((at for at in range(index, -1, -1) if picture_of(at).parameters), index)
    return stretch.segment_of(told)


def _shown(
    stretch: Stretch, low: int, high: int, picture_of: Callable[[int], Picture]
) -> tuple[NDArray[np.intp], int] | None:
    """Find the pictures that are shown in an interval and can be decoded, and the one to begin with."""
    if stretch.breaks is not None:
        high = min(high, stretch.breaks)
    shown = np.flatnonzero((stretch.pts >= low) & (stretch.pts < high))
    opened = _entry_before(stretch, shown, picture_of) if len(shown) else None
    if len(shown) and opened is None:
        opened, first = _entry_after(stretch, int(shown[0]), picture_of)
        low = high if opened is None else int(stretch.pts[first])
        shown = np.flatnonzero((stretch.pts >= low) & (stretch.pts < high))
    return (shown, opened) if len(shown) and opened is not None else None


def _all(stretch: Stretch, shown: NDArray[np.intp], opened: int) -> Encode:
    times = np.sort(stretch.pts[shown])
    # decoded as long before they are shown as those that are copied, so that both can follow each other
    delay = stretch.pts[opened] - stretch.dts[opened]
    return Encode(times, times - delay, opened, int(shown.max()) + 1)


def plan_encode(stretch: Stretch, shown: NDArray[np.intp], pictures_of: PicturesOf) -> Encode | None:
    """Plan that pictures (by their index) are encoded again, whatever is around them; None if none can be decoded.

    `dts` are the times at which they are shown.
    """
    opened = _entry_before(stretch, shown, _pictures(stretch, pictures_of))
    times = np.sort(stretch.pts[shown])
    return None if opened is None else Encode(times, times, opened, int(shown.max()) + 1)


def segments_around(stretch: Stretch, opened: int, shown: NDArray[np.intp]) -> tuple[int, int]:
    """Give the first segment that is needed for pictures that are decoded from `opened` on, and that behind the last.

    One more on both sides holds sound that runs ahead or lags behind.
    """
    first = min(stretch.segment_of(opened), max(0, stretch.segment_of(int(shown.min())) - 1))
    return first, min(len(stretch.segments), stretch.segment_of(int(shown.max())) + 2)


def _pictures(stretch: Stretch, pictures_of: PicturesOf) -> Callable[[int], Picture]:
    """Give pictures by their index; a decoder can begin with one only if the parameters that hold for it are known."""
    pictures = cache(lambda number: pictures_of(stretch, number))

    def coded(index: int) -> Picture:
        number = stretch.segment_of(index)
        return pictures(number)[index - stretch.bounds[number]]

    def picture_of(index: int) -> Picture:
        picture = coded(index)
        begins = picture.entry is not Entry.NONE or picture.refreshed is not None
        if not begins or _codec(stretch) not in _TOLD_APART or _parameters(stretch, index, coded):
            return picture
        return replace(picture, entry=Entry.NONE, refreshed=None)

    return picture_of


def _entry_before(stretch: Stretch, shown: NDArray[np.intp], picture_of: Callable[[int], Picture]) -> int | None:
    """Find the last picture with which a decoder can begin to get to all that is shown."""
    first, references = int(stretch.pts[shown].min()), 0
    for at in range(int(shown.min()), -1, -1):
        picture = picture_of(at)
        whole = picture.entry is not Entry.NONE or (picture.refreshed is not None and picture.refreshed <= references)
        if whole and stretch.pts[at] <= first:
            return at
        references += picture.reference
    return None


def _entry_after(stretch: Stretch, begin: int, picture_of: Callable[[int], Picture]) -> tuple[int | None, int]:
    """Find the next picture with which a decoder can begin, and the first that it shows whole."""
    refreshing: int | None = None
    missing = 0
    for at in range(begin, len(stretch.pts)):
        picture = picture_of(at)
        if picture.entry is not Entry.NONE or (refreshing is not None and missing <= 0):
            return (at if refreshing is None or picture.entry is not Entry.NONE else refreshing), at
        if refreshing is None and picture.refreshed is not None:
            refreshing, missing = at, picture.refreshed
        missing -= picture.reference
    return None, begin


def _first_copied(
    stretch: Stretch, shown: NDArray[np.intp], opened: int, picture_of: Callable[[int], Picture], *, begins: bool
) -> int | None:
    """Find the picture with which copying can begin, best one of which nobody can tell that it was not the first."""
    possible: int | None = None
    first = int(stretch.pts[shown].min())
    wanted = set(shown.tolist())
    for at in range(opened, int(shown.max()) + 1):
        if stretch.dts[at] - first > _LONGEST_ENCODE:
            break
        entry = picture_of(at).entry if at in wanted else Entry.NONE
        # of HEVC a decoder can be told that a sequence has ended before it
        if entry is Entry.CLOSED or (entry is Entry.OPEN and _codec(stretch) == "hevc"):
            return at
        if entry is Entry.OPEN:
            is_first = begins and stretch.pts[at] == first
            if _alignment(stretch, shown, at, picture_of) or (is_first and _stands_alone(stretch, at, picture_of)):
                return at
            possible = at if is_first else possible
    return possible


def _stands_alone(stretch: Stretch, key: int, picture_of: Callable[[int], Picture]) -> bool:
    if _codec(stretch) != "h264":
        return True
    following, leading = _following(stretch, key, picture_of)
    return stands_alone(following, _parameters(stretch, key, picture_of), leading)


def _codec(stretch: Stretch) -> str | None:
    video = stretch.programme.video
    return video.video if video else None


def _alignment(
    stretch: Stretch, shown: NDArray[np.intp], key: int, picture_of: Callable[[int], Picture]
) -> Alignment | None:
    """Find how what is shown before a picture of H.264 that is no IDR can be encoded so that it can follow."""
    if _codec(stretch) != "h264" or picture_of(key).entry is not Entry.OPEN:
        return None
    following, leading = _following(stretch, key, picture_of)
    led = [key + at for at in leading]
    before = shown[shown < key]
    first = stretch.pts[[key, *led]].min()
    if not len(before) or stretch.pts[before].max() > first or not np.isin(led, shown).all():
        return None
    if len(before) + len(led) < (stretch.pts[shown] < stretch.pts[key]).sum():
        return None  # more is shown before it
    return align(following, _parameters(stretch, key, picture_of), leading, len(before))


def _following(
    stretch: Stretch, key: int, picture_of: Callable[[int], Picture]
) -> tuple[Sequence[Picture], Sequence[int]]:
    """Give an entry and what comes until the next one, and which of these it leads, in the order shown."""
    later = range(key + 1, min(len(stretch.pts), key + _LOOKS_AHEAD))
    following = [picture_of(key), *takewhile(lambda picture: picture.entry is Entry.NONE, map(picture_of, later))]
    pts = stretch.pts[key : key + len(following)]
    leading = np.flatnonzero(pts < pts[0])
    return following, leading[np.argsort(pts[leading])].tolist()


def _parameters(stretch: Stretch, index: int, picture_of: Callable[[int], Picture]) -> bytes:
    """Find the parameter sets that hold for a picture."""
    number = stretch.segment_of(index)
    near = (picture_of(at).parameters for at in range(index, stretch.bounds[number] - 1, -1))
    heads = (stretch.scans[at].head.parameters for at in range(number, -1, -1))
    rest = (picture_of(at).parameters for at in range(stretch.bounds[number] - 1, -1, -1))
    return next(filter(None, chain(near, heads, rest)), b"")


def _head(
    stretch: Stretch, shown: NDArray[np.intp], opened: int, key: int, alignment: Alignment | None
) -> Encode | None:
    before = shown[stretch.pts[shown] < stretch.pts[key]]
    if not len(before):
        return None
    times, until = np.sort(stretch.pts[before]), int(before.max()) + 1
    if alignment is not None:
        leading = before[before > key]
        leading = leading[np.argsort(stretch.pts[leading])]
        dts = np.concatenate([stretch.dts[key - alignment.before : key], stretch.dts[leading]])
        return Encode(times, dts, opened, until, alignment)
    delay = stretch.pts[key] - stretch.dts[key]
    return Encode(times, times - delay, opened, until)


def _copied_until(stretch: Stretch, shown: NDArray[np.intp], key: int) -> int:
    """Find how far, in decode order, copying can go: what is decoded until then is shown before all that is left."""
    following = np.arange(key, len(stretch.pts))
    following = following[stretch.pts[key:] >= stretch.pts[key]]
    beyond = np.flatnonzero(~np.isin(following, shown))
    stop = int(following[beyond[0]]) if len(beyond) else len(stretch.pts)
    while stop > key:
        copied = stretch.pts[following[following < stop]]
        left = stretch.pts[shown[(shown >= stop) & (stretch.pts[shown] >= stretch.pts[key])]]
        if not len(left) or copied.max() < left.min():
            break
        stop -= 1
    return stop


def _tail(
    stretch: Stretch, shown: NDArray[np.intp], key: int, stop: int, picture_of: Callable[[int], Picture]
) -> Encode | None:
    left = shown[(shown >= stop) & (stretch.pts[shown] >= stretch.pts[key])]
    if not len(left):
        return None
    times = np.sort(stretch.pts[left])
    opened = _entry_before(stretch, left, picture_of)
    # as many are decoded from there on as are shown, each before it is shown
    dts = np.sort(stretch.dts[stop : stop + len(left)])
    return Encode(times, dts, key if opened is None else opened, int(left.max()) + 1)


def _put_together(
    stretch: Stretch, shown: NDArray[np.intp], head: Encode | None, copied: range, tail: Encode | None
) -> Piece:
    start, last = int(stretch.pts[shown].min()), int(stretch.pts[shown].max())
    later = stretch.pts[stretch.pts > last]
    end = int(later.min()) if len(later) else last + stretch.step
    if stretch.breaks is not None and end > stretch.breaks:  # pictures may be missing before the next that is there
        end = last + stretch.step
    skipped = frozenset(
        (copied.start + np.flatnonzero(stretch.pts[copied.start : copied.stop] < stretch.pts[copied.start])).tolist()
        if copied
        else ()
    )
    opened = min(part.opened for part in (head, tail) if part) if head or tail else copied.start
    first, final = segments_around(stretch, opened, shown)
    whole = range(0)
    if copied:
        within = range(
            stretch.segment_of(max([copied.start, *skipped])) + 1,
            stretch.segment_of(copied.stop - 1) + (copied.stop == len(stretch.pts)),
        )
        whole = _whole(stretch, within, start, end)
    return Piece(stretch, start, end, 0, head, copied, skipped, tail, first, final, whole)


def _whole(stretch: Stretch, numbers: range, start: int, end: int) -> range:
    """Narrow segments, of which all pictures are copied, to those of which all sound is."""

    def untouched(number: int) -> bool:
        if stretch.scans[number].breaks is not None:
            return False
        spans = [span for span in stretch.scans[number].sounds if span is not None]
        clock = [(stretch.on_clock(first, number), stretch.on_clock(last, number)) for first, last in spans]
        return all(start + _LONGEST_SOUND_PES <= first and last + _LONGEST_SOUND_PES <= end for first, last in clock)

    left = [number for number in numbers if untouched(number)]
    return range(left[0], left[-1] + 1) if left else range(0)


def _sound_piece(stretch: Stretch, low: int, high: int) -> Piece | None:
    """Plan a piece of a stretch without pictures."""
    start, end = max(low, int(stretch.pts[0])), min(high, int(stretch.pts[-1]) + stretch.step)
    if start >= end:
        return None
    first = stretch.segment_of(max(0, int((stretch.pts <= start).sum()) - 1))
    last = stretch.segment_of(max(0, int((stretch.pts < end).sum()) - 1))
    bounds = max(0, first - 1), min(len(stretch.segments), last + 2)
    whole = _whole(stretch, range(first + 1, last), start, end)
    return Piece(stretch, start, end, 0, None, range(0), frozenset(), None, *bounds, whole)
