"""A recorder at work on a real origin tells the truth of it in its report."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from common.dateutil import format_utc
from common.histories import FOLDER
from common.missing import AWAY, Missing, read
from common.recorder_state import read_state
from common.segments import SegmentType
from common.store import Store
from downloader.outcomes import Reason
from downloader.report import Totals
from downloads import Ticks, recording
from hls_origin import Entry, Live, Origin, playlist, status, ts
from log_events import PATIENCE_SECONDS, LogEvents
from respool.status import cli
from services import service

FULL = SegmentType.FULL
SECOND = timedelta(seconds=1)
START = datetime.now(UTC).replace(microsecond=0) - 60 * SECOND


def at(number: int) -> str:
    return format_utc(START + 2 * number * SECOND)


def gone(number: int, reason: str) -> Missing:
    return Missing(START + 2 * number * SECOND, 2 * SECOND, reason)


def noted(store: Store) -> list[Missing]:
    found = read(store, "chan", "source", START, START + 3600 * SECOND)
    return [each for each in found if each.reason != AWAY]  # it was, until it was found


async def test_what_becomes_of_each_segment(origin: Origin, store: Store, ticks: Ticks, events: LogEvents) -> None:
    """What is recorded, gone, an advertisement or a gap is counted as that, and the rest is noted with its reason."""
    ad = f'#EXT-X-DATERANGE:ID="stitched-ad-1",CLASS="twitch-stitched-ad",START-DATE="{at(1)}",DURATION=2'
    tags = {1: (ad,), 3: ("#EXT-X-GAP",)}
    entries = [Entry(f"/{n}.ts", 2.0, START + 2 * n * SECOND, tags.get(n, ())) for n in range(5)]
    for number in (0, 1, 3, 4):
        origin.put(f"/{number}.ts", ts(number))
    origin.put("/live.m3u8", playlist(*entries))
    async with recording(store, origin.url("/live.m3u8")) as recorder:
        await events.wait("segment_committed", 2)
        await events.wait("segment_lost")
        expected = Totals(5, {FULL: 2}, {Reason.ADVERTISEMENT: 1, Reason.EXPIRED: 1, Reason.GAP: 1}, 0)
        await ticks.until(lambda: recorder.report.totals() == expected)
        await ticks.until(lambda: [each.reason for each in noted(store)] == ["advertisement", "expired", "gap"])
        found = read_state(store, "chan", "source")
        assert found is not None
        assert (found[0].recording, found[1]) == (True, True)
    assert noted(store) == [gone(1, "advertisement"), gone(2, "expired"), gone(3, "gap")]
    found = read_state(store, "chan", "source")
    assert found is not None
    assert (found[0].recording, found[0].reason, found[1]) == (False, "The recorder was stopped.", False)


async def test_why_nothing_is_recorded(origin: Origin, store: Store, ticks: Ticks, events: LogEvents) -> None:
    """While the stream is away its state says why, from the first attempt on."""
    origin.put("/live.m3u8", status(404))
    async with recording(store, origin.url("/live.m3u8")):
        await events.wait("stream_not_recorded")

        def said() -> bool:
            found = read_state(store, "chan", "source")
            return found is not None and found[0].reason == f"{origin.url('/live.m3u8')} answers 404 Not Found."

        await ticks.until(said)


async def test_playlists_lie_beside_the_segments(origin: Origin, store: Store, ticks: Ticks, events: LogEvents) -> None:
    """With `--playlist-debug` the playlist that showed a segment is kept as it came."""
    live = Live(origin)
    live.reveal_some(2)
    async with recording(store, origin.url("/live.m3u8"), playlist_debug=2):
        await events.wait("segment_committed", 2)
        live.reveal_some(1)
        folder = store.base / "chan" / "source" / "2026-03-01T12" / FOLDER  # noon of the origin's stream
        kept = folder / "00:04.000000-1.m3u8"
        await ticks.until(lambda: kept.exists() and "/2.ts" in kept.read_text())


@pytest.mark.parametrize("killed", [True, False])
async def test_status_of_a_real_recorder(origin: Origin, tmp_path: Path, killed: bool) -> None:  # noqa: FBT001 - a table
    """`respool status` sees a recorder at work, what it misses, and that it is gone, however it went."""
    start = datetime.now(UTC) - 10 * SECOND
    entries = [Entry(f"/{n}.ts", 2.0, start + 2 * n * SECOND, ("#EXT-X-GAP",) if n == 1 else ()) for n in range(4)]
    for number in (0, 2, 3):
        origin.put(f"/{number}.ts", ts(number))
    origin.put("/live.m3u8", playlist(*entries))

    def found() -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["--base-dir", str(tmp_path), "--json"])
        (only,) = json.loads(result.output)
        return dict(only)

    downloader = ("downloader", "--base-dir", ".", f"chan={origin.url('/live.m3u8')}")
    async with service(*downloader, folder=tmp_path) as recorder:
        for _ in range(3):
            await recorder.next("segment_committed")
        await until(lambda: read(Store(tmp_path), "chan", "source", start, start + 10 * SECOND))
        seen = found()
        assert (seen["channel"], seen["quality"], seen["recorder"]) == ("chan", "source", "recording")
        recorder.process.kill() if killed else recorder.process.terminate()
        await recorder.end()
    after = found()
    assert after["recorder"] == "stopped"
    assert after["reason"] == (None if killed else "The recorder was stopped.")
    assert after["last_hour"]["recorded_seconds"] == {"full": 6.0}
    assert after["last_hour"]["missing_seconds"]["gap"] == 2.0


async def until(so: Callable[[], object]) -> None:
    """Wait until something is so; a disk tells no events, so it is asked."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if so():
                return
            await asyncio.sleep(0.01)
