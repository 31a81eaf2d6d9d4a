"""What should have been recorded: which holes are losses, and which are none."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librarian.coverage_account import GIVEN_UP, Expected, Kind, Noted, Span, account, ratio, since_when, totals

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
IDLE, FULL, PARTIAL, INTERRUPTED, MISSING = Kind

Told = Sequence[tuple[float, float, Kind]]


def at(minutes: float) -> datetime:
    return NOON + minutes * MINUTE


def told(recorded: Told, notes: list[Noted], since: float | None = None, *, start: float = 0, end: float = 60) -> Told:
    """What an account says of a range; all numbers are minutes after noon."""
    spans = [Span(at(first), at(last), kind) for first, last, kind in recorded]
    first, last = (spans[0].start, spans[-1].end) if spans else (None, None)
    expected = Expected(first, last, None if since is None else at(since))
    found = account(spans, notes, at(start), at(end), expected)
    return [((span.start - NOON) / MINUTE, (span.end - NOON) / MINUTE, span.kind) for span in found]


def lost(start: float, end: float) -> Noted:
    return Noted(at(start), at(end), away=False)


def away(start: float, end: float) -> Noted:
    return Noted(at(start), at(end), away=True)


def stopped(start: float, end: float) -> Noted:
    return Noted(at(start), at(end), away=False, stopped=True)


ALL = (0, 60, FULL)


@pytest.mark.parametrize(
    ("recorded", "notes", "since", "expected"),
    [
        # all is there; a type is shown as it is
        ([ALL], [], 0, [ALL]),
        ([(0, 20, FULL), (20, 21, PARTIAL), (21, 60, FULL)], [], 0,
         [(0, 20, FULL), (20, 21, PARTIAL), (21, 60, FULL)]),
        # a short hole is a loss, a long one of which nothing is noted is an interruption
        ([(0, 20, FULL), (29, 60, FULL)], [], 0, [(0, 20, FULL), (20, 29, MISSING), (29, 60, FULL)]),
        ([(0, 20, FULL), (31, 60, FULL)], [], 0, [(0, 20, FULL), (20, 31, INTERRUPTED), (31, 60, FULL)]),
        # what was offered and lost is missing, however long it is
        ([(0, 20, FULL), (50, 60, FULL)], [lost(20, 50)], 0, [(0, 20, FULL), (20, 50, MISSING), (50, 60, FULL)]),
        # while the stream was away nothing is expected, nor in the moments before that was noticed
        ([(0, 20, FULL), (50, 60, FULL)], [away(21, 49)], 50, [(0, 20, FULL), (20, 50, IDLE), (50, 60, FULL)]),
        ([(0, 5, FULL), (50, 60, FULL)], [away(30, 40)], 40,
         [(0, 5, FULL), (5, 30, INTERRUPTED), (30, 50, IDLE), (50, 60, FULL)]),
        # a recorder that is to record and falls behind
        ([(0, 20, FULL)], [], 0, [(0, 20, FULL), (20, 60, MISSING)]),
        ([(0, 20, FULL)], [], 40, [(0, 20, FULL), (20, 40, INTERRUPTED), (40, 60, MISSING)]),
        ([(0, 20, FULL)], [], 25, [(0, 20, FULL), (20, 60, MISSING)]),
        ([(0, 20, FULL)], [away(20, 40)], 40, [(0, 20, FULL), (20, 40, IDLE), (40, 60, MISSING)]),
        # one that was stopped, or waits
        ([(0, 20, FULL)], [], None, [(0, 20, FULL), (20, 60, IDLE)]),
        ([(0, 20, FULL)], [stopped(20, 20.1)], None, [(0, 20, FULL), (20, 60, IDLE)]),
        ([(0, 20, FULL)], [lost(20, 21)], None, [(0, 20, FULL), (20, 21, MISSING), (21, 60, IDLE)]),
        ([(0, 20, FULL), (25, 60, FULL)], [stopped(20, 20.1)], 25,
         [(0, 20, FULL), (20, 25, MISSING), (25, 60, FULL)]),
        # before the first segment nothing is expected, unless a recorder brings nothing to disk
        ([(30, 60, FULL)], [], 0, [(0, 30, IDLE), (30, 60, FULL)]),
        ([], [], None, [(0, 60, IDLE)]),
        ([], [], 30, [(0, 30, IDLE), (30, 60, MISSING)]),
        # what lies beyond the range is known, so that a hole's length is
        ([(-90, -7, FULL), (5, 90, FULL)], [], 0, [(0, 5, INTERRUPTED), (5, 60, FULL)]),
        ([(-90, -4, FULL), (5, 90, FULL)], [], 0, [(0, 5, MISSING), (5, 60, FULL)]),
    ],
)  # fmt: skip
def test_holes_are_told_apart(recorded: Told, notes: list[Noted], since: float | None, expected: Told) -> None:
    """Each hole is what the notes, its length and the recorder make of it."""
    assert told(recorded, notes, since) == expected


@given(
    st.lists(st.tuples(st.integers(-30, 90), st.sampled_from([FULL, PARTIAL])), max_size=6, unique_by=lambda x: x[0]),
    st.lists(st.tuples(st.integers(-30, 90), st.integers(1, 30), st.booleans()), max_size=4),
    st.none() | st.integers(-30, 60),
    st.integers(0, 50),
)
def test_an_account_fills_its_range(
    edges: list[tuple[int, Kind]], notes: list[tuple[int, int, bool]], since: int | None, start: int
) -> None:
    """Its spans follow each other from start to end, no two alike, and agree with those of a longer range."""
    moments = sorted(edges)
    recorded = [(a, (a + b) / 2, kind) for (a, kind), (b, _) in itertools.pairwise(moments)]
    noted = sorted(Noted(at(first), at(first + length), is_away) for first, length, is_away in notes)
    found = told(recorded, noted, since, start=start)
    assert [first for first, _, _ in found] == [start, *(last for _, last, _ in found[:-1])]
    assert found[-1][1] == 60
    assert all(one[2] is not other[2] for one, other in itertools.pairwise(found))
    longer = told(recorded, noted, since, start=start - 20, end=80)
    clipped = [(max(a, start), min(b, 60), kind) for a, b, kind in longer if a < 60 and b > start]
    assert clipped == found


def test_who_is_to_record() -> None:
    """A recorder that records is to, one that waits or was stopped is not, and one that died is for a day."""
    newest = at(30)
    assert since_when(None, newest, at(40)) is None
    assert since_when((True, NOON, True), newest, at(40)) == NOON
    assert since_when((False, NOON, True), newest, at(40)) is None
    assert since_when((True, NOON, False), newest, newest + GIVEN_UP - MINUTE) == NOON
    assert since_when((True, NOON, False), newest, newest + GIVEN_UP) is None
    assert since_when((True, NOON, True), newest, newest + 9 * GIVEN_UP) == NOON


def test_the_share_is_of_what_was_expected() -> None:
    """Neither idle time nor interruptions count; of nothing there is no share."""
    spans = [
        Span(at(first), at(first + 1), kind) for first, kind in enumerate([IDLE, FULL, FULL, PARTIAL, INTERRUPTED])
    ]
    sums = totals([*spans, Span(at(5), at(6), MISSING)], at(0), at(6))
    assert ratio(sums) == pytest.approx(3 / 4)
    assert ratio(totals(spans[:1], at(0), at(1))) is None
    assert totals(spans, at(1.5), at(3.5))[PARTIAL] == MINUTE / 2
