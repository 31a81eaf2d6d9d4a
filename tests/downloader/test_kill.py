"""Real processes that die, or are told to stop, in the middle of a segment."""

import time
from pathlib import Path

import pytest

from common.segments import SegmentType
from common.store import Store
from downloads import bodies, on_disk, stored
from hls_origin import Held, Live, Origin, ts
from services import Service, service

LONG = ts(1000, packets=8000)  # some 1.5 MB: what came of it before a kill is on disk
SENT = 1_200_000


@pytest.fixture
def live(origin: Origin) -> Live:
    """A stream of segments of a second, so that it is asked for each second."""
    live = Live(origin, seconds=1.0, target=1, window=20)
    live.reveal_some(3)
    return live


async def committed(downloader: Service, count: int) -> None:
    for _ in range(count):
        await downloader.next("segment_committed", type="full")


async def test_killed_in_the_middle_of_a_segment(origin: Origin, live: Live, store: Store, tmp_path: Path) -> None:
    """After kill -9 no final file is wrong, the half segment is kept as partial, and what is missing is fetched."""
    arguments = ("downloader", "--base-dir", str(store.base), f"chan={origin.url('/live.m3u8')}")
    async with service(*arguments, folder=tmp_path) as downloader:
        await committed(downloader, 3)
        held = Held(LONG, SENT)
        live.reveal(held)
        await held.wait()
        temp, _ = await on_disk(store, SegmentType.TEMP)
        downloader.process.kill()
        assert await downloader.end() < 0
    assert bodies(store) == live.bodies[:3]
    assert [segment.type for segment in stored(store)].count(SegmentType.TEMP) == 1

    origin.let_go()
    origin.put("/3.ts", LONG)
    live.reveal_some(1)
    async with service(*arguments, folder=tmp_path) as downloader:
        await committed(downloader, 2)
        live.reveal_some(1)
        await committed(downloader, 1)
        partial, data = await on_disk(store, SegmentType.PARTIAL)
        downloader.process.terminate()
        assert await downloader.end() == 0
    assert bodies(store) == [ts(0), ts(1), ts(2), LONG, ts(4), ts(5)]
    assert (partial.start, partial.duration) == (temp.start, temp.duration)
    assert LONG.startswith(data)
    assert len(stored(store)) == 7
    assert [origin.count(f"/{n}.ts") for n in range(6)] == [1, 1, 1, 2, 1, 1]
    assert [event["event"] for event in downloader.events if event["level"] != "info"] == []


async def test_told_to_stop_in_the_middle_of_a_segment(
    origin: Origin, live: Live, store: Store, tmp_path: Path
) -> None:
    """SIGTERM is obeyed within five seconds whatever the origin does; what came of the segment is kept as partial."""
    arguments = ("downloader", "--base-dir", str(store.base), f"chan={origin.url('/live.m3u8')}")
    async with service(*arguments, folder=tmp_path) as downloader:
        await committed(downloader, 3)
        segment, listing = Held(LONG, SENT), Held(b"#EXTM3U\n", 3)
        live.reveal(segment)
        await segment.wait()
        await on_disk(store, SegmentType.TEMP)
        origin.put("/live.m3u8", listing)
        await listing.wait()
        told = time.monotonic()
        downloader.process.terminate()
        assert await downloader.end() == 0
        assert time.monotonic() - told < 5
    partial, data = list(stored(store).items())[-1]
    assert partial.type is SegmentType.PARTIAL
    assert LONG.startswith(data)
    assert [kind.type for kind in stored(store)] == [*3 * [SegmentType.FULL], SegmentType.PARTIAL]
    assert not [event for event in downloader.events if event["event"] in {"stop_forced", "failed"}]
