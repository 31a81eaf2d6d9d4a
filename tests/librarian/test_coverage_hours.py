"""Hours are walked when they change and at no other time, and what is known of them is what a fresh look tells."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coverage_pictures import picture_folder
from common.dateutil import HOUR, hour_name
from common.facts import Facts
from common.missing import AWAY, STOPPED, Missing, note, read
from common.segments import SegmentType, make_segment, tombstone_name
from common.sidecar import FactsStore
from common.store import Stamp, Store
from common.stretches import stretches
from librarian import coverage_hours
from librarian.coverage_account import Kind, Noted, Span
from librarian.coverage_hours import NAME, QualityHours

SECOND = timedelta(seconds=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHERE = ("chan", "source")

Fill = Callable[..., list[str]]
Known = tuple[list[Span], list[Noted]]


def opened(base: Path) -> QualityHours:
    """As a new process has them."""
    store = Store(base)
    return QualityHours(store, FactsStore(store, lambda _: Facts(1, error="It is no media.")), *WHERE)


def known(hours: QualityHours) -> Known:
    around = NOON - 12 * HOUR, NOON + 9 * HOUR
    return hours.recorded(*around), hours.noted(*around)


class Changes:
    """The stamps of folders, for a test that cannot wait until the clock has gone on: each change makes another."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def stamp(self, folder: Path) -> Stamp | None:
        return Stamp(1, self.of.get(folder.name, 1)) if folder.is_dir() else None

    def changed(self, hour: str) -> None:
        self.of[hour] = self.of.get(hour, 1) + 1


# The truth ----------------------------------------------------------------------------------------------------------

# Seconds from noon, most of them close to the edges of four hours.
moments = st.one_of(
    st.integers(0, 4 * 3600), st.builds(lambda h, s: h * 3600 + s, st.integers(0, 4), st.integers(-9, 9))
)
kinds = st.sampled_from([SegmentType.FULL, SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL])
changes = st.one_of(
    st.tuples(st.just("record"), moments, st.integers(1, 600), kinds, st.integers()),
    st.tuples(st.just("record"), moments, st.integers(1, 3600), kinds, st.integers()),
    st.tuples(st.just("record"), st.integers(3590, 3605), st.integers(1, 6), kinds, st.integers(0, 1)),
    st.tuples(st.just("hide"), st.integers(0, 20)),
    st.tuples(st.just("remove"), st.integers(0, 20)),
    st.tuples(st.just("delete"), st.integers(0, 4)),
    st.tuples(st.just("note"), moments, st.integers(1, 3600), st.sampled_from([AWAY, STOPPED, "expired"])),
    st.tuples(st.just("forget"), st.integers(0, 4)),
    st.tuples(st.just("look")),
    st.tuples(st.just("look at"), st.integers(0, 4)),
    st.tuples(st.just("start again")),
    st.tuples(st.just("lose what was known")),
)


class Machine:
    """A quality that changes, and the hours that are kept of it."""

    def __init__(self, base: Path, changes: Changes) -> None:
        self.base, self.store, self.changes = base, Store(base), changes
        self.hours = opened(base)

    def do(self, what: str, *how: Any) -> None:  # noqa: ANN401 - each act has its own
        getattr(self, what.replace(" ", "_"))(*how)

    def record(self, start: int, seconds: int, kind: SegmentType, content: int) -> None:
        segment = make_segment(NOON + start * SECOND, seconds * SECOND, kind, f"hash{content}".replace("-", "_"))
        path = self.store.segment_path(*WHERE, segment)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        self.changes.changed(segment.hour)

    def _names(self) -> list[Path]:
        return sorted(self.store.folder(*WHERE).glob("*/*.ts"))

    def hide(self, number: int) -> None:
        for path in self._names()[number : number + 1]:
            path.with_name(tombstone_name(path.name)).touch()
            self.changes.changed(path.parent.name)

    def remove(self, number: int) -> None:
        for path in self._names()[number : number + 1]:
            path.unlink()
            self.changes.changed(path.parent.name)

    def delete(self, number: int) -> None:
        rmtree(self.store.folder(*WHERE) / hour_name(NOON + number * HOUR), ignore_errors=True)
        self.changes.changed(hour_name(NOON + number * HOUR))

    def note(self, start: int, seconds: int, reason: str) -> None:
        note(self.store, *WHERE, [Missing(NOON + start * SECOND, seconds * SECOND, reason)])

    def forget(self, number: int) -> None:
        path = self.base / ".missing" / "/".join(WHERE) / hour_name(NOON + number * HOUR)
        path.unlink(missing_ok=True)

    def look(self) -> None:
        self.hours.look()

    def look_at(self, number: int) -> None:
        self.hours.look_at([NOON + number * HOUR])

    def start_again(self) -> None:
        self.hours.save(at_once=True)
        self.hours = opened(self.base)

    def lose_what_was_known(self) -> None:
        rmtree(self.base / ".coverage", ignore_errors=True)


def fresh(base: Path) -> Known:
    """What a look at all hours tells, which knows nothing of what was known."""
    store = Store(base)
    FactsStore(store)
    recorded: list[Span] = []
    noted: list[Noted] = []
    for hour in (NOON + number * HOUR for number in range(-2, 8)):
        for each in stretches(store.sequence(*WHERE, hour, hour + HOUR)):
            kind = Kind.FULL if each.type is SegmentType.FULL else Kind.PARTIAL
            if each.type is None:
                continue
            if recorded and (recorded[-1].end, recorded[-1].kind) == (each.start, kind):
                recorded[-1] = recorded[-1]._replace(end=each.end)
            else:
                recorded.append(Span(each.start, each.end, kind))
        for lost in read(store, *WHERE, hour, hour + HOUR):
            within = max(lost.start, hour), min(lost.end, hour + HOUR)
            noted.append(Noted(*within, lost.reason == AWAY, lost.reason == STOPPED))
    return recorded, noted


@given(st.lists(changes, max_size=14))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_what_is_known_is_what_a_fresh_look_tells(acts: list[tuple[Any, ...]]) -> None:
    """After any changes, looks and new starts, what is known of the hours is what a walk through all of them tells."""
    stamps = Changes()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage_hours, "stamp_of", stamps.stamp)
        machine = Machine(Path(folder), stamps)
        for act in acts:
            machine.do(*act)
        machine.look()
        found, there = known(machine.hours), fresh(machine.base)
        assert found == there
        ends = (there[0][0].start, there[0][-1].end) if there[0] else (None, None)
        assert machine.hours.span() == ends
        assert machine.hours.days() == ({"2026-03-01"} if any(there) else set())


def test_what_is_told(store: Store, fill: Fill) -> None:
    """Recorded stretches with their kinds, notes with what they say, the days and both ends."""
    fill("2026-03-01T12", segments=3)
    suspect = make_segment(NOON + 6 * SECOND, 2 * SECOND, SegmentType.SUSPECT, "odd")
    store.segment_path(*WHERE, suspect).touch()
    fill("2026-03-02T00", segments=1)
    note(store, *WHERE, [Missing(NOON + 10 * SECOND, 4 * SECOND, "expired"), Missing(NOON + HOUR, HOUR, AWAY)])
    hours = opened(store.base)
    hours.look()
    assert hours.recorded(NOON, NOON + HOUR) == [
        Span(NOON, NOON + 6 * SECOND, Kind.FULL),
        Span(NOON + 6 * SECOND, NOON + 8 * SECOND, Kind.PARTIAL),
    ]
    assert hours.noted(NOON, NOON + 2 * HOUR) == [
        Noted(NOON + 10 * SECOND, NOON + 14 * SECOND, away=False),
        Noted(NOON + HOUR, NOON + 2 * HOUR, away=True),
    ]
    assert hours.days() == {"2026-03-01", "2026-03-02"}
    assert hours.span() == (NOON, NOON + 12 * HOUR + 2 * SECOND)


# The work -----------------------------------------------------------------------------------------------------------


def settle(store: Store) -> None:
    """Wait until a folder's next change shows another time: what was read before that is not trusted."""
    folders = [*store.folder(*WHERE).iterdir()]
    newest = max(folder.stat().st_ctime_ns for folder in folders)
    probe = store.base / ".probe"
    while True:
        probe.touch()
        if probe.stat().st_ctime_ns - newest > 60_000_000:
            return


def test_hours_that_do_not_change_are_walked_once(store: Store, fill: Fill) -> None:
    """A second look walks nothing, nor does a new process; a change is walked with its neighbours alone."""
    for hour in range(10):
        fill(f"2026-03-01T{hour:02}", segments=1)
    settle(store)
    hours = opened(store.base)
    assert len(hours.look()) == 12
    settle(store)
    hours.look()
    assert hours.look() == set()
    hours.save(at_once=True)
    again = opened(store.base)
    assert again.look() == set()
    fill("2026-03-01T05", segments=2)
    settle(store)
    assert {hour.hour for hour in again.look()} == {4, 5, 6}
    note(store, *WHERE, [Missing(NOON - 4 * HOUR, SECOND, "expired")])
    assert {hour.hour for hour in again.look()} == {7, 8, 9}
    assert again.look() == set()


def test_a_look_may_be_broken_off(store: Store, fill: Fill) -> None:
    """What was walked before there was enough is kept, the newest first; the rest is walked next time."""
    for hour in range(10):
        fill(f"2026-03-01T{hour:02}", segments=1)
    settle(store)
    hours = opened(store.base)
    answers = iter([False, False, True])
    assert {hour.hour for hour in hours.look(lambda: next(answers))} == {7, 8, 9, 10}
    hours.save(at_once=True)
    again = opened(store.base)
    assert 0 in {hour.hour for hour in again.look()}
    assert len(known(again)[0]) == 10


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 0}', '{"version": 1, "hours": {"x": []}, "drawn": {}}',
     '{"version": 1, "hours": {"2026-03-01T12": [[1, 2, 3, 4], [[0, 9, "x"]], []]}, "drawn": {}}',
     '{"version": 1, "hours": {"2026-03-01T12": [[1, 2, 3, 4], [[0, 1e300, "f"]], []]}, "drawn": {}}',
     '{"version": 1, "hours": {}, "drawn": {"../x": "y"}}', '{"version": 1, "hours": []}', "[" * 20_000],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(store: Store, fill: Fill, text: str) -> None:
    """Whatever lies in the place of what was known, hours are worked out anew."""
    fill("2026-03-01T12", segments=2)
    path = picture_folder(store, *WHERE) / NAME
    path.parent.mkdir(parents=True)
    path.write_text(text)
    hours = opened(store.base)
    hours.look()
    assert hours.span() == (NOON, NOON + 4 * SECOND)
    assert hours.drawn == {}
    hours.save(at_once=True)
    assert json.loads(path.read_text())["version"] == 1


def test_it_is_not_written_all_the_time(store: Store, fill: Fill) -> None:
    """What changes again and again is written at first, and then once in a while; without news it is not."""
    fill("2026-03-01T12", segments=1)
    path = picture_folder(store, *WHERE) / NAME
    hours = opened(store.base)
    hours.look()
    hours.save()
    path.unlink()
    fill("2026-03-01T12", segments=2)
    hours.look()
    hours.save()
    assert not path.exists()
    hours.save(at_once=True)
    assert path.exists()
    path.unlink()
    hours.save(at_once=True)
    assert not path.exists()
