"""Retention as it happens, in a real store: what goes, what others are told, and what lasts."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from clocks import NOON, Clock
from common import missing
from common.expired import Expired
from common.lifetimes import AgeLimit, Limits, Protection
from common.missing import Missing
from common.recorder_state import RecorderFile, RecorderState
from common.store import Store
from librarian import expiry as module
from librarian.expiry import Expiry
from librarian.needed import Needs
from librarian.sizes import Sizes
from log_events import LogEvents, log_events

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
WEEK = Limits((AgeLimit("*", "*", 7 * DAY),))

Fill = Callable[..., list[str]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def expiry(store: Store, clock: Clock) -> Expiry:
    return Expiry(store, clock)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"respool_retention_{name}", labels) or 0.0


def needed(start: datetime, length: timedelta = HOUR) -> Protection:
    return Protection("chan", None, start, start + length, "kept by anna")


def test_old_hours_go_and_are_counted(expiry: Expiry, store: Store, fill: Fill) -> None:
    """What is too old goes, its bytes are counted by reason, and what was noted of hours long gone goes along."""
    fill("2026-02-20T10")
    fill("2026-02-25T10")
    old = datetime(2026, 2, 1, tzinfo=UTC)
    missing.note(store, "chan", "source", [Missing(old, timedelta(seconds=2), "expired")])
    before = metric("deleted_bytes_total", reason="age")
    assert expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == ["2026-02-25T10"]
    assert metric("deleted_bytes_total", reason="age") - before == 3000
    assert missing.read(store, "chan", "source", old, old + HOUR) == []
    assert metric("last_success_timestamp_seconds") == NOON.timestamp()
    assert metric("queue_hours") == 0  # as of the look
    assert metric("store_bytes") == 6000


def test_without_limits_nothing_is_even_looked_at(
    expiry: Expiry, store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A librarian without limits walks through no store; what others were told of its limits is taken back."""
    fill("2020-02-20T10")
    expiry.keep_to(WEEK, (needed(datetime(2020, 2, 20, 10, tzinfo=UTC)),))
    assert Expired(store.base, lambda: NOON).is_expired("chan", "source", "2020-02-20T14")
    monkeypatch.setattr(Sizes, "look", None)
    assert expiry.keep_to(Limits(), ())
    assert store.hours("chan", "source") == ["2020-02-20T10"]
    assert not Expired(store.base, lambda: NOON).is_expired("chan", "source", "2020-02-20T14")


def test_database_that_is_away_lets_nothing_go_that_it_might_need(
    expiry: Expiry, store: Store, fill: Fill, clock: Clock
) -> None:
    """Nothing goes before the database ever answered; then what it last told holds for what was recorded by then."""
    fill("2026-02-20T10")
    fill("2026-02-20T20")
    expiry.keep_to(WEEK, None)
    assert store.hours("chan", "source") == ["2026-02-20T10", "2026-02-20T20"]
    assert metric("needs_known_timestamp_seconds") == 0
    expiry.keep_to(WEEK, (needed(datetime(2026, 2, 20, 20, tzinfo=UTC)),))
    assert store.hours("chan", "source") == ["2026-02-20T20"]
    fill("2026-03-01T10")
    fill("2026-03-01T14")
    clock.now += 30 * DAY
    # a new process knows what the last one knew
    later = Expiry(store, clock)
    later.keep_to(WEEK, None)
    assert store.hours("chan", "source") == ["2026-02-20T20", "2026-03-01T14"]
    assert metric("needs_known_timestamp_seconds") == NOON.timestamp()


def test_full_disk_without_a_database_keeps_what_may_be_needed(
    expiry: Expiry, store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a disk without room makes nothing go of which it was never known whether it is needed."""
    monkeypatch.setattr(module, "_free", lambda _: 0)
    fill("2026-02-20T10")
    expiry.keep_to(Limits(free=1000), None)
    assert store.hours("chan", "source") == ["2026-02-20T10"]
    assert metric("excess_bytes") == 1000
    expiry.keep_to(Limits(free=1000), ())
    assert store.hours("chan", "source") == []
    assert metric("excess_bytes") == 0


def test_what_is_being_removed_counts_as_free(
    expiry: Expiry, store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the queue is being emptied no more goes than is needed."""
    monkeypatch.setattr(module, "_free", lambda _: 0)
    for hour in range(10, 20):
        fill(f"2026-02-20T{hour}")
    for _ in range(3):
        expiry.keep_to(Limits(free=5000), ())
    assert len(store.hours("chan", "source")) == 8


def test_what_made_room_does_not_come_back(expiry: Expiry, store: Store, fill: Fill) -> None:
    """What was deleted for size is not wanted, nor is anything that is older and never was here."""
    for hour in range(10, 16):
        fill(f"2026-02-20T{hour}")
    expiry.keep_to(Limits(size=12_000), ())
    assert store.hours("chan", "source") == [f"2026-02-20T{hour}" for hour in range(12, 16)]
    others = Expired(store.base, lambda: NOON)
    assert others.is_expired("chan", "source", "2026-02-20T11")
    assert others.is_expired("other", "source", "2026-02-20T10")
    assert not others.is_expired("other", "source", "2026-02-20T12")


def test_what_is_needed_after_all_is_wanted_again(expiry: Expiry, store: Store, fill: Fill) -> None:
    """When somebody comes to need a deleted hour its mark goes, so that it can be fetched from a node that has it."""
    fill("2026-02-20T10", hidden=1)
    fill("2026-02-20T15")
    expiry.keep_to(WEEK, ())
    others = Expired(store.base, lambda: NOON)
    assert others.is_expired("chan", "source", "2026-02-20T10")
    for _ in range(2):
        expiry.keep_to(WEEK, (needed(datetime(2026, 2, 20, 10, 20, tzinfo=UTC), timedelta(minutes=5)),))
        assert not others.is_expired("chan", "source", "2026-02-20T10")
        assert others.is_expired("chan", "source", "2026-02-20T15")
    fill("2026-02-20T10")  # it is fetched, and stays
    expiry.keep_to(WEEK, (needed(datetime(2026, 2, 20, 10, 20, tzinfo=UTC)),))
    assert len(store.names("chan", "source", "2026-02-20T10")) == 2


def test_what_lives_in_another_time_is_still_being_recorded(expiry: Expiry, store: Store, fill: Fill) -> None:
    """A stream that is recorded now under old times keeps its newest two hours."""
    for hour in range(10, 14):
        fill(f"2020-02-20T{hour}")
    recorder = RecorderFile(store, "chan", "source")
    recorder.write(RecorderState(recording=True, since=NOON))
    expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == ["2020-02-20T12", "2020-02-20T13"]
    recorder.close()
    expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == []


def test_tombstones_go_when_their_time_is_over(expiry: Expiry, store: Store, fill: Fill, clock: Clock) -> None:
    """After three months nothing is left of a deleted hour but its mark."""
    fill("2026-02-20T10", hidden=1)
    expiry.keep_to(WEEK, ())
    while expiry.queue.remove_some():
        pass
    clock.now += 89 * DAY
    expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == ["2026-02-20T10"]
    clock.now += 2 * DAY
    expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == []
    assert Expired(store.base).hours("chan", "source") == {"2026-02-20T10"}


def test_hour_that_cannot_go_does_not_hold_up_the_others(
    expiry: Expiry, store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk refuses is told and tried again, and the rest goes."""
    fill("2026-02-20T10")
    fill("2026-02-20T11")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "2026-02-20T10":
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "rename", refuse)
        assert not expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == ["2026-02-20T10"]
    assert expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == []


def test_two_at_once_delete_nothing_twice(store: Store, fill: Fill, clock: Clock) -> None:
    """A librarian and a command that keep to their limits at the same time come to the same."""
    for hour in range(10, 20):
        fill(f"2026-02-20T{hour}")
    both = [Expiry(store, clock) for _ in range(2)]
    threads = [threading.Thread(target=each.keep_to, args=(Limits(size=12_000), ())) for each in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(store.hours("chan", "source")) == 4


@pytest.fixture
async def logged() -> AsyncIterator[LogEvents]:
    with log_events() as events:
        yield events


async def test_librarian_finishes_what_another_one_began(
    store: Store, fill: Fill, clock: Clock, logged: LogEvents
) -> None:
    """A start empties the queue that was left, goes on with what is due, and a stop ends it at once."""
    fill("2026-02-20T10")
    Expiry(store, clock).keep_to(WEEK, ())
    fill("2026-02-20T11")
    expiry, stop = Expiry(store, clock), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(expiry.run(WEEK, Needs(None), stop))
        group.create_task(expiry.empty_queue(stop))
        await logged.wait("hour_removed", 2)
        stop.set()
    assert store.hours("chan", "source") == []
    assert expiry.queue.entries() == []


async def test_failures_are_told_and_tried_again(
    expiry: Expiry, store: Store, fill: Fill, logged: LogEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be read for a while ends nothing."""
    fill("2026-02-20T10")
    keep_to, failures = Expiry.keep_to, iter([True])

    def fail_once(self: Expiry, *args: object) -> bool:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        return keep_to(self, *args)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(Expiry, "keep_to", fail_once)
    stop = asyncio.Event()
    running = asyncio.create_task(expiry.run(WEEK, Needs(None), stop, every=0.01))
    await logged.wait("hour_deleted")
    stop.set()
    await running
    assert logged.of("retention_failed")


def test_policy_says_what_is_kept_to(expiry: Expiry, store: Store) -> None:
    """What is kept to is written down for others, and again only when it changes or after some time."""
    expiry.keep_to(WEEK, ())
    written = Expired(store.base).policy()
    assert (written.limits, written.known) == (WEEK, NOON)
    stamp = (store.base / ".expired" / ".policy").stat().st_ino
    expiry.keep_to(WEEK, ())
    assert (store.base / ".expired" / ".policy").stat().st_ino == stamp
    expiry.keep_to(replace(WEEK, size=1), ())
    assert (store.base / ".expired" / ".policy").stat().st_ino != stamp


async def test_stop_does_not_wait_for_a_database(expiry: Expiry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that lets us wait does not keep the librarian from ending."""
    asked, stop = asyncio.Event(), asyncio.Event()

    async def hang(_: Needs) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Needs, "ask", hang)
    running = asyncio.create_task(expiry.run(WEEK, Needs("postgresql://nowhere"), stop))
    await asked.wait()
    stop.set()
    await asyncio.wait_for(running, 30)


async def test_clock_that_leaps_ahead_deletes_nothing(
    store: Store, fill: Fill, clock: Clock, logged: LogEvents
) -> None:
    """Ages go on as before for a day after a leap, over a restart too; what lasts for longer is no mistake."""
    seconds = [0.0]
    expiry = Expiry(store, clock, lambda: seconds[0])
    for hour in ("2026-02-22T11", "2026-02-25T10", "2026-03-01T11"):
        fill(hour)
    assert expiry.keep_to(WEEK, ())
    left = ["2026-02-25T10", "2026-03-01T11"]
    assert store.hours("chan", "source") == left
    clock.now += 400 * DAY
    for each in (expiry, Expiry(store, clock, lambda: seconds[0])):
        each.keep_to(WEEK, ())
        assert store.hours("chan", "source") == left
    await logged.wait("clock_not_believed", 2)
    seconds[0] += 86_400.0
    expiry.keep_to(WEEK, ())
    assert store.hours("chan", "source") == []


def test_what_was_known_by_a_clock_that_was_ahead_is_not_known(
    expiry: Expiry, store: Store, fill: Fill, clock: Clock
) -> None:
    """Set right again while the database is away, the clock does not make old knowledge count for what came since."""
    clock.now += 400 * DAY
    assert expiry.keep_to(WEEK, ())
    clock.now = NOON
    fill("2026-02-20T10")
    expiry.keep_to(WEEK, None)
    Expiry(store, clock).keep_to(WEEK, None)
    assert store.hours("chan", "source") == ["2026-02-20T10"]


def test_needs_are_kept_although_an_hour_cannot_be_deleted(
    expiry: Expiry, store: Store, fill: Fill, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hour that the disk does not let go keeps nobody from knowing, later, what events need."""
    fill("2026-02-20T10")

    def refuse(*_: object) -> bool:
        raise OSError(1, "Operation not permitted")

    with monkeypatch.context() as context:
        context.setattr(module, "delete", refuse)
        assert not expiry.keep_to(WEEK, (needed(NOON - 3 * DAY),))
    assert Expiry(store, clock).expired.policy().protections == (needed(NOON - 3 * DAY),)
