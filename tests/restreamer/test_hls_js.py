"""hls.js in a real browser, on its own: it plays live what goes wrong while it plays, and shows the times that we say.

The stream is the demo stream's: each picture carries the time at which it was made, readable from its pixels.
"""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from hls_page import PATIENCE_MS, hls_page
from playwright.async_api import Page

from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from common.web import serving
from respool.demo_encoder import RENDITIONS, SEGMENT_SECONDS, announced, encoder_command, write_assets
from respool.timecode import SAMPLE_POINTS, decode, frame_at
from restreamer.main import make_app

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SEGMENT = timedelta(seconds=SEGMENT_SECONDS)
CHANNEL = "demo"
AGO = timedelta(hours=2)
HISTORY_SECONDS = 8
LEAD = 14  # segments that there are when the player comes: as many as it wants to stay behind the edge, and some

# Of what comes afterwards, counted in segments: what is lost, and what comes late, and how late.
LOST = (1, 2)
LATE = 6
LATE_BY = 3  # segments

# How fast it plays towards what is to be looked at: it stays far enough behind the edge.
FASTER = 3.0


_PLAY = """(url) => {
  const video = document.body.appendChild(document.createElement("video"));
  const hls = new Hls();
  Object.assign(window, { video, hls, faults: [], levels: [] });
  hls.on(Hls.Events.ERROR, (_, { fatal, details, reason }) => faults.push({ fatal, details, reason }));
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => levels.push(hls.levels[level].height));
  hls.loadSource(url);
  hls.attachMedia(video);
  hls.once(Hls.Events.MANIFEST_PARSED, () => video.play());
}"""

# What the playlist says of a position: programDateTime of its segment, and how far into that it is.
_DATES = """() => {
  window.dateOf = (position) => {
    const level = hls.levels[hls.currentLevel];
    const found = level?.details?.fragments.findLast(({ start }) => start <= position + 0.01);
    return found ? found.programDateTime + (position - found.start) * 1000 : 0;
  };
}"""

_PAST = "(moment) => dateOf(video.currentTime) > moment && video.readyState >= 3"

# The segments that the player knows of: the number of each, by its date, and of the stretch without a break it is in.
_LISTED = """(seconds) => hls.levels[hls.currentLevel].details.fragments.map(
  ({ programDateTime, cc }) => [programDateTime / 1000 / seconds, cc],
)"""

_SEEK = """(moment) => {
  const { start, programDateTime } = hls.levels[hls.currentLevel].details.fragments[0];
  video.currentTime = start + (moment - programDateTime) / 1000;
}"""

# Some pictures as they are presented: the time of each by the playlist, and the row of pixels that has its own time.
_PICTURES = """([count, points]) => new Promise((done) => {
  const canvas = new OffscreenCanvas(1280, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const seen = [];
  const take = (_, { mediaTime, width, height }) => {
    context.drawImage(video, 0, Math.floor(points[0][1] * height), width, 1, 0, 0, 1280, 1);
    const row = context.getImageData(0, 0, 1280, 1).data;
    seen.push([dateOf(mediaTime), height, points.map(([x]) => row[4 * Math.floor(x * 1280) + 1])]);
    if (seen.length < count) video.requestVideoFrameCallback(take);
    else done(seen);
  };
  video.requestVideoFrameCallback(take);
})"""


@dataclass(slots=True)
class Recorder:
    """Puts the demo stream's segments into a store, but those that are held back."""

    store: Store
    folder: Path
    held: set[int] = field(default_factory=set)
    put: set[int] = field(default_factory=set)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        """Lay out what the encoder needs."""
        write_assets(self.folder)
        for rendition in RENDITIONS:
            (self.folder / rendition.name).mkdir()

    def record(self, rendition: str, sequence: int) -> None:
        """Put a whole segment into the store; the best rendition is the source."""
        quality = "source" if rendition == RENDITIONS[0].name else rendition
        start = datetime.fromtimestamp(sequence * SEGMENT_SECONDS, UTC)
        writer = SegmentWriter(self.store, CHANNEL, quality, start, SEGMENT)
        writer.write((self.folder / rendition / f"{sequence}.ts").read_bytes())
        writer.commit(SegmentType.FULL)

    def record_past(self, epoch: int, seconds: int) -> None:
        """Record a stretch of the past, made as fast as that goes."""
        command = encoder_command(FFMPEG, epoch, seconds=seconds)
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True, timeout=60)
        for line in done.stdout.splitlines():
            if (segment := announced(line)) is not None:
                self.record(*segment)

    async def follow(self, lines: asyncio.StreamReader) -> None:
        """Record what the encoder announces until it ends."""
        async for line in lines:
            if (segment := announced(line.decode())) is None:
                continue
            if segment[1] not in self.held:
                await asyncio.to_thread(self.record, *segment)
            if segment[0] == RENDITIONS[-1].name:
                async with self.grown:
                    self.put.add(segment[1])
                    self.grown.notify_all()

    async def come(self, sequence: int) -> None:
        """Wait until a segment, of each rendition, has come from the encoder."""
        async with asyncio.timeout(PATIENCE_MS / 1000), self.grown:
            await self.grown.wait_for(lambda: sequence in self.put)

    @asynccontextmanager
    async def live(self, first: int) -> AsyncIterator[None]:
        """Record live, from a segment on that was some time ago."""
        epoch = first * SEGMENT_SECONDS
        encoder = await asyncio.create_subprocess_exec(
            *encoder_command(FFMPEG, epoch, lead=time.time() - epoch),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert encoder.stdout is not None
        following = asyncio.create_task(self.follow(encoder.stdout))
        try:
            yield
        finally:
            encoder.terminate()
            await following
            await encoder.wait()


async def check_pictures(page: Page, height: int = 720, count: int = 20) -> datetime:
    """Compare the time in pictures with that by the playlist, frame by frame; give the first one's time."""
    seen: list[Any] = await page.evaluate(_PICTURES, [count, [*SAMPLE_POINTS]])
    shown = [decode(row) for _, _, row in seen]
    said = [datetime.fromtimestamp(date / 1000, UTC) for date, _, _ in seen]
    # a browser that is busy may come to draw a picture when the next one is there already
    off = [frame_at(moment) - frame_at(told) if moment else None for moment, told in zip(shown, said, strict=True)]
    assert {*off} <= {0, 1}
    assert off.count(1) <= count / 4
    assert len({*said}) > count / 2, "It stands still."
    assert {each for _, each, _ in seen} == {height}
    return said[0]


async def reach(page: Page, moment: datetime) -> None:
    """Play on, faster than it was, until past a moment."""
    await page.evaluate("(rate) => { video.playbackRate = rate; }", FASTER)
    await page.wait_for_function(_PAST, arg=moment.timestamp() * 1000)
    await page.evaluate("() => { video.playbackRate = 1; }")


def start_of(sequence: int) -> datetime:
    return datetime.fromtimestamp(sequence * SEGMENT_SECONDS, UTC)


async def test_it_plays_live_across_what_goes_wrong(tmp_path: Path) -> None:
    """Live for half a minute, across a hole and a late segment; another quality and back; and two hours back.

    Nothing of it is fatal to hls.js, and each picture is of the very time that the playlist gives.
    """
    (tmp_path / "encoder").mkdir()
    store = Store(tmp_path / "base")
    recorder = Recorder(store, tmp_path / "encoder")
    now = int(time.time()) // SEGMENT_SECONDS
    past = now - int(AGO.total_seconds()) // SEGMENT_SECONDS
    await asyncio.to_thread(recorder.record_past, past * SEGMENT_SECONDS, HISTORY_SECONDS)
    first = int(time.time()) // SEGMENT_SECONDS - LEAD
    lost, late = {first + LEAD + number for number in LOST}, first + LEAD + LATE
    recorder.held = {*lost, late}
    async with (
        serving(make_app(store), "127.0.0.1", 0) as port,
        recorder.live(first),
        hls_page(f"http://127.0.0.1:{port}") as page,
    ):
        await page.evaluate(_DATES)
        await recorder.come(first + LEAD - 1)
        await page.evaluate(_PLAY, f"/playlist/{CHANNEL}.m3u8?start={start_of(past):%Y-%m-%dT%H:%M:%S}Z")
        await reach(page, start_of(first))
        await check_pictures(page)
        await switch(page, 360)
        await switch(page, 720)

        await recorder.come(late + LATE_BY)
        for rendition in RENDITIONS:
            await asyncio.to_thread(recorder.record, rendition.name, late)
        await reach(page, start_of(max(lost)) + SEGMENT)
        await check_pictures(page)
        await reach(page, start_of(late))
        assert await check_pictures(page) < start_of(late) + SEGMENT
        runs = dict(await page.evaluate(_LISTED, SEGMENT_SECONDS))
        assert not lost & {*runs}
        assert runs[min(lost) - 1] < runs[max(lost) + 1] == runs[late - 1] == runs[late] == runs[late + 1]

        wanted = start_of(past + 1) + SEGMENT / 2
        await page.evaluate(_SEEK, wanted.timestamp() * 1000)
        await page.wait_for_function("() => !video.seeking && video.readyState >= 3")
        assert wanted <= await check_pictures(page) < wanted + SEGMENT
        faults = await page.evaluate("() => faults")
        assert [fault for fault in faults if fault["fatal"]] == []


async def switch(page: Page, height: int) -> None:
    """Have it go on in another quality, and see that it does."""
    await page.evaluate("(height) => { hls.nextLevel = hls.levels.findIndex((l) => l.height === height); }", height)
    await page.wait_for_function("(height) => levels.at(-1) === height && video.videoHeight === height", arg=height)
    await check_pictures(page, height=height)
