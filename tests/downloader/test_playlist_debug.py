"""The playlists that are kept beside segments."""

from datetime import timedelta
from pathlib import Path

import pytest

from common.store import Store
from downloader.playlist_debug import FOLDER, PlaylistKeeper
from hls_origin import NOON
from log_events import LogEvents

SECOND = timedelta(seconds=1)
HOUR = "2026-03-01T12"


def keeper(store: Store, count: int) -> PlaylistKeeper:
    return PlaylistKeeper(store, "chan", "source", count)


def kept(store: Store, hour: str = HOUR) -> dict[str, str]:
    folder = store.base / "chan" / "source" / hour / FOLDER
    return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def test_last_playlists_lie_beside_each_segment(store: Store) -> None:
    """Each segment has the last N, the one that showed it first; they are as they came, and say when."""
    keeps = keeper(store, 2)
    for number in range(3):
        keeps.saw(f"#EXTM3U\r\n{number}", NOON + number * SECOND)
        keeps.keep([NOON + 2 * number * SECOND], keeps.last())
    assert kept(store) == {
        "00:00.000000-1.m3u8": "#EXTM3U\n0",
        "00:02.000000-1.m3u8": "#EXTM3U\n1",
        "00:02.000000-2.m3u8": "#EXTM3U\n0",
        "00:04.000000-1.m3u8": "#EXTM3U\n2",
        "00:04.000000-2.m3u8": "#EXTM3U\n1",
    }
    path = store.base / "chan/source" / HOUR / FOLDER / "00:04.000000-2.m3u8"
    assert path.read_bytes() == b"#EXTM3U\r\n1"
    assert path.stat().st_mtime == (NOON + SECOND).timestamp()
    assert path.stat().st_nlink == 2


def test_listings_do_not_show_them(store: Store) -> None:
    """They are no segments, and no hour's listing has them."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U", NOON)
    keeps.keep([NOON], keeps.last())
    assert store.names("chan", "source", HOUR) == []


def test_without_a_number_nothing_is_kept(store: Store) -> None:
    """By default there is no trace of them."""
    keeps = keeper(store, 0)
    keeps.saw("#EXTM3U", NOON)
    assert keeps.last() == []


def test_hugeness_is_not_kept(store: Store) -> None:
    """A playlist of megabytes is left out, and so are all but the last segments of many at once."""
    keeps = keeper(store, 3)
    keeps.saw("#" * (5 << 20), NOON)
    assert keeps.last() == []
    keeps.saw("#EXTM3U", NOON)
    keeps.keep([NOON + number * SECOND for number in range(1000)], keeps.last())
    assert len(kept(store)) == 20


def test_old_ones_are_removed(store: Store) -> None:
    """When an hour begins, those of more than a day before are removed, and nothing else is."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U", NOON)
    for hours in (0, 1, 25):
        keeps.keep([NOON + timedelta(hours=hours)], keeps.last())
    assert (kept(store), len(kept(store, "2026-03-01T13"))) == ({}, 1)
    assert store.hours("chan", "source") == [HOUR, "2026-03-01T13", "2026-03-02T13"]


async def test_disk_that_refuses_is_told_once(store: Store, events: LogEvents, tmp_path: Path) -> None:
    """Keeping them must not harm the recording: what the disk refuses is one line of the log."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U", NOON)
    (store.base / "chan").mkdir(parents=True)
    (store.base / "chan" / "source").touch()
    for _ in range(2):
        keeps.keep([NOON], keeps.last())
    assert len(await events.wait("playlists_not_kept")) == 1


@pytest.mark.parametrize("gone", [True, False])
def test_what_was_linked_may_be_gone(store: Store, gone: bool) -> None:  # noqa: FBT001 - a table
    """A playlist whose first file was removed is written again."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U", NOON)
    keeps.keep([NOON], keeps.last())
    if gone:
        (store.base / "chan/source" / HOUR / FOLDER / "00:00.000000-1.m3u8").unlink()
    keeps.keep([NOON + SECOND], keeps.last())
    assert kept(store)["00:01.000000-1.m3u8"] == "#EXTM3U"
