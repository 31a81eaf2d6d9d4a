"""The gate of a location: who delivers, in which order, and who waits."""

from datetime import timedelta

import pytest

from cutter.gates import Gate
from cutter.locations import LocationAwayError, Settings
from fake_location import FakeLocation, Place


class Clock:
    """Seconds that pass only when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    gate = Gate(FakeLocation(Place(), settings=Settings(at_once=2)), first=1.0, most=8.0, clock=clock)
    gate.looked(clock.now, waits=False)
    return gate


def test_as_many_are_delivered_at_once_as_the_location_says(gate: Gate) -> None:
    """A place is its event's until that leaves, however often it asks; without one nobody is let in."""
    assert gate.enter("a")
    assert gate.reserve("b")
    assert gate.enter("b")
    assert not gate.enter("c")
    assert not gate.reserve("c")
    gate.leave("a")
    assert gate.enter("b")


def test_what_has_just_been_made_does_not_overtake_what_waits(gate: Gate, clock: Clock) -> None:
    """Where finished files wait, a new one waits with them; only who is taken from the queue has a place."""
    gate.looked(clock.now, waits=True)
    assert not gate.enter("new")
    assert gate.reserve("first")
    assert gate.enter("first")


def test_what_was_turned_away_is_not_overtaken_on_its_way_into_the_queue(gate: Gate, clock: Clock) -> None:
    """Nothing of what a look has told counts that began before somebody came into the queue."""
    gate.looked(clock.now, waits=True)
    assert not gate.enter("early")
    gate.looked(clock.now, waits=False)
    assert not gate.enter("late")
    asked, clock.now = clock.now, clock.now + 1
    gate.leave("early")
    gate.leave("late")
    gate.looked(asked, waits=False)
    assert not gate.enter("later")
    gate.leave("later")
    gate.looked(clock.now, waits=False)
    assert gate.enter("last")


def test_one_event_shows_whether_the_location_is_back(gate: Gate, clock: Clock) -> None:
    """After a failure nobody is let in for a while, then a single one, and all when that has gone through."""
    assert gate.enter("a")
    gate.failed(LocationAwayError("Away."))
    assert gate.away
    assert not gate.enter("a")
    assert not gate.reserve("b")
    gate.leave("a")
    clock.now += gate.left.total_seconds()
    assert gate.reserve("b")
    assert not gate.reserve("a")
    gate.answered()
    assert gate.reserve("a")


def test_pauses_grow_and_are_as_long_as_the_location_asks(gate: Gate, clock: Clock) -> None:
    """Each failure in a row has a longer pause; those during a pause count as one; the location may ask for more."""
    gate.failed(LocationAwayError("Away."))
    gate.failed(LocationAwayError("Away."))
    assert timedelta(seconds=0.5) <= gate.left <= timedelta(seconds=1)
    clock.now += 1
    gate.failed(LocationAwayError("Away."))
    assert timedelta(seconds=1) <= gate.left <= timedelta(seconds=2)
    clock.now += 2
    gate.failed(LocationAwayError("Away.", retry_after=timedelta(minutes=5)))
    assert gate.left == timedelta(minutes=5)
