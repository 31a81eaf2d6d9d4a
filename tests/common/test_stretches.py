"""What is recorded of a range, as stretches."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coverage import BestSequence, best_sequence, cover_hour
from common.segments import Segment, SegmentType, make_segment
from common.stretches import Stretch, stretches

FULL, SUSPECT, PARTIAL = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL
HOUR = datetime(2026, 3, 1, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def seg(start: float, seconds: float, kind: SegmentType = FULL) -> Segment:
    return make_segment(HOUR + start * SECOND, seconds * SECOND, kind, f"hash{start:.3f}".replace(".", "_"))


def covered(segments: list[Segment], start: float, end: float) -> BestSequence:
    return best_sequence([cover_hour(segments, lambda _: 1)], HOUR + start * SECOND, HOUR + end * SECOND)


def told(found: list[Stretch]) -> list[tuple[float, float, SegmentType | None]]:
    return [((each.start - HOUR) / SECOND, (each.end - HOUR) / SECOND, each.type) for each in found]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], [(0, 60, None)]),
        ([seg(0, 30), seg(30, 30)], [(0, 60, FULL)]),
        ([seg(10, 10), seg(20, 5, SUSPECT), seg(25, 5, PARTIAL)],
         [(0, 10, None), (10, 20, FULL), (20, 25, SUSPECT), (25, 30, PARTIAL), (30, 60, None)]),
        ([seg(0, 29.995), seg(30, 29.992)], [(0, 60, FULL)]),
        ([seg(0, 30), seg(31, 60)], [(0, 30, FULL), (30, 31, None), (31, 60, FULL)]),
    ],
)  # fmt: skip
def test_stretches_are_what_there_is(
    segments: list[Segment], expected: list[tuple[float, float, SegmentType | None]]
) -> None:
    """Segments of one type that join are one stretch, and what they leave is another; 10 ms are no hole."""
    assert told(stretches(covered(segments, 0, 60))) == expected


def test_media_that_runs_on_leaves_no_hole() -> None:
    """Where the timestamps say that two segments join, the gap between their names is recorded."""
    hour = cover_hour([seg(0, 10), seg(13, 10)], lambda _: 1, lambda _earlier, _later: True)
    sequence = best_sequence([hour], HOUR, HOUR + 20 * SECOND, joins=lambda _earlier, _later: True)
    assert told(stretches(sequence)) == [(0, 20, FULL)]


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30), st.sampled_from([FULL, SUSPECT, PARTIAL])), max_size=9),
    st.integers(0, 50),
    st.integers(1, 60),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_stretches_fill_the_range(segments: list[tuple[int, int, SegmentType]], start: int, length: int) -> None:
    """They follow each other from its start to its end, none is empty, and what is missing is what the holes are."""
    sequence = covered([seg(*each) for each in segments], start, start + length)
    found = stretches(sequence)
    edges = [sequence.start, *(each.end for each in found)]
    assert edges[-1] == sequence.end
    assert [each.start for each in found] == edges[:-1]
    assert all(each.duration > timedelta() for each in found)
    missing = sum((each.duration for each in found if each.type is None), timedelta())
    assert missing == sum((hole.end - hole.start for hole in sequence.holes), timedelta())
