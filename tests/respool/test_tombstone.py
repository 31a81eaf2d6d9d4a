"""`respool tombstone`: what is named is shown and hidden, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from common.segments import SegmentType, make_segment
from common.store import Store
from respool.tombstone import cli

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for seconds, kind in [*((each, SegmentType.FULL) for each in range(-4, 8, 2)), (8, SegmentType.TEMP)]:
        segment = make_segment(NOON + timedelta(seconds=seconds), timedelta(seconds=2), kind, "hash")
        path = store.segment_path("chan", "source", segment)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return store


def run(store: Store, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli, [*arguments, "--base-dir", str(store.base)], input=typed)


def listed(store: Store) -> list[str]:
    return [name[:5] for hour in store.hours("chan", "source") for name in store.names("chan", "source", hour)]


def test_range_is_hidden_after_a_question(store: Store) -> None:
    """All that has a part in the range is shown, and hidden when that is agreed to, over the border of hours too."""
    arguments = ("chan/source", "2026-03-01T11:59:59Z", "2026-03-01T13:00:03+01:00")
    refused = run(store, *arguments, typed="n\n")
    assert refused.exit_code == 1
    assert refused.output.count("visible  chan/source/2026-03-01T") == 3
    assert len(listed(store)) == 7
    done = run(store, *arguments, typed="y\n")
    assert done.output.endswith("3 segments are hidden.\n")
    assert listed(store) == ["59:56", "00:04", "00:06", "00:08"]
    again = run(store, *arguments)
    assert again.output == "These segments are hidden already.\n"


def test_segment_is_hidden_by_its_name_and_shown_again(store: Store) -> None:
    """A name is as it lies in the store; who shows it again is told that other nodes may bring the tombstone back."""
    name = "chan/source/2026-03-01T12/00:00.000000-2.0-full-hash.ts"
    assert run(store, name, "--yes").exit_code == 0
    assert "00:00" not in listed(store)
    shown = run(store, "chan/source", "--list")
    assert f"hidden   {name}\n" in shown.output
    assert shown.output.endswith("6 segments, 1 of them hidden.\n")
    done = run(store, name, "--remove", "--yes")
    assert "copies them back" in done.output
    assert "00:00" in listed(store)


def test_tombstones_of_deleted_hours_are_listed(store: Store) -> None:
    """What only a tombstone is left of is listed as hidden."""
    name = "chan/source/2026-03-01T12/00:00.000000-2.0-full-hash.ts"
    run(store, name, "--yes")
    (store.base / name).unlink()
    assert f"hidden   {name}\n" in run(store, "chan/source", "--list").output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("chan/source/2026-03-01T12/x.ts",), "There is no segment 'chan/source/2026-03-01T12/x.ts' in "),
        (("chan/source/noon/x.ts",), "is not an hour such as"),
        (("../source/2026-03-01T12/x.ts",), "is not CHANNEL/QUALITY"),
        (("chan/source", "noon", "later"), "is not an ISO 8601 time"),
        (("chan/source", "2026-03-01T12:00:00Z"), "Name segments as C/Q/H/NAME, or a range as C/Q START END."),
        (("chan",), "is not CHANNEL/QUALITY"),
    ],
)
def test_mistakes_are_told(store: Store, arguments: tuple[str, ...], sentence: str) -> None:
    """What cannot be done is told in a sentence."""
    result = run(store, *arguments)
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
    assert len(listed(store)) == 7


def test_nothing_recorded_is_nothing_to_hide(store: Store) -> None:
    """A range in which nothing lies is told as such."""
    result = run(store, "chan/source", "2026-03-02T12:00:00Z", "2026-03-02T13:00:00Z")
    assert result.output == "There are no segments.\n"
