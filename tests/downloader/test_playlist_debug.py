"""The playlists that are kept beside segments."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from common.histories import FOLDER
from common.store import Store
from downloader.playlist_debug import PlaylistKeeper
from hls_origin import NOON
from log_events import PATIENCE_SECONDS, LogEvents

SECOND = timedelta(seconds=1)
HOUR = "2026-03-01T12"


def keeper(store: Store, count: int) -> PlaylistKeeper:
    return PlaylistKeeper(store, "chan", "source", count, lambda: NOON)


async def written(keeps: PlaylistKeeper) -> None:
    """Bring to disk what is to be kept."""
    keeping = asyncio.create_task(keeps.keep())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await asyncio.sleep(0)
            if not keeps._waiting:
                break
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


def kept(store: Store, hour: str = HOUR) -> dict[str, str]:
    folder = store.base / "chan" / "source" / hour / FOLDER
    return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


async def test_last_playlists_lie_beside_each_segment(store: Store) -> None:
    """Each segment has the last N, the one that showed it first; they are as they came, and say when."""
    now = [NOON]
    keeps = PlaylistKeeper(store, "chan", "source", 2, lambda: now[0])
    for number in range(3):
        now[0] = NOON + number * SECOND
        keeps.saw(f"#EXTM3U\r\n{number}")
        keeps.new([NOON + 2 * number * SECOND])
    await written(keeps)
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


async def test_listings_do_not_show_them(store: Store) -> None:
    """They are no segments, and no hour's listing has them."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U")
    keeps.new([NOON])
    await written(keeps)
    assert len(kept(store)) == 1
    assert store.names("chan", "source", HOUR) == []


async def test_without_a_number_nothing_is_kept(store: Store) -> None:
    """By default there is no trace of them."""
    keeps = keeper(store, 0)
    keeps.saw("#EXTM3U")
    keeps.new([NOON])
    await written(keeps)
    assert not (store.base / "chan").exists()


async def test_hugeness_is_not_kept(store: Store) -> None:
    """A playlist of megabytes is left out, all but the last segments of many at once, and what a slow disk leaves."""
    keeps = keeper(store, 3)
    keeps.saw("#" * (5 << 20))
    keeps.new([NOON])
    await written(keeps)
    assert kept(store) == {}
    keeps.saw("#EXTM3U")
    for minute in range(100):
        keeps.new([NOON + minute * 30 * SECOND + second * SECOND / 100 for second in range(1000)])
    await written(keeps)
    assert len(kept(store)) == 20 * 20


async def test_old_ones_are_removed(store: Store) -> None:
    """When an hour begins, those of more than a day before are removed, and nothing else is."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U")
    for hours in (0, 1, 25):
        keeps.new([NOON + timedelta(hours=hours)])
    await written(keeps)
    assert (kept(store), len(kept(store, "2026-03-01T13"))) == ({}, 1)
    assert store.hours("chan", "source") == [HOUR, "2026-03-01T13", "2026-03-02T13"]


async def test_disk_that_refuses_is_told_once(store: Store, events: LogEvents) -> None:
    """Keeping them must not harm the recording: what the disk refuses is one line of the log."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U")
    (store.base / "chan").mkdir(parents=True)
    (store.base / "chan" / "source").touch()
    for _ in range(2):
        keeps.new([NOON])
    await written(keeps)
    assert len(await events.wait("playlists_not_kept")) == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_what_was_linked_may_be_gone(store: Store, gone: bool) -> None:  # noqa: FBT001 - a table
    """A playlist whose first file was removed is written again."""
    keeps = keeper(store, 1)
    keeps.saw("#EXTM3U")
    keeps.new([NOON])
    await written(keeps)
    if gone:
        (store.base / "chan/source" / HOUR / FOLDER / "00:00.000000-1.m3u8").unlink()
    keeps.new([NOON + SECOND])
    await written(keeps)
    assert kept(store)["00:01.000000-1.m3u8"] == "#EXTM3U"
