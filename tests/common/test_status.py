"""How a quality stands: what is told agrees with the store, with a recorder and without."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.coverage import JOIN_TOLERANCE
from common.missing import AWAY, Missing, note
from common.recorder_state import RecorderFile, RecorderState
from common.recording import SegmentWriter
from common.segments import SegmentType
from common.status import status_of, window
from common.store import Store

SECOND = timedelta(seconds=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = ("chan", "source")
FULL, SUSPECT = SegmentType.FULL, SegmentType.SUSPECT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "segments")


def record(
    store: Store, start: datetime, *numbers: int, kind: SegmentType = FULL, recording: tuple[str, str] = SOURCE
) -> None:
    """Record segments of two seconds; each number is one."""
    for number in numbers:
        writer = SegmentWriter(store, *recording, start + 2 * number * SECOND, 2 * SECOND)
        writer.write(str(number).encode())
        writer.commit(kind)


def lost(start: float, length: float, reason: str) -> Missing:
    return Missing(NOON + start * SECOND, length * SECOND, reason)


@pytest.fixture
def recorder(store: Store) -> Iterator[RecorderFile]:
    file = RecorderFile(store, *SOURCE)
    yield file
    file.close()


def test_every_second_is_recorded_or_has_a_reason(store: Store) -> None:
    """A window is what is recorded and what is missing, with the reason noted, or none known; recorded wins."""
    record(store, NOON, 0, 1, 5, 9)
    record(store, NOON, 2, kind=SUSPECT)
    note(store, *SOURCE, [lost(2, 2, "expired"), lost(6, 2, "expired"), lost(8, 2, "expired"), lost(14, 2, "gap")])
    seen = window(store, SOURCE, NOON - SECOND, NOON + 20 * SECOND)
    assert seen.recorded == {FULL: 8 * SECOND, SUSPECT: 2 * SECOND}
    assert list(seen.missing) == [
        lost(-1, 1, "unknown"), lost(6, 4, "expired"), lost(12, 2, "unknown"), lost(14, 2, "gap"),
        lost(16, 2, "unknown"),
    ]  # fmt: skip
    assert list(seen.by_reason) == ["unknown", "expired", "gap"]
    assert seen.share == pytest.approx(10 / 21)
    assert seen.offered == 16 * SECOND


def test_being_away_is_nothing_offered(store: Store) -> None:
    """The time in which there was no stream is named, and does not count as offered."""
    record(store, NOON, 0, 5)
    note(store, *SOURCE, [lost(2, 8, AWAY)])
    seen = window(store, SOURCE, NOON, NOON + 12 * SECOND)
    assert list(seen.missing) == [lost(2, 8, AWAY)]
    assert seen.offered == 4 * SECOND


def test_parts_add_up(store: Store) -> None:
    """Recorded and missing together are the window, also where segments overlap or nothing is there."""
    record(store, NOON, 0, 1, 2, 7)
    record(store, NOON + 5 * JOIN_TOLERANCE / 10, 3, 4)
    note(store, *SOURCE, [lost(9, 4, "refused"), lost(11, 4, "expired")])
    for start, end in ((0, 20), (-5, 3), (1, 2), (30, 31), (9, 15)):
        seen = window(store, SOURCE, NOON + start * SECOND, NOON + end * SECOND)
        parts = sum((*seen.recorded.values(), *(each.duration for each in seen.missing)), timedelta())
        assert abs(parts - (end - start) * SECOND) <= JOIN_TOLERANCE


@pytest.mark.parametrize(
    ("state", "lives", "expected"),
    [
        (RecorderState(recording=True, since=NOON), True, "recording"),
        (RecorderState(recording=False, since=NOON, reason="x"), True, "waiting"),
        (RecorderState(recording=True, since=NOON), False, "stopped"),
        (None, False, "unknown"),
    ],
)
def test_recorder_is_told_by_its_word_and_its_life(
    store: Store, recorder: RecorderFile, state: RecorderState | None, lives: bool, expected: str  # noqa: FBT001
) -> None:  # fmt: skip
    """It records or waits while it lives; without one the quality is not recorded; without a word nobody knows."""
    record(store, NOON, 0)
    if state is not None:
        recorder.write(state)
    if not lives:
        recorder.close()
    status = status_of(store, SOURCE, NOON + 5 * SECOND)
    assert (status.recorder, status.state, status.lag) == (expected, state, 3 * SECOND)


def test_live_edge_is_the_end(store: Store, recorder: RecorderFile) -> None:
    """While it is recorded, what is not there yet is not missing; when nothing has come for a minute, it is."""
    record(store, NOON, 0, 1)
    recorder.write(RecorderState(recording=True, since=NOON))
    assert status_of(store, SOURCE, NOON + 30 * SECOND).hour.share == 1.0
    assert status_of(store, SOURCE, NOON + 90 * SECOND).hour.share == pytest.approx(4 / 90)
    recorder.write(RecorderState(recording=False, since=NOON, reason="x"))
    assert status_of(store, SOURCE, NOON + 30 * SECOND).hour.share == pytest.approx(4 / 30)


def test_windows_are_the_last_hour_and_day(store: Store) -> None:
    """What is older than an hour counts for the day alone; before the first segment nothing is asked."""
    record(store, NOON, 0, 1)
    status = status_of(store, SOURCE, NOON + 7200 * SECOND)
    assert (status.hour.start, status.hour.end) == (NOON + 3600 * SECOND, NOON + 7200 * SECOND)
    assert status.hour.recorded == {}
    assert (status.day.start, status.day.recorded) == (NOON, {FULL: 4 * SECOND})
