"""Whether a node cuts an event now."""

from datetime import UTC, datetime, timedelta

import pytest

from common.coverage import Hole
from common.cuts import VideoRange
from common.events import Event, State
from cutter.examine import Decision, Found, StandBack, Take, decide

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALL = Found(size=7)
NOT_YET = "It ends at 2026-03-01T12:10:00.000000Z, and is not all recorded yet."


def decided(found: Found, now: datetime, *, holes: bool = True, waited: timedelta = 60 * MINUTE) -> Decision:
    """Decide of an event from noon to ten past, by a cutter that is alone."""
    ranges = (VideoRange(NOON, NOON + 10 * MINUTE),)
    event = Event("one", State.EDITED, ranges=ranges, allow_holes=holes)
    return decide(event, found, waited, alone=True, now=now)


def hole(first: int, last: int) -> Hole:
    return Hole(NOON + first * MINUTE, NOON + last * MINUTE)


@pytest.mark.parametrize(
    ("found", "holes"),
    [
        (Found(missing=5 * MINUTE, hole=hole(5, 10), size=7), True),
        (Found(hole=hole(5, 10)), False),
        (Found(nothing=True), True),
    ],
)
def test_what_goes_on_is_waited_for(found: Found, holes: bool) -> None:  # noqa: FBT001 - a case
    """A video whose end is still to come, or only just has, is not made without it, holes allowed or not."""
    assert decided(found, NOON + 5 * MINUTE, holes=holes) == StandBack(NOT_YET)
    for now in (NOON + 9.5 * MINUTE, NOON + 10 * MINUTE + timedelta(seconds=20)):
        assert decided(found, now, holes=holes) == StandBack(NOT_YET, passing=True)
    later = decided(found, NOON + 11 * MINUTE, holes=holes)
    assert not (isinstance(later, StandBack) and later.why == NOT_YET)


def test_old_hole_is_told_while_the_recording_goes_on() -> None:
    """A hole that nobody can wait for is named at once."""
    found = decided(Found(hole=hole(1, 2)), NOON + 5 * MINUTE, holes=False)
    assert isinstance(found, StandBack)
    assert "Allow holes" in found.why


def test_what_is_all_there_is_taken() -> None:
    """Nothing is waited for that is recorded, or that will never be."""
    assert decided(ALL, NOON + 10 * MINUTE) == Take(7)
    assert decided(Found(7, MINUTE, hole(1, 2)), NOON + 11 * MINUTE) == Take(7)
