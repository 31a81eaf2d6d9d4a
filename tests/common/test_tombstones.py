"""Tombstones on disk: they hide what they name, and nothing else can be made by them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.segments import BadNameError, SegmentType, Suffix, make_segment, tombstone_name
from common.store import BadPathError, Store
from common.tombstones import hide, remove

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = "2026-03-01T12"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def put(store: Store, seconds: int = 0, kind: SegmentType = SegmentType.FULL, suffix: Suffix = ".ts") -> str:
    segment = make_segment(NOON + timedelta(seconds=seconds), timedelta(seconds=2), kind, "hash", suffix)
    path = store.segment_path("chan", "source", segment)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return segment.name


@pytest.mark.parametrize("suffix", [".ts", ".mp4"])
def test_hidden_segment_is_listed_no_more(store: Store, suffix: Suffix) -> None:
    """What is hidden lies there and is in no listing; shown again it is as before."""
    names = [put(store, 0, suffix=suffix), put(store, 2)]
    assert hide(store, "chan", "source", HOUR, names[:1]) == [tombstone_name(names[0])]
    assert hide(store, "chan", "source", HOUR, names[:1]) == []
    assert store.names("chan", "source", HOUR) == names[1:]
    assert len(store.names("chan", "source", HOUR, tombstones=True)) == 3
    assert remove(store, "chan", "source", HOUR, names) == names[:1]
    assert store.names("chan", "source", HOUR) == names


@pytest.mark.parametrize(
    ("channel", "hour", "name"),
    [
        ("..", HOUR, "00:00.000000-2.0-full-hash.ts"),
        ("chan", "..", "00:00.000000-2.0-full-hash.ts"),
        ("chan", HOUR, "../../x.ts"),
        ("chan", HOUR, ".facts"),
        ("chan", HOUR, "00:00.000000-2.0-temp-hash.ts"),
        ("chan", HOUR, "00:00.000000-2.0-full-hash.tombstone"),
    ],
)
def test_only_segments_can_be_hidden(store: Store, channel: str, hour: str, name: str) -> None:
    """Nothing can be made elsewhere, or of another name; what is still being written has no name yet."""
    put(store)
    with pytest.raises((BadPathError, BadNameError, ValueError)):
        hide(store, channel, "source", hour, [name])
    assert len(list(store.base.rglob("*.tombstone"))) == 0


def test_hour_that_is_not_there_has_nothing_to_hide(store: Store) -> None:
    """A tombstone alone makes no hour."""
    with pytest.raises(FileNotFoundError):
        hide(store, "chan", "source", HOUR, ["00:00.000000-2.0-full-hash.ts"])
