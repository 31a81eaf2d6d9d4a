"""The coverage of a store: metrics that say how it stands, pictures of its days, and no more work than need be."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from clocks import NOON, Clock
from common.coverage_pictures import picture_folder, picture_path
from common.dateutil import HOUR, hour_name
from common.expired import Expired
from common.metrics import total
from common.missing import AWAY, Missing, note
from common.recorder_state import RecorderFile, RecorderState
from common.segments import SegmentType, make_segment
from common.store import Store
from librarian import coverage
from librarian.coverage import Coverage

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

Sums = dict[str, float | None]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(store: Store, clock: Clock) -> Iterator[Coverage]:
    yield Coverage(store, clock)
    for gauge in coverage._GAUGES:
        gauge.clear()


@pytest.fixture
def recorder(store: Store) -> Iterator[RecorderFile]:
    file = RecorderFile(store, "chan", "source")
    yield file
    file.close()


def record(
    store: Store, start: datetime, minutes: float, kind: SegmentType = SegmentType.FULL, *, quality: str = "source"
) -> None:
    """Record one segment for each minute that begins within so many."""
    count = int(minutes)
    for number in range(count):
        segment = make_segment(start + number * MINUTE, MINUTE, kind, f"hash{number}")
        path = store.segment_path("chan", quality, segment)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def shown(name: str, quality: str = "source") -> Sums:
    labels = {"channel": "chan", "quality": quality}
    return {
        window: REGISTRY.get_sample_value(f"respool_coverage_{name}", {**labels, "window": window})
        for window in ("5m", "1h", "1d")
    }


def drawn(store: Store) -> list[str]:
    return sorted(path.name for path in picture_folder(store, "chan", "source").glob("[!.]*"))


def test_windows_tell_what_is_recorded(store: Store, kept: Coverage, recorder: RecorderFile) -> None:
    """Share, holes, doubtful and interrupted seconds of the last minutes, hour and day; up to a minute ago."""
    recorder.write(RecorderState(recording=True, since=NOON - 5 * HOUR))
    record(store, NOON - 5 * HOUR, 60)
    record(store, NOON - 2 * HOUR, 61)
    record(store, NOON - 59 * MINUTE, 30)
    record(store, NOON - 29 * MINUTE, 1, SegmentType.SUSPECT)
    record(store, NOON - 26 * MINUTE, 24)
    kept.look()
    assert shown("ratio") == {"5m": pytest.approx(4 / 5), "1h": pytest.approx(57 / 60), "1d": pytest.approx(176 / 179)}
    assert shown("hole_seconds") == {"5m": 60, "1h": 180, "1d": 180}
    assert shown("partial_seconds") == {"5m": 0, "1h": 60, "1d": 60}
    assert shown("interrupted_seconds") == {"5m": 0, "1h": 0, "1d": 7200}


def test_one_that_falls_behind_is_seen_and_one_that_is_stopped_is_not(
    store: Store, clock: Clock, kept: Coverage, recorder: RecorderFile
) -> None:
    """A recorder that should record makes holes for as long as it brings nothing; one that was stopped makes none."""
    recorder.write(RecorderState(recording=True, since=NOON - HOUR))
    record(store, NOON - HOUR, 60)
    clock.now = NOON + MINUTE
    kept.look()
    assert shown("ratio") == {"5m": 1.0, "1h": 1.0, "1d": 1.0}
    clock.now = NOON + 8 * HOUR
    kept.look()
    assert shown("ratio")["5m"] == 0.0
    assert shown("hole_seconds")["1h"] == 3600
    recorder.write(RecorderState(recording=False, since=clock.now, reason="The recorder was stopped."))
    recorder.close()
    kept.look()
    assert shown("ratio") == {"5m": None, "1h": None, "1d": 1.0}
    assert shown("hole_seconds") == {"5m": 0, "1h": 0, "1d": 0}
    clock.now = NOON + 30 * HOUR
    kept.look()
    assert shown("ratio") == shown("hole_seconds") == {"5m": None, "1h": None, "1d": None}


def test_a_stream_that_is_seen_late_has_longer(
    store: Store, clock: Clock, kept: Coverage, recorder: RecorderFile
) -> None:
    """Where the newest is always listed minutes after its own time, that is no hole; falling behind it is one."""
    recorder.write(RecorderState(recording=True, since=NOON - HOUR, clock_offset=600.0))
    record(store, NOON - HOUR, 50)
    kept.look()
    assert shown("hole_seconds")["5m"] == 0
    clock.now += 2 * MINUTE
    kept.look()
    assert shown("hole_seconds")["5m"] == 90


def test_the_hour_that_is_recorded_is_followed(
    store: Store, clock: Clock, kept: Coverage, recorder: RecorderFile
) -> None:
    """Between two looks at all that there is, the last hours are looked at alone."""
    recorder.write(RecorderState(recording=True, since=NOON - HOUR))
    record(store, NOON - 10 * HOUR, 60)
    record(store, NOON - HOUR, 60)
    kept.look()
    clock.now += 5 * SECOND
    record(store, NOON, 1)
    record(store, NOON - 9 * HOUR, 60)
    kept.look()
    assert shown("hole_seconds")["1h"] == 0
    assert shown("interrupted_seconds")["1d"] == pytest.approx(8 * 3600)
    clock.now += MINUTE
    kept.look()
    assert shown("interrupted_seconds")["1d"] == pytest.approx(7 * 3600)


def test_what_has_gone_is_shown_no_longer(store: Store, clock: Clock, kept: Coverage) -> None:
    """A channel that is deleted leaves neither metrics nor pictures."""
    record(store, NOON - HOUR, 60)
    record(store, NOON - HOUR, 60, quality="720p")
    kept.look()
    assert shown("ratio", "720p")["1d"] == 1.0
    folder = store.folder("chan", "720p")
    for path in (*folder.glob("*/*"), *folder.glob("*/.*")):
        path.unlink()
    for path in (*folder.glob("*"), folder):
        path.rmdir()
    clock.now += MINUTE
    kept.look()
    assert shown("ratio", "720p") == shown("hole_seconds", "720p") == {"5m": None, "1h": None, "1d": None}
    assert not picture_folder(store, "chan", "720p").exists()
    assert shown("ratio")["1d"] == 1.0


def test_days_are_drawn_when_they_look_different(store: Store, clock: Clock, kept: Coverage) -> None:
    """Each day has its picture; it is drawn again when something of it changes, by a new process too, and only then."""
    for days in (0, 1, 3):
        record(store, NOON - HOUR - days * 24 * HOUR, 30)
    before = total(coverage._DRAWN)
    kept.look()
    assert drawn(store) == ["2026-02-26.png", "2026-02-28.png", "2026-03-01.png"]
    assert total(coverage._DRAWN) - before == 3
    assert picture_path(store, "chan", "source", "2026-03-01").read_bytes().startswith(b"\x89PNG")
    clock.now += MINUTE
    kept.look()
    kept.save()
    again = Coverage(store, clock)
    again.look()
    assert total(coverage._DRAWN) - before <= 5  # the day that is under way
    changed = total(coverage._DRAWN)
    record(store, NOON - 24 * HOUR, 5)
    clock.now += MINUTE
    pictures = {day: picture_path(store, "chan", "source", day).read_bytes() for day in ("2026-02-26", "2026-02-28")}
    again.look()
    assert picture_path(store, "chan", "source", "2026-02-26").read_bytes() == pictures["2026-02-26"]
    assert picture_path(store, "chan", "source", "2026-02-28").read_bytes() != pictures["2026-02-28"]
    assert total(coverage._DRAWN) - changed <= 2
    picture_path(store, "chan", "source", "2026-02-26").unlink()
    Coverage(store, clock).look()
    assert picture_path(store, "chan", "source", "2026-02-26").exists()


def test_an_end_that_becomes_a_hole_is_drawn(store: Store, clock: Clock, kept: Coverage) -> None:
    """When recording goes on after days, the day on which it had ended is drawn as what it has become."""
    record(store, NOON - 48 * HOUR, 60)
    kept.look()
    ended = picture_path(store, "chan", "source", "2026-02-27").read_bytes()
    record(store, NOON - HOUR, 59)
    clock.now += MINUTE
    kept.look()
    assert picture_path(store, "chan", "source", "2026-02-27").read_bytes() != ended


def test_hours_that_were_deleted_are_not_missed(store: Store, clock: Clock, kept: Coverage) -> None:
    """Of hours that went for their age nothing is expected, though older ones were kept."""
    record(store, NOON - 6 * HOUR, 60)
    record(store, NOON - 2 * HOUR, 120)
    kept.look()
    assert shown("interrupted_seconds")["1d"] == 3 * 3600
    expired = Expired(store.base)
    with expired.writing():
        expired.mark("chan", "source", [hour_name(NOON - hours * HOUR) for hours in (5, 4, 3)])
    clock.now += MINUTE
    kept.look()
    assert shown("interrupted_seconds")["1d"] == 0


def test_what_was_away_is_no_hole(store: Store, clock: Clock, kept: Coverage) -> None:
    """Time in which there was no stream counts for nothing, as soon as it is noted."""
    record(store, NOON - HOUR, 20)
    record(store, NOON - 31 * MINUTE, 31)
    kept.look()
    assert shown("hole_seconds")["1h"] == 9 * 60
    note(store, "chan", "source", [Missing(NOON - 39 * MINUTE, 7 * MINUTE, AWAY)])
    clock.now += 5 * SECOND
    kept.look()
    assert shown("hole_seconds")["1h"] == 0


async def test_it_goes_on_when_the_store_cannot_be_read(
    store: Store, kept: Coverage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away for a moment is looked at again; at a stop what is known is brought to disk."""
    record(store, NOON - 30 * MINUTE, 30)
    stop, loop, look, looks = asyncio.Event(), asyncio.get_running_loop(), kept.look, iter(range(99))

    def unlucky(enough: Callable[[], bool]) -> None:
        if next(looks) == 0:
            raise OSError(5, "Input/output error")
        look(enough)
        loop.call_soon_threadsafe(stop.set)

    monkeypatch.setattr(kept, "look", unlucky)
    async with asyncio.timeout(30):
        await kept.run(stop, every=0.01)
    assert drawn(store) == ["2026-03-01.png"]
    assert (picture_folder(store, "chan", "source") / ".hours").exists()
