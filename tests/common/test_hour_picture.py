"""The picture of an hour: what it shows is what a slow look sees."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coverage import BestSequence, best_sequence, cover_hour
from common.hour_picture import picture_hour
from common.segments import Segment, SegmentType, make_segment

FULL, SUSPECT, PARTIAL = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL
HOUR = datetime(2026, 3, 1, 18, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def seg(minute: float, minutes: float, kind: SegmentType = FULL) -> Segment:
    """A segment that begins `minute` minutes into the hour."""
    return make_segment(HOUR + minute * MINUTE, minutes * MINUTE, kind, f"hash{minute:.4f}".replace(".", "_"))


def covered(segments: list[Segment], start: float = 0, end: float = 60) -> BestSequence:
    """What they cover of the minutes from `start` to `end`."""
    before = [segment for segment in segments if segment.start < HOUR]
    within = [segment for segment in segments if segment.start >= HOUR]
    hours = [cover_hour(part, lambda _: 1) for part in (before, within)]
    return best_sequence(hours, HOUR + start * MINUTE, HOUR + end * MINUTE)


def fold(cells: str) -> list[tuple[str, int]]:
    """Runs of the same character: `██·` is [("█", 2), ("·", 1)]."""
    runs: list[tuple[str, int]] = []
    for cell in cells:
        if runs and runs[-1][0] == cell:
            runs[-1] = (cell, runs[-1][1] + 1)
        else:
            runs.append((cell, 1))
    return runs


@pytest.mark.parametrize(
    ("segments", "cells", "share"),
    [
        ([seg(0, 60)], [("█", 60)], 1.0),
        ([seg(0, 30), seg(30, 30)], [("█", 60)], 1.0),
        ([], [("·", 60)], 0.0),
        ([seg(0, 30)], [("█", 30), ("·", 30)], 0.5),
        ([seg(0, 10), seg(20, 40)], [("█", 10), ("·", 10), ("█", 40)], 50 / 60),
        ([seg(0, 10.5), seg(11, 49)], [("█", 10), ("▒", 1), ("█", 49)], 59.5 / 60),
        ([seg(0, 10), seg(10, 2, SUSPECT), seg(12, 48)], [("█", 10), ("▓", 2), ("█", 48)], 1.0),
        ([seg(0, 10), seg(10, 0.25, PARTIAL), seg(10.25, 49.75)], [("█", 10), ("▓", 1), ("█", 49)], 1.0),
        ([seg(0, 10), seg(10, 0.25, PARTIAL), seg(11, 49)], [("█", 10), ("▒", 1), ("█", 49)], 59.25 / 60),
        ([seg(-5, 10), seg(5, 60)], [("█", 60)], 1.0),
        ([seg(0, 30), seg(30 + 0.009 / 60, 30)], [("█", 60)], 1.0),
        ([seg(0, 30), seg(30 + 0.02 / 60, 30)], [("█", 30), ("▒", 1), ("█", 29)], 1 - 0.02 / 3600),
    ],
)
def test_picture_shows_each_minute(segments: list[Segment], cells: list[tuple[str, int]], share: float) -> None:
    """A minute is complete, doubtful (suspect or partial), with holes, or empty; joins within 10 ms are no holes."""
    picture = picture_hour(HOUR, covered(segments))
    assert fold(picture.cells) == cells
    assert picture.share == pytest.approx(share)


def test_picture_leaves_out_what_was_not_asked() -> None:
    """Minutes outside of the range are blank, and the share is that of the range."""
    picture = picture_hour(HOUR, covered([seg(0, 60)], 20.5, 30))
    assert fold(picture.cells) == [(" ", 20), ("█", 10), (" ", 30)]
    assert picture.share == 1.0
    picture = picture_hour(HOUR, covered([seg(0, 25)], 20, 30))
    assert fold(picture.cells) == [(" ", 20), ("█", 5), ("·", 5), (" ", 30)]
    assert picture.share == 0.5


def test_segments_are_counted_in_the_hour_in_which_they_start() -> None:
    """What reaches in from before, and what begins at the very end, belongs to other hours."""
    assert picture_hour(HOUR, covered([seg(-1, 2), seg(1, 59), seg(60, 1)])).segments == {"full": 1}


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Segment], int, int]:
    """Segments on whole seconds, from before the hour until its end, and a range in it, as seconds."""
    moments = draw(st.lists(st.integers(-200, 3600), max_size=12, unique=True))
    lengths = draw(st.lists(st.integers(1, 900), min_size=len(moments), max_size=len(moments)))
    kinds = draw(
        st.lists(st.sampled_from([FULL, FULL, SUSPECT, PARTIAL]), min_size=len(moments), max_size=len(moments))
    )
    start, end = sorted(draw(st.lists(st.integers(0, 3600), min_size=2, max_size=2, unique=True)))
    segments = [seg(m / 60, s / 60, kind) for m, s, kind in zip(moments, lengths, kinds, strict=True)]
    return segments, start, end


def slow_cell(sequence: BestSequence, minute: int) -> str:
    """The same, second by second."""
    seconds = [HOUR + (60 * minute + n) * SECOND for n in range(60)]
    asked = [second for second in seconds if sequence.start <= second < sequence.end]
    types = [{s.type for s in sequence.segments if s.start <= second < s.end} for second in asked]
    if not asked:
        return " "
    if not any(types):
        return "·"
    if not all(types):
        return "▒"
    return "█" if set().union(*types) == {FULL} else "▓"


@given(recordings())
@settings(derandomize=True, deadline=None)
def test_picture_is_that_of_a_slow_look(recording: tuple[list[Segment], int, int]) -> None:
    """The cells are those that a look at each second gives, and the share is that of the seconds covered."""
    segments, start, end = recording
    sequence = covered(segments, start / 60, end / 60)
    picture = picture_hour(HOUR, sequence)
    assert picture.cells == "".join(slow_cell(sequence, minute) for minute in range(60))
    asked = [HOUR + n * SECOND for n in range(start, end)]
    there = sum(any(s.start <= second < s.end for s in sequence.segments) for second in asked)
    assert picture.share == pytest.approx(there / len(asked))
    missing = sum((hole.end - hole.start for hole in picture.holes), timedelta())
    assert picture.share == pytest.approx(1 - missing / (sequence.end - sequence.start))
    assert {" ", "·", "▒", "█", "▓"} >= set(picture.cells)


def test_day_is_drawn_in_no_time() -> None:
    """Drawing 24 hours of segments of two seconds, all with a flaw, takes a small part of a second."""
    hour = [seg(n / 30, 1 / 30, SUSPECT) for n in range(1800)]
    sequence = covered(hour)
    assert Counter(picture_hour(HOUR, sequence).segments) == {"suspect": 1800}
    began = time.process_time()
    for _ in range(24):
        picture_hour(HOUR, sequence)
    assert time.process_time() - began < 1.0
