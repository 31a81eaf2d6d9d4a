"""A client that is not ours reads what we serve: ffmpeg, from end to end."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import imageio_ffmpeg
import pytest
from yarl import URL

from common.segments import Segment

Put = Callable[..., Segment]

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS, COUNT, RATE = 2, 5, 10
NAME = '#1 ✓ it\'s "50%" a+b?c&d'
RANGE = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:00:10Z"}


async def ffmpeg(*arguments: str) -> tuple[int, list[str], str]:
    """Run ffmpeg and give its exit code, the lines that it writes, and what it has to say."""
    process = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "warning", "-nostdin", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        lines, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, lines.decode().splitlines(), said.decode()


async def frames(address: URL) -> list[str]:
    """Decode all of the picture and give one line per frame; fail if ffmpeg has anything to complain of."""
    code, lines, said = await ffmpeg("-i", str(address), "-map", "0:v", "-f", "framemd5", "-")
    assert (code, said) == (0, "")
    return [line.rpartition(",")[2].strip() for line in lines if not line.startswith("#")]


@pytest.fixture
def recorded(put: Put, stream: list[bytes]) -> list[Segment]:
    return [
        put(NOON + timedelta(seconds=SECONDS * number), SECONDS, data, channel=NAME, quality=NAME)
        for number, data in enumerate(stream)
    ]


@pytest.mark.parametrize("path", [("playlist", f"{NAME}.m3u8"), ("playlist", NAME, f"{NAME}.m3u8")])
async def test_ffmpeg_reads_a_playlist_from_end_to_end(
    url: URL, recorded: list[Segment], stream: list[bytes], tmp_path: Path, path: tuple[str, ...]
) -> None:
    """Both kinds of playlist give ffmpeg each frame that was recorded, without a warning, whatever the name."""
    (tmp_path / "whole.ts").write_bytes(b"".join(stream))
    found = await frames(url.joinpath(*path) % RANGE)
    assert len(found) == SECONDS * COUNT * RATE
    _, expected, _ = await ffmpeg("-i", str(tmp_path / "whole.ts"), "-map", "0:v", "-f", "framemd5", "-")
    assert found == [line.rpartition(",")[2].strip() for line in expected if not line.startswith("#")]


async def test_ffmpeg_reads_a_cut(url: URL, recorded: list[Segment]) -> None:
    """A cut of the middle gives ffmpeg the frames of its segments, without a warning."""
    inner = {"type": "rough", "start": "2026-03-01T12:00:02Z", "end": "2026-03-01T12:00:05Z"}
    found = await frames(url / "cut" / NAME / f"{NAME}.ts" % inner)
    assert len(found) == 2 * SECONDS * RATE


async def test_ffmpeg_reads_across_a_hole(url: URL, put: Put, stream: list[bytes]) -> None:
    """A playlist with a hole gives ffmpeg all the frames that there are."""
    # ffmpeg passes over EXT-X-DISCONTINUITY and warns that the stream's packet counters jump, as they do
    for number in (0, 1, 3, 4):
        put(NOON + timedelta(seconds=SECONDS * number), SECONDS, stream[number])
    code, lines, _ = await ffmpeg(
        "-i", str(url / "playlist/chan/source.m3u8" % RANGE), "-map", "0:v", "-f", "framemd5", "-"
    )
    assert code == 0
    assert len([line for line in lines if not line.startswith("#")]) == 4 * SECONDS * RATE
