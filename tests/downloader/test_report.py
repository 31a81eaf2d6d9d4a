"""The report of truth: offered is recorded, missing and under way together, whatever is told in which order."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import missing
from common.missing import AWAY, Missing, read
from common.recorder_state import RecorderState, read_state
from common.segments import Segment, SegmentType, make_segment
from common.store import Store
from downloader import report as module
from downloader.outcomes import Reason
from downloader.playlist_values import PlaylistSegment
from downloader.report import Report, Totals
from downloader.timeline import NewSegment
from hls_origin import NOON
from log_events import PATIENCE_SECONDS, LogEvents

SECOND = timedelta(seconds=1)
FULL, SUSPECT = SegmentType.FULL, SegmentType.SUSPECT


def new(number: int) -> NewSegment:
    entry = PlaylistSegment(f"{number}.ts", 2 * SECOND, number)
    return NewSegment(entry, NOON + 2 * number * SECOND, **{"guessed": False} | AFTER_JUMP)


# what later versions of an entry say beside
AFTER_JUMP: dict[str, Any] = {"after_jump": False} if "after_jump" in NewSegment.__dataclass_fields__ else {}


def segment(number: int, kind: SegmentType = FULL) -> Segment:
    return make_segment(NOON + 2 * number * SECOND, 2 * SECOND, kind, f"hash{number}")


def lost(number: int, reason: str) -> Missing:
    return Missing(NOON + 2 * number * SECOND, 2 * SECOND, reason)


def noted(store: Store) -> list[Missing]:
    return read(store, "chan", "source", NOON - 3600 * SECOND, NOON + 3600 * SECOND)


@asynccontextmanager
async def kept(report: Report) -> AsyncIterator[None]:
    """Write down what is told while inside."""
    keeping = asyncio.create_task(report.keep())
    await asyncio.sleep(0)  # a task that never began has nothing to end
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


class Clock:
    """A time that passes when the test says so."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


def test_each_segment_is_somewhere(store: Store) -> None:
    """What was offered is under way until it is recorded or given up."""
    report = Report(store, "chan", "source")
    for number in range(4):
        report.offered(new(number))
    report.recorded(segment(0))
    report.recorded(segment(1, SUSPECT))
    report.missing(new(2), Reason.EXPIRED)
    assert report.totals() == Totals(4, {FULL: 1, SUSPECT: 1}, {Reason.EXPIRED: 1}, 1)


def test_recorded_after_all_wins(store: Store) -> None:
    """What was missing and comes after all is recorded; what is recorded does not become missing."""
    report = Report(store, "chan", "source")
    report.offered(new(0))
    report.missing(new(0), Reason.TIMED_OUT)
    report.missing(new(0), Reason.EXPIRED)
    assert report.totals() == Totals(1, {}, {Reason.TIMED_OUT: 1}, 0)
    report.recorded(segment(0))
    report.missing(new(0), Reason.EXPIRED)
    report.offered(new(0))
    assert report.totals() == Totals(1, {FULL: 1}, {}, 0)


def test_recorded_anew_is_counted_once(store: Store) -> None:
    """A segment that is fetched again to settle a doubt is one segment, of the type that it has now."""
    report = Report(store, "chan", "source")
    for kind in (SUSPECT, FULL):
        report.offered(new(0))
        report.recorded(segment(0, kind))
    assert report.totals() == Totals(1, {FULL: 1}, {}, 0)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["offered", "missing", "recorded"]), st.integers(0, 6), st.sampled_from([*Reason])),
    max_size=60,
)


@given(EVENTS, st.integers(1, 10))
def test_nothing_is_ever_lost_from_the_sum(told: list[tuple[str, int, Reason]], remembered: int) -> None:
    """Offered is the sum of the others after every single word, in any order, told once or often."""
    report = Report(Store.__new__(Store), "chan", "source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_REMEMBERED", remembered)
        for word, number, reason in told:
            if word == "offered":
                report.offered(new(number))
            elif word == "missing":
                report.missing(new(number), reason)
            else:
                report.recorded(segment(number))
            totals = report.totals()
            parts = sum(totals.recorded.values()) + sum(totals.missing.values()) + totals.under_way
            assert totals.offered == parts
            assert all(count >= 0 for count in totals.missing.values())


async def test_missing_is_on_disk(store: Store) -> None:
    """What is missing is noted in the store, at a stop also what was under way; no files for years to come."""
    report = Report(store, "chan", "source", Clock())
    async with kept(report):
        for number in (0, 1, 10_000_000, 20_000_000):
            report.offered(new(number))
        report.missing(new(10_000_000), Reason.REFUSED)
        report.missing(new(0), Reason.REFUSED)
        await until(lambda: noted(store) == [lost(0, "refused")])
    assert noted(store) == [lost(0, "refused"), lost(1, "stopped")]
    assert [path.name for path in (store.base / missing.FOLDER / "chan" / "source").iterdir()] == ["2026-03-01T12"]


async def test_state_is_on_disk(store: Store) -> None:
    """Whether it records, since when and why not can be read by others, and what was missed while it waited."""
    clock = Clock()
    report = Report(store, "chan", "source", clock)
    async with kept(report):
        report.waiting("The stream is offline.")
        await until(
            lambda: state(store) == (RecorderState(recording=False, since=NOON, reason="The stream is offline."), True)
        )
        clock.time += 60 * SECOND
        report.waiting("The origin answers 500.")
        await until(
            lambda: state(store) == (RecorderState(recording=False, since=NOON, reason="The origin answers 500."), True)
        )
        report.missing(new(30), Reason.GAP)
        report.following()
        report.following()
        report.listed(clock() - 3 * SECOND)
        report.listed(clock() - 2.9 * SECOND)
        since = NOON + 60 * SECOND
        await until(lambda: state(store) == (RecorderState(recording=True, since=since, clock_offset=3.0), True))
        await until(lambda: noted(store) == [Missing(NOON, 60 * SECOND, AWAY), lost(30, "gap")])
    stopped = RecorderState(recording=False, since=since, reason="The recorder was stopped.", clock_offset=3.0)
    assert state(store) == (stopped, False)


async def test_clock_that_steps_is_told(store: Store, events: LogEvents) -> None:
    """When stream and machine no longer agree there is one line of the log, and one when they do again."""
    clock = Clock()
    report = Report(store, "chan", "source", clock)
    for offset in (4.0, 8.0, 4.1):
        for _ in range(15):
            clock.time += 60 * SECOND
            report.listed(clock() - offset * SECOND)
    (skewed,) = await events.wait("clock_skewed")
    assert (skewed["channel"], skewed["offset_seconds"], skewed["usual_seconds"]) == ("chan", 8.0, 4.0)
    (agrees,) = await events.wait("clock_agrees")
    assert agrees["offset_seconds"] == 4.1


async def test_disk_that_refuses_is_tried_again(
    store: Store, events: LogEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk takes nothing it is said once, and nothing of the report is lost."""
    full = [True]
    write = missing.note

    def note(*arguments: Any) -> int:  # noqa: ANN401 - whatever it takes
        if full:
            raise OSError(errno.ENOSPC, "No space left on device", "/store")
        return write(*arguments)

    monkeypatch.setattr(module, "note", note)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.0)
    report = Report(store, "chan", "source", Clock())
    async with kept(report):
        report.missing(new(0), Reason.DISK)
        report.missing(new(1), Reason.DISK)
        (said,) = await events.wait("report_not_written")
        assert said["reason"] == "/store: No space left on device"
        full.clear()
        await until(lambda: noted(store) == [lost(0, "disk"), lost(1, "disk")])
    assert len(events.of("report_not_written")) == 1


def state(store: Store) -> tuple[RecorderState, bool] | None:
    return read_state(store, "chan", "source")


async def until(so: Any) -> None:  # noqa: ANN401 - a question without arguments
    """Wait until something is so; a disk tells no events, so it is asked."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if so():
                return
            await asyncio.sleep(0.001)
