"""What the tests of the librarian share: a store with hours of some age."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings

from common.dateutil import hour_name, parse_hour
from common.segments import SegmentType, make_segment, tombstone_name
from common.store import Store

# Properties are tried on the same examples on each run: what fails on one machine fails on all.
settings.register_profile("respool", derandomize=True, deadline=None)
settings.load_profile("respool")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Fill = Callable[..., list[str]]


@pytest.fixture
def noon() -> datetime:
    return NOON


@pytest.fixture
def store(tmp_path: Path) -> Store:
    base = tmp_path / "base"
    base.mkdir()
    return Store(base)


@pytest.fixture
def fill(store: Store) -> Fill:
    """Give a function that records an hour in so many segments of some bytes, the first of them hidden."""

    def fill(hour: str, *, segments: int = 3, size: int = 1000, hidden: int = 0, quality: str = "source") -> list[str]:
        start = parse_hour(hour)
        folder = store.folder("chan", quality) / hour_name(start)
        folder.mkdir(parents=True, exist_ok=True)
        names = []
        for number in range(segments):
            at = start + number * timedelta(seconds=2)
            name = make_segment(at, timedelta(seconds=2), SegmentType.FULL, f"hash{number}").name
            (folder / name).write_bytes(bytes(size))
            if number < hidden:
                (folder / tombstone_name(name)).touch()
            names.append(name)
        return names

    return fill
