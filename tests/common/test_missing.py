"""What is noted of missing segments: kept over crashes, hidden, bounded, and refuted by what is recorded."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import missing as module
from common.coverage import Hole
from common.missing import FOLDER, Missing, lacking, note, read
from common.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = 3600 * SECOND


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def lost(seconds: float, length: float = 2, reason: str = "expired") -> Missing:
    return Missing(NOON + seconds * SECOND, length * SECOND, reason)


def all_noted(store: Store) -> list[Missing]:
    return read(store, "chan", "source", NOON - HOUR, NOON + 2 * HOUR)


def test_notes_lie_hidden_in_their_hours(store: Store) -> None:
    """What is missing is noted in the hour in which it starts, and no listing shows it."""
    missing = [lost(-1), lost(10), lost(12, 2.5, "timed_out"), lost(3600)]
    assert note(store, "chan", "source", reversed(missing)) == 0
    assert all_noted(store) == missing
    assert store.channels() == []
    text = (store.base / FOLDER / "chan/source/2026-03-01T12").read_text()
    assert text.splitlines()[0] == '{"start":"2026-03-01T12:00:10.000000Z","seconds":2.0,"reason":"expired"}'


def test_range_takes_what_reaches_into_it(store: Store) -> None:
    """A range has all that is missing of it, also what began before its hour, and nothing that only touches it."""
    note(store, "chan", "source", [lost(-1), lost(4), lost(6)])
    assert read(store, "chan", "source", NOON, NOON + 6 * SECOND) == [lost(-1), lost(4)]
    assert read(store, "chan", "other", NOON, NOON + HOUR) == []


@pytest.mark.parametrize("cut", range(1, 30, 7))
def test_torn_line_is_passed_over(store: Store, cut: int) -> None:
    """After a crash within a line the others are read, and what is noted next is a line of its own."""
    note(store, "chan", "source", [lost(0), lost(2)])
    path = store.base / FOLDER / "chan/source/2026-03-01T12"
    path.write_bytes(path.read_bytes()[:-cut])
    note(store, "chan", "source", [lost(4)])
    assert all_noted(store) == ([lost(0), lost(2), lost(4)] if cut == 1 else [lost(0), lost(4)])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b"\xff\xfe{}",
        b'{"start":"2026-03-01T12:00:00Z"}',
        b'{"start":"soon","seconds":1,"reason":"x"}',
        b'{"start":"2026-03-01T12:00:00Z","seconds":-1,"reason":"x"}',
        b'{"start":"2026-03-01T12:00:00Z","seconds":1e400,"reason":"x"}',
        b'{"start":"2026-03-01T12:00:00Z","seconds":NaN,"reason":"x"}',
        b'{"start":"2026-03-01T12:00:00Z","seconds":4000,"reason":"x"}',
        b"[" * 20_000,
    ],
)
def test_foreign_lines_are_passed_over(store: Store, line: bytes) -> None:
    """Whatever else stands in the file, what was noted is read."""
    note(store, "chan", "source", [lost(0)])
    path = store.base / FOLDER / "chan/source/2026-03-01T12"
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert all_noted(store) == [lost(0)]


def test_later_note_of_a_moment_counts(store: Store) -> None:
    """Of two reasons for one start the second is given."""
    note(store, "chan", "source", [lost(0)])
    note(store, "chan", "source", [lost(0, reason="disk")])
    assert all_noted(store) == [lost(0, reason="disk")]


def test_hour_takes_only_so_much(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour that is full takes nothing more, which is said, and others do."""
    monkeypatch.setattr(module, "_MOST_BYTES", 200)
    assert note(store, "chan", "source", [lost(0), lost(2)]) == 0
    assert note(store, "chan", "source", [lost(4), lost(6), lost(3600)]) == 2
    assert all_noted(store) == [lost(0), lost(2), lost(3600)]


def hole(start: float, end: float) -> Hole:
    return Hole(NOON + start * SECOND, NOON + end * SECOND)


@pytest.mark.parametrize(
    ("missing", "holes", "lacks"),
    [
        ([lost(0)], [], []),
        ([lost(0)], [hole(0, 2)], [lost(0)]),
        ([lost(0), lost(2), lost(4)], [hole(0, 6)], [lost(0, 6)]),
        ([lost(0), lost(2, reason="gap")], [hole(0, 4)], [lost(0), lost(2, reason="gap")]),
        ([lost(0, 6)], [hole(-1, 1), hole(2, 3), hole(5, 9)], [lost(0, 1), lost(2, 1), lost(5, 1)]),
        ([lost(0, 4), lost(2, 4, "gap")], [hole(0, 9)], [lost(0, 4), lost(4, 2, "gap")]),
        ([lost(0), lost(2.005)], [hole(0, 9)], [lost(0, 4.005)]),
        ([lost(0), lost(2.5)], [hole(0, 9)], [lost(0), lost(2.5)]),
        ([lost(0)], [hole(1, 1)], []),
    ],
)
def test_what_is_recorded_wins(missing: list[Missing], holes: list[Hole], lacks: list[Missing]) -> None:
    """Only what lies in holes is missing; what follows each other for one reason is one stretch."""
    assert lacking(missing, holes) == lacks


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.sampled_from(["a", "b"])), max_size=12)


@given(SPANS, st.lists(st.integers(0, 70), max_size=12, unique=True))
def test_each_moment_of_a_hole_has_one_reason(spans: list[tuple[int, int, str]], edges: list[int]) -> None:
    """Second by second: what is lacking is what is in a hole and noted, once."""
    missing = sorted((lost(start, length, reason) for start, length, reason in spans), key=lambda each: each.start)
    ends = sorted(edges)[: len(edges) // 2 * 2]
    holes = [hole(start, end) for start, end in zip(ends[::2], ends[1::2], strict=True)]
    lacks = lacking(missing, holes)
    for second in range(80):
        moment = NOON + (second + 0.5) * SECOND
        expected = any(m.start < moment < m.end for m in missing) and any(h.start < moment < h.end for h in holes)
        assert sum(each.start < moment < each.end for each in lacks) == expected
