"""The plan of a piece: whatever the order of coding, every picture of the range comes once, and is decoded in time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.nal import Entry, Picture
from common.pieces import Piece, plan_piece
from common.programme import Elementary, Programme
from common.scan import Scan, Stretch
from common.segments import SegmentType, make_segment

STEP, NOON = 3000, datetime(2026, 3, 1, 12, tzinfo=UTC)
PROGRAMME = Programme(1, 0x1000, 0x100, (Elementary(0x100, 0x1B),))


def coded(gops: Sequence[tuple[int, int]]) -> tuple[list[int], list[bool]]:
    """Give the places at which pictures are shown, in decode order, and which of them are clean beginnings.

    A group of pictures is its length and how many B-frames stand between others; each of those refers forwards.
    """
    shown, keys, begin = list[int](), list[bool](), 0
    for length, between in gops:
        shown.append(begin)
        keys += [True, *[False] * (length - 1)]
        for first in range(1, length, between + 1):
            last = min(first + between, length - 1)
            shown += [begin + last, *range(begin + first, begin + last)]
        begin += length
    return shown, keys


def stretch_of(gops: Sequence[tuple[int, int]], per_segment: int, steps: Sequence[int]) -> tuple[Stretch, list[bool]]:
    """Make a stretch of these groups, cut into segments of so many pictures, shown at uneven steps."""
    shown, keys = coded(gops)
    times = np.cumsum([0, *(STEP * steps[at % len(steps)] for at in range(len(shown) - 1))])
    delay = max(place - at for at, place in enumerate(sorted(range(len(shown)), key=shown.__getitem__)))
    before = [int(times[0]) - STEP * (delay - at) for at in range(delay)]
    dts = np.array([*before, *times.tolist()], np.int64)[: len(shown)]
    pts = times[np.array(shown)]
    bounds = (*range(0, len(shown), per_segment), len(shown))
    scan = Scan(PROGRAMME, pts, dts, (), Picture(Entry.CLOSED, b""), None)
    made = make_segment(NOON, timedelta(seconds=1), SegmentType.FULL, "x")
    count = len(bounds) - 1
    return Stretch((made,) * count, (scan,) * count, pts, dts, bounds, STEP), keys


gops = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=6)


@given(gops, st.integers(1, 15), st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_every_picture_of_the_range_comes_once(
    groups: list[tuple[int, int]], per_segment: int, steps: list[int], data: st.DataObject
) -> None:
    """What is encoded and what is copied are together the pictures of the range, each decoded before it is shown."""
    stretch, keys = stretch_of(groups, per_segment, steps)
    low = data.draw(st.integers(-STEP, int(stretch.pts.max())))
    high = data.draw(st.integers(low + 1, int(stretch.pts.max()) + 2 * STEP))

    def pictures_of(_: Stretch, number: int) -> list[Picture]:
        part = keys[stretch.bounds[number] : stretch.bounds[number + 1]]
        return [Picture(Entry.CLOSED if key else Entry.NONE, b"parameters" if key else b"") for key in part]

    piece = plan_piece(stretch, low, high, pictures_of, begins=True)
    wanted = sorted(time for time in stretch.pts.tolist() if low <= time < high)
    assert (piece is None) is (not wanted)
    if piece is None:
        return
    pts, dts = in_order(piece)
    assert sorted(pts) == wanted
    assert piece.frames == len(wanted)
    assert dts == sorted(set(dts))
    assert all(decoded <= shown for decoded, shown in zip(dts, pts, strict=True))
    assert (piece.start, piece.decoded[0], piece.decoded[1]) == (wanted[0], dts[0], dts[-1])
    later = [time for time in stretch.pts.tolist() if time > wanted[-1]]
    assert piece.end == min(later, default=wanted[-1] + STEP)
    assert_cheap(piece, keys)


def in_order(piece: Piece) -> tuple[list[int], list[int]]:
    """Give the times of all pictures of a piece in the order in which they are decoded."""
    copied = [index for index in piece.copied if index not in piece.skipped]
    pts, dts = piece.stretch.pts[copied].tolist(), piece.stretch.dts[copied].tolist()
    if piece.head:
        pts, dts = [*piece.head.pts.tolist(), *pts], [*piece.head.dts.tolist(), *dts]
    if piece.tail:
        pts, dts = [*pts, *piece.tail.pts.tolist()], [*dts, *piece.tail.dts.tolist()]
    return pts, dts


def assert_cheap(piece: Piece, keys: list[bool]) -> None:
    """No more is encoded than from the start to the next clean beginning, and at the end a few that hang on others."""
    if piece.copied:
        assert keys[piece.copied.start]
        assert piece.tail is None or len(piece.tail.pts) <= 3
    if piece.head and piece.copied:
        before = piece.stretch.pts[[index for index, key in enumerate(keys) if key]]
        assert not any(piece.start <= time < piece.stretch.pts[piece.copied.start] for time in before.tolist())
    for part in (piece.head, piece.tail):
        assert part is None or keys[part.opened]
    assert set(piece.whole) <= set(range(piece.first, piece.last))
