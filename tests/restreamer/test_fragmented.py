"""Fragmented MP4, each segment one file with its init section first, to players that are not ours."""

import asyncio
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import imageio_ffmpeg
import pytest
from aiohttp import ClientSession
from hls_page import hls_page
from yarl import URL

from common.dateutil import format_utc
from common.segments import Segment
from common.store import Store
from common.web import serving
from restreamer.main import make_app

Put = Callable[..., Segment]
CheckPlaylist = Callable[[str], dict[str, list[dict[str, object]]]]

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS, COUNT, RATE = 2, 4, 10
RANGE = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:01:00Z"}

_PLAY = """(url) => {
  const video = document.body.appendChild(document.createElement("video"));
  const hls = new Hls({ startPosition: 0 });
  Object.assign(window, { video, hls, faults: [], widths: [] });
  hls.on(Hls.Events.ERROR, (_, { fatal, details, reason }) => faults.push({ fatal, details, reason }));
  video.addEventListener("resize", () => widths.push(video.videoWidth));
  hls.loadSource(url);
  hls.attachMedia(video);
  hls.once(Hls.Events.MANIFEST_PARSED, () => { video.playbackRate = 4; video.play(); });
}"""

# It stays for a while before the first picture, or plays on too slowly to be waited for to the very last one.
_NEARLY_ALL = """() => {
  const { fragments } = hls.levels[hls.currentLevel]?.details ?? {};
  const last = fragments?.at(-1);
  return last && video.currentTime > last.start + last.duration / 2;
}"""


def encode(folder: Path, width: int, height: int) -> tuple[bytes, list[bytes]]:
    """Make eight seconds of picture and sound; give the init section, and the fragments of four segments."""
    length = SECONDS * COUNT
    command = [
        *(FFMPEG, "-v", "error", "-nostdin"),
        *("-f", "lavfi", "-i", f"testsrc=size={width}x{height}:rate={RATE}:duration={length}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={length}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "0"),
        *("-g", str(SECONDS * RATE), "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"),
        *("-f", "hls", "-hls_time", str(SECONDS), "-hls_list_size", "0", "-hls_segment_type", "fmp4"),
        *("-hls_segment_filename", "%d.m4s", "list.m3u8"),
    ]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return (folder / "init.mp4").read_bytes(), [(folder / f"{number}.m4s").read_bytes() for number in range(COUNT)]


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, list[bytes]]]:
    """Two streams with pictures of different sizes, and so different init sections."""
    return [encode(tmp_path_factory.mktemp("fragments"), *size) for size in ((320, 180), (256, 144))]


def record(put: Put, stream: tuple[bytes, list[bytes]], start: datetime) -> list[Segment]:
    init, fragments = stream
    return [
        put(start + number * timedelta(seconds=SECONDS), SECONDS, init + data, suffix=".mp4")
        for number, data in enumerate(fragments)
    ]


async def decoded(source: str) -> list[str]:
    """Have ffmpeg decode picture and sound; give the hashes of all frames, the picture's and the sound's."""
    process = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "warning", "-nostdin", "-i", source, "-f", "framemd5", "-"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    lines, said = await process.communicate()
    assert (process.returncode, said.decode()) == (0, "")
    rows = [line.split(",") for line in lines.decode().splitlines() if not line.startswith("#")]
    return sorted(f"{row[0]} {row[-1].strip()}" for row in rows)


@pytest.mark.parametrize("path", ["playlist/chan/source.m3u8", "playlist/chan.m3u8"])
async def test_ffmpeg_reads_fragments_from_end_to_end(
    url: URL, put: Put, streams: list[tuple[bytes, list[bytes]]], tmp_path: Path, path: str
) -> None:
    """Both kinds of playlist give ffmpeg each frame of picture and sound, without a warning."""
    record(put, streams[0], NOON)
    init, fragments = streams[0]
    (tmp_path / "whole.mp4").write_bytes(init + b"".join(fragments))
    found = await decoded(str(url / path % RANGE))
    assert len([frame for frame in found if frame.startswith("0 ")]) == SECONDS * COUNT * RATE
    assert found == await decoded(str(tmp_path / "whole.mp4"))


async def test_each_init_section_is_named_once(
    url: URL,
    client: ClientSession,
    put: Put,
    streams: list[tuple[bytes, list[bytes]]],
    check_playlist: CheckPlaylist,
) -> None:
    """There is an EXT-X-MAP where the init section changes, and byte ranges that give it and the rest of each file."""
    recorded = [*record(put, streams[0], NOON), *record(put, streams[1], NOON + timedelta(seconds=SECONDS * COUNT))]
    at = url / "playlist/chan/source.m3u8" % RANGE
    async with client.get(at) as response:
        text = await response.text()
    check_playlist(text)
    assert text.startswith("#EXTM3U\n#EXT-X-VERSION:6\n")
    inits = [line for line in text.splitlines() if line.startswith("#EXT-X-MAP:")]
    assert [recorded[0].name in inits[0], recorded[COUNT].name in inits[1], len(inits)] == [True, True, 2]
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    lengths = [len(init) for init, _ in streams]
    assert [f'BYTERANGE="{length}@0"' in init for init, length in zip(inits, lengths, strict=True)] == [True, True]
    ranges = [line for line in text.splitlines() if line.startswith("#EXT-X-BYTERANGE:")]
    expected = [f"#EXT-X-BYTERANGE:{len(data)}@{len(init)}" for init, fragments in streams for data in fragments]
    assert ranges == expected


async def test_hls_js_plays_fragments_live(
    store: Store, put: Put, streams: list[tuple[bytes, list[bytes]]], now: datetime
) -> None:
    """hls.js plays a live list of fragments across a hole and into another format, without a fault."""
    start = now - timedelta(seconds=60)
    record(put, streams[0], start)
    record(put, streams[1], start + timedelta(seconds=SECONDS * COUNT + 4))
    async with (
        serving(make_app(store), "127.0.0.1", 0) as port,
        hls_page(f"http://127.0.0.1:{port}") as page,
    ):
        await page.evaluate(_PLAY, f"/playlist/chan.m3u8?start={format_utc(start)}")
        await page.wait_for_function(_NEARLY_ALL)
        assert await page.evaluate("() => faults") == []
        assert await page.evaluate("() => widths") == [320, 256]
