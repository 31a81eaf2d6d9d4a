"""Tests of the demo stream as an origin: its playlists, its segments, its end and its encoder's."""

import asyncio
import io
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import av
import imageio_ffmpeg
import m3u8
import pytest
from PIL import Image
from structlog.testing import capture_logs

from common.errors import UserError
from respool import demo
from respool.demo import HOST, KEPT, WINDOW, DemoConfig, Shelf, media_playlist, run
from respool.demo_encoder import RENDITIONS, SEGMENT_SECONDS
from respool.timecode import read

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
FIRST = 895_000_000


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Give a shelf on which a first run begins at `FIRST`."""
    for rendition in RENDITIONS:
        (tmp_path / rendition.name).mkdir()
    shelf = Shelf(tmp_path)
    shelf.begin_run(FIRST)
    return shelf


def fill(shelf: Shelf, *sequences: int) -> None:
    """Put segments of all renditions on a shelf."""
    for sequence in sequences:
        for rendition in RENDITIONS:
            (shelf.folder / rendition.name / f"{sequence}.ts").write_bytes(b"")
            shelf.put(rendition.name, sequence)


async def listed(shelf: Shelf) -> m3u8.M3U8:
    """Read the playlist of one rendition."""
    return m3u8.loads(await shelf.playlist("720p30") or "")


def test_numbers_and_times_come_from_each_other() -> None:
    """A segment's start is its sequence number times its length, and names what it is."""
    playlist = m3u8.loads(media_playlist("360p30", [FIRST, FIRST + 1], FIRST, resumed=False))
    assert playlist.media_sequence == playlist.discontinuity_sequence == FIRST
    assert playlist.target_duration == SEGMENT_SECONDS
    assert [segment.uri for segment in playlist.segments] == [f"360p30/{FIRST}.ts", f"360p30/{FIRST + 1}.ts"]
    assert [segment.program_date_time.timestamp() / SEGMENT_SECONDS for segment in playlist.segments] == [
        FIRST,
        FIRST + 1,
    ]
    assert not any(segment.discontinuity for segment in playlist.segments)


async def test_the_window_slides(shelf: Shelf) -> None:
    """Only the latest segments are listed, without a discontinuity, whatever there was before."""
    fill(shelf, *range(FIRST, FIRST + WINDOW + 5))
    playlist = await listed(shelf)
    assert playlist.media_sequence == FIRST + 5
    assert playlist.discontinuity_sequence == FIRST
    assert len(playlist.segments) == WINDOW


async def test_a_new_run_is_marked_until_its_first_segment_is_gone(shelf: Shelf) -> None:
    """A second run starts a playlist of its own, and the sequence of discontinuities only ever grows."""
    fill(shelf, FIRST, FIRST + 1)
    begun = FIRST + 7
    shelf.begin_run(begun)
    assert (await listed(shelf)).media_sequence == FIRST
    fill(shelf, begun, begun + 1)
    marked = await listed(shelf)
    assert [segment.discontinuity for segment in marked.segments] == [True, False]
    assert (marked.media_sequence, marked.discontinuity_sequence) == (begun, begun - 1)
    fill(shelf, *range(begun + 2, begun + WINDOW + 1))
    unmarked = await listed(shelf)
    assert not any(segment.discontinuity for segment in unmarked.segments)
    assert (unmarked.media_sequence, unmarked.discontinuity_sequence) == (begun + 1, begun)


def test_only_whole_and_recent_segments_are_found(shelf: Shelf) -> None:
    """A segment is found while it is kept; a file that nobody announced is not, and leaves with the others."""
    unannounced = shelf.folder / "720p30" / f"{FIRST + 1}.ts"
    unannounced.write_bytes(b"half")
    fill(shelf, FIRST)
    assert shelf.find("720p30", f"{FIRST}.ts") == shelf.folder / "720p30" / f"{FIRST}.ts"
    assert shelf.find("720p30", unannounced.name) is None
    assert shelf.find("720p30", "../font.ttf") is None
    fill(shelf, *range(FIRST + 2, FIRST + KEPT + 2))
    shelf.remove_old()
    assert shelf.find("720p30", f"{FIRST}.ts") is None
    assert shelf.next_sequence == FIRST + KEPT + 2
    assert {int(path.stem) for path in shelf.folder.glob("720p30/*")} == set(range(FIRST + 2, FIRST + KEPT + 2))


@asynccontextmanager
async def running(config: DemoConfig) -> AsyncIterator[str]:
    """Run the demo stream and give its URL once it answers."""
    stop = asyncio.Event()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(config, stop, listening=url.set_result))
    try:
        either: set[asyncio.Future[Any]] = {task, url}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield await url
    finally:
        stop.set()
        await task


def left_in(folder: Path) -> list[Path]:
    """List what lies in a folder."""
    return list(folder.iterdir())


def children(process: int) -> list[int]:
    """List the processes that a process's main thread has started and that it has not seen the end of."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


async def fetch(session: aiohttp.ClientSession, url: str) -> bytes:
    """Fetch what must be there."""
    async with session.get(url) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return await response.read()


def first_time(content: bytes) -> datetime | None:
    """Read the time code of a segment's first picture."""
    with av.open(io.BytesIO(content), mode="r", format="mpegts") as container:
        plane = next(container.decode(video=0)).reformat(format="gray").planes[0]
        picture = Image.frombytes("L", (plane.line_size, plane.height), bytes(plane))
    pixels, stride = picture.tobytes(), picture.width
    return read(lambda x, y: pixels[int(y * plane.height) * stride + int(x * plane.width)])


async def test_a_client_follows_the_stream(tmp_path: Path) -> None:
    """From the multivariant playlist a client finds segments that show the times the playlists say, and are live."""
    before = children(os.getpid())
    began = datetime.now(UTC)
    async with running(DemoConfig(FFMPEG, tmp_path)) as url, aiohttp.ClientSession() as session:
        variants = m3u8.loads((await fetch(session, url)).decode(), uri=url)
        assert [variant.stream_info.resolution for variant in variants.playlists] == [(1280, 720), (640, 360)]
        for variant in variants.playlists:
            media = m3u8.loads((await fetch(session, variant.absolute_uri)).decode(), uri=variant.absolute_uri)
            segment = media.segments[0]
            assert abs((segment.program_date_time - began).total_seconds()) < 2 * SEGMENT_SECONDS
            content = await fetch(session, segment.absolute_uri)
            assert first_time(content) == segment.program_date_time
        assert (datetime.now(UTC) - began).total_seconds() < 10
        for missing in ("720p30/1.ts", "1080p60.m3u8", "720p30/..%2f..%2ffont.ttf", "font.ttf", ""):
            async with session.get(url.replace("demo.m3u8", missing)) as response:
                assert response.status == 404
    assert left_in(tmp_path) == []
    assert children(os.getpid()) == before


async def test_an_encoder_that_fails_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the encoder ended is logged with the end of what it said, and the pause before the next try grows."""
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho no such filter >&2\nexit 8\n")
    broken.chmod(0o755)
    pauses: list[float] = []

    async def pause(stop: asyncio.Event, seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 3:
            stop.set()
        return stop.is_set()

    monkeypatch.setattr(demo, "pause", pause)
    with capture_logs() as logs:
        await run(DemoConfig(str(broken), tmp_path / "work"), asyncio.Event())
    failures = [entry for entry in logs if entry["event"] == "demo_encoder_failed"]
    assert [entry["failures"] for entry in failures] == [1, 2, 3]
    assert failures[0]["reason"] == "it ended, exit code 8\nno such filter"
    assert pauses[2] > pauses[0]


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """A port that is in use is an error for the user, and nothing is left in the folder."""
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} "):
            await run(DemoConfig(FFMPEG, tmp_path, port), asyncio.Event())
    assert left_in(tmp_path) == []


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A folder that is in fact a file is an error for the user."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"):
        await run(DemoConfig(FFMPEG, tmp_path / "file"), asyncio.Event())


async def test_a_missing_ffmpeg_is_said(tmp_path: Path) -> None:
    """A path at which there is no ffmpeg is an error for the user."""
    with pytest.raises(UserError, match="no ffmpeg at /nowhere/ffmpeg"):
        await run(DemoConfig("/nowhere/ffmpeg", tmp_path), asyncio.Event())


async def announced_url(process: asyncio.subprocess.Process) -> str:
    """Read from a demo process's log where it listens."""
    assert process.stderr is not None
    async for line in process.stderr:
        entry = json.loads(line)
        if entry["event"] == "demo_listening":
            return str(entry["url"])
    pytest.fail("the demo ended before it listened")


async def test_no_encoder_outlives_a_kill(tmp_path: Path) -> None:
    """When the demo's process is killed with -9, its ffmpeg ends too, and a new process takes over the folder."""
    command = [sys.executable, "-m", "respool.demo", "--folder", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        async with aiohttp.ClientSession() as session:
            await fetch(session, (await announced_url(process)).replace("demo", "720p30"))
        [encoder] = children(process.pid)
        ended = os.pidfd_open(encoder)
    finally:
        process.kill()
        await process.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(ended, gone.set)
    async with asyncio.timeout(5):
        await gone.wait()
    asyncio.get_running_loop().remove_reader(ended)
    os.close(ended)
    async with running(DemoConfig(FFMPEG, tmp_path)):
        pass
    assert left_in(tmp_path) == []
