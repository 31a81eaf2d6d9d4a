"""One recording under names whose clock steps: what the media says runs on does so in playlists and cuts."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import m3u8
import pytest
from aiohttp import ClientSession
from yarl import URL

from common.dateutil import floor_hour, format_utc
from common.segments import Segment
from common.sidecar import FactsStore
from common.store import Store

Put = Callable[..., Segment]

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS, COUNT, RATE = 2, 5, 10  # of `stream`
LENGTH = timedelta(seconds=SECONDS)

# Seconds by which the clock steps at the third segment, and when the first begins: the step may be at the full hour.
STEPS = [0.3, -0.3, 1.9, -1.9]
STARTS = [NOON, NOON - 2 * LENGTH]


def dated(start: datetime, step: float) -> list[datetime]:
    """The start times of the segments, of which those from the third on are off by so many seconds."""
    return [start + LENGTH * number + timedelta(seconds=step if number > 1 else 0) for number in range(COUNT)]


def span(start: datetime) -> dict[str, str]:
    return {"start": format_utc(start), "end": format_utc(start + LENGTH * COUNT + timedelta(seconds=2))}


async def playlist(client: ClientSession, at: URL) -> Any:  # noqa: ANN401 - m3u8 has no types
    async with client.get(at) as response:
        assert response.status == 200, await response.text()
        return m3u8.loads(await response.text())


async def all_probed(client: ClientSession, at: URL, store: Store, segments: Sequence[Segment]) -> Any:  # noqa: ANN401
    """The playlist when all these segments are known: asked for until the background has come so far."""
    hours = {floor_hour(segment.start) for segment in segments}
    async with asyncio.timeout(60):
        while True:
            facts = FactsStore(Store(store.base))
            known = {content for hour in hours for content in facts.known("chan", "source", hour)}
            found = await playlist(client, at)
            if {segment.hash for segment in segments} <= known:
                return found


def breaks(found: Any) -> list[bool]:  # noqa: ANN401 - m3u8 has no types
    return [entry.discontinuity for entry in found.segments]


def starts(found: Any) -> list[datetime]:  # noqa: ANN401 - m3u8 has no types
    return [entry.program_date_time for entry in found.segments]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_of_the_clock_is_no_hole(
    url: URL, client: ClientSession, put: Put, store: Store, stream: list[bytes], start: datetime, step: float
) -> None:
    """Of a recording whose clock steps the playlist has all, in order, and no discontinuity."""
    recorded = [put(moment, SECONDS, data) for moment, data in zip(dated(start, step), stream, strict=True)]
    at = url / "playlist/chan/source.m3u8" % span(start)
    first = await playlist(client, at)
    assert any(breaks(first)) or len(first.segments) < COUNT
    found = await all_probed(client, at, store, recorded)
    assert starts(found) == [segment.start for segment in recorded]
    assert breaks(found) == [False] * COUNT


@pytest.mark.parametrize("step", [0.3, -0.3])
async def test_what_is_missing_is_a_hole_whatever_the_clock_does(
    url: URL, client: ClientSession, put: Put, store: Store, stream: list[bytes], step: float
) -> None:
    """Where a segment is missing there is a discontinuity, and a cut without holes is refused."""
    moments = dated(NOON, step)
    recorded = [put(moments[number], SECONDS, stream[number]) for number in (0, 1, 3, 4)]
    found = await all_probed(client, url / "playlist/chan/source.m3u8" % span(NOON), store, recorded)
    assert starts(found) == [segment.start for segment in recorded]
    assert breaks(found) == [False, False, True, False]
    cut = {"type": "rough", "start": format_utc(NOON), "end": format_utc(recorded[-1].end)}
    async with client.get(url / "cut/chan/source.ts" % cut) as response:
        assert response.status == 406


async def test_a_player_gets_every_frame(
    url: URL, client: ClientSession, put: Put, store: Store, stream: list[bytes], tmp_path: Path
) -> None:
    """A player that is not ours shows each frame once and complains of nothing."""
    recorded = [put(moment, SECONDS, data) for moment, data in zip(dated(NOON, -0.3), stream, strict=True)]
    at = url / "playlist/chan/source.m3u8" % span(NOON)
    await all_probed(client, at, store, recorded)
    (tmp_path / "whole.ts").write_bytes(b"".join(stream))
    assert await frames(str(at)) == await frames(str(tmp_path / "whole.ts"))


async def frames(source: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "warning", "-nostdin", "-i", source, "-map", "0:v", "-f", "framemd5", "-"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        lines, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    found = [line.rpartition(",")[2].strip() for line in lines.decode().splitlines() if not line.startswith("#")]
    assert len(found) == SECONDS * COUNT * RATE
    return found


@pytest.mark.parametrize("step", STEPS)
async def test_a_cut_asks_the_media_at_once(
    url: URL, client: ClientSession, put: Put, stream: list[bytes], step: float
) -> None:
    """A cut of which nothing has been probed is whole where only the clock steps."""
    recorded = [put(moment, SECONDS, data) for moment, data in zip(dated(NOON, step), stream, strict=True)]
    cut = {"type": "rough", "start": format_utc(NOON), "end": format_utc(recorded[-1].end - timedelta(seconds=0.1))}
    async with client.get(url / "cut/chan/source.ts" % cut) as response:
        assert (response.status, await response.read()) == (200, b"".join(stream))


@pytest.mark.parametrize("step", [0.3, -0.3])
@pytest.mark.parametrize("opened", [2, COUNT])
async def test_a_live_list_asks_the_media_before_it_lists(
    url: URL, client: ClientSession, put: Put, now: datetime, stream: list[bytes], step: float, opened: int
) -> None:
    """A live list has no discontinuity where only the clock steps, before it was opened or after it."""
    moments = dated(now - timedelta(seconds=30), step)
    at = url / "playlist/chan/source.m3u8"
    for moment, data in zip(moments[:opened], stream, strict=False):
        put(moment, SECONDS, data)
    first = await playlist(client, at)
    assert (starts(first), breaks(first)) == (moments[:opened], [False] * opened)
    for moment, data in zip(moments[opened:], stream[opened:], strict=True):
        put(moment, SECONDS, data)
    found = await playlist(client, at)
    assert (starts(found), breaks(found)) == (moments, [False] * COUNT)
