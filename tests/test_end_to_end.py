"""Real media, all the way: an origin's segments through downloader, store and restreamer to an independent player."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import imageio_ffmpeg
import pytest

from common.dateutil import parse
from common.store import Store
from common.web import serving
from downloader import worker
from downloader.main import Config, run
from downloader.providers import UrlProvider
from downloader.source import Channel
from downloads import Ticks
from hls_origin import NOON, Live, serving_origin
from log_events import LogEvents, log_events
from restreamer.main import make_app

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@dataclass(frozen=True, slots=True)
class Clip:
    """A real stream: its segments' bytes, their seconds, and how many frames it has in all."""

    bodies: list[bytes]
    seconds: list[float]
    frames: int

    @property
    def duration(self) -> timedelta:
        return timedelta(seconds=sum(self.seconds))


def clip(folder: Path) -> Clip:
    """Read a folder with one playlist and its segments."""
    (listing,) = folder.glob("*.m3u8")
    entries = re.findall(r"#EXTINF:([0-9.]+),\n(\S+)", listing.read_text())
    bodies = [(folder / name).read_bytes() for _, name in entries]
    return Clip(bodies, [float(seconds) for seconds, _ in entries], played(str(listing))[0])


def played(url: str) -> tuple[int, timedelta]:
    """Play with ffmpeg from end to end; a warning or an error is a failure. Gives frames and time."""
    command = [FFMPEG, "-v", "warning", "-xerror", "-nostdin", "-progress", "pipe:1", "-i", url, "-f", "null", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    frames = re.findall(r"^frame=([0-9]+)$", done.stdout, re.MULTILINE)
    micros = re.findall(r"^out_time_us=([0-9]+)$", done.stdout, re.MULTILINE)
    return int(frames[-1]), timedelta(microseconds=int(micros[-1]))


@pytest.fixture
def real_clip(media: Path) -> Clip:
    return clip(media / "a13martin-L3_video" / "stream_2")


@pytest.fixture(scope="module")
def made_clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Four segments of our own, with B-frames and sound, of lengths that no decimal of a second hits."""
    folder = tmp_path_factory.mktemp("clip")
    picture = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30000/1001:duration=8"]
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=8"]
    video = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "60", "-sc_threshold", "0"]
    hls = ["-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_playlist_type", "vod", str(folder / "list.m3u8")]
    command = [FFMPEG, "-v", "error", "-nostdin", *picture, *sound, *video, "-pix_fmt", "yuv420p", "-c:a", "aac", *hls]
    subprocess.run(command, check=True, timeout=60)
    return clip(folder)


@pytest.fixture
async def events() -> AsyncIterator[LogEvents]:
    with log_events() as events:
        yield events


@asynccontextmanager
async def downloading(store: Store, url: str) -> AsyncIterator[None]:
    """Record a channel while inside."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run(Config(store.base, (Channel("bbb", UrlProvider(url)),), ("source",), "127.0.0.1", None), stop)
        )
        try:
            yield
        finally:
            stop.set()


async def record(clip: Clip, store: Store, events: LogEvents, ticks: Ticks) -> None:
    """Play a clip as a live stream with a window of three segments, and record it: it is killed and goes on halfway."""
    async with serving_origin() as origin:
        live = Live(origin, window=3, target=7)
        half = len(clip.bodies) // 2
        for first, last in ((0, half), (half, len(clip.bodies))):
            reached = len(ticks.seconds)
            live.add(clip.bodies[first], clip.seconds[first])
            live.publish()
            async with downloading(store, origin.url("/live.m3u8")):
                await ticks.reached(reached + 1)
                for number in range(first + 1, last):
                    live.add(clip.bodies[number], clip.seconds[number])
                    live.publish()
                    await ticks.step()
                await events.wait("segment_committed", last, type="full")
        assert {origin.count(entry.uri) for entry in live.entries} == {1}
    assert not [event for event in events.all if event["level"] != "info"]


@pytest.mark.parametrize("kind", ["real_clip", "made_clip"])
async def test_what_goes_in_comes_out(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, events: LogEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live stream is cut byte for byte as its origin served it, and another's player plays all of it."""
    clip: Clip = request.getfixturevalue(kind)
    ticks = Ticks()
    monkeypatch.setattr(worker, "pause", ticks.pause)
    store = Store(tmp_path / "store")
    await record(clip, store, events, ticks)
    end = NOON + clip.duration
    times = urlencode({"start": f"{NOON:%FT%T}Z", "end": f"{end:%FT%T.%f}Z"})
    async with serving(make_app(store), "127.0.0.1", 0) as port:
        base = f"http://127.0.0.1:{port}"
        listing = f"{base}/playlist/bbb/source.m3u8?{times}"
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.get(f"{base}/cut/bbb/source.ts?{times}&type=rough") as response:
                assert await response.read() == b"".join(clip.bodies)
            async with session.get(listing) as response:
                text = await response.text()
        assert told_times(text) == [NOON + timedelta(seconds=sum(clip.seconds[:n])) for n in range(len(clip.seconds))]
        assert "#EXT-X-DISCONTINUITY" not in text
        for url in (listing, f"{base}/playlist/bbb.m3u8?{times}"):
            frames, lasts = await asyncio.to_thread(played, url)
            assert frames == clip.frames
            assert abs(lasts - clip.duration) < timedelta(seconds=0.1)


def told_times(text: str) -> list[datetime]:
    return [parse(time) for time in re.findall(r"#EXT-X-PROGRAM-DATE-TIME:(\S+)", text)]
