"""Clips whose every frame can be told apart in a picture of it, put into a store at their true times."""

import io
import subprocess
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from PIL import Image

from common.ffmpeg import find_ffmpeg
from common.media import examine
from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, Suffix
from common.store import Store
from common.ticks import TICKS, distance

WIDTH, HEIGHT = 128, 72
BITS = 8
_MIDDLE = 125

# Each eighth of the width is one bit of the frame's number, the least one on the left.
BARS = f"geq=lum='if(mod(floor(N/pow(2,floor(X*{BITS}/W))),2),220,30)':cb=128:cr=128"
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "12", "-pix_fmt", "yuv420p", "-sc_threshold", "0")


def encode(path: Path, *arguments: str, seconds: float = 4.0, rate: str = "25", video: str = "null") -> None:
    """Make a clip of numbered frames; its sound is silent in each second half of a second."""
    command = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", f"nullsrc=s={WIDTH}x{HEIGHT}:r={rate},{BARS},{video}"]
    command += ["-f", "lavfi", "-i", "aevalsrc='0.5*sin(2*PI*440*t)*lt(mod(t,1),0.5)':s=48000"]
    command += ["-t", str(seconds), "-c:a", "aac", "-b:a", "64k", *X264, *arguments, "-threads", "1", str(path)]
    subprocess.run(command, check=True, timeout=60)


def ts_segments(
    folder: Path, *arguments: str, length: float = 2.0, seconds: float = 4.0, rate: str = "25"
) -> list[bytes]:
    """Make a clip as segments of MPEG-TS that together are one stream."""
    cut = ("-f", "segment", "-segment_time", str(length), "-segment_format", "mpegts", *arguments)
    encode(folder / "%03d.ts", *cut, seconds=seconds, rate=rate)
    return [path.read_bytes() for path in sorted(folder.glob("*.ts"))]


def mp4_segments(folder: Path, *arguments: str, seconds: float = 4.0) -> list[bytes]:
    """Make a clip as segments of fragmented MP4, each with the init section before its own fragment."""
    whole = folder / "whole.mp4"
    encode(whole, "-movflags", "+delay_moov+default_base_moof+frag_keyframe", *arguments, seconds=seconds)
    content, starts, position = whole.read_bytes(), list[int](), 0
    while position < len(content):
        if content[position + 4 : position + 8] in (b"moof", b"mfra"):
            starts.append(position)
        position += int.from_bytes(content[position : position + 4])
    init = content[: starts[0]]
    return [init + content[first:last] for first, last in pairwise(starts)]


def put_in_time(store: Store, start: datetime, contents: list[bytes], channel: str = "chan") -> list[Segment]:
    """Record segments of one stream, each at the time that its first frame has in it, the first at `start`."""
    pictures = [examine(content).tracks[0] for content in contents]
    begins = [start + timedelta(seconds=distance(pictures[0].first, each.first) / TICKS) for each in pictures]
    lengths = [timedelta(seconds=(each.end - each.first) / TICKS) for each in pictures]
    return [put(store, *each, channel) for each in zip(begins, lengths, contents, strict=True)]


def put(store: Store, start: datetime, length: timedelta, content: bytes, channel: str = "chan") -> Segment:
    """Record one segment of `source`."""
    suffix: Suffix = ".mp4" if content[4:8] == b"ftyp" else ".ts"
    writer = SegmentWriter(store, channel, "source", start, length, suffix=suffix)
    writer.write(content)
    return writer.commit(SegmentType.FULL)


def number(png: bytes) -> int:
    """Read the number of the frame that a picture shows."""
    with Image.open(io.BytesIO(png)) as image:
        return number_in(image)


def number_in(image: Image.Image) -> int:
    """Read the number from the middle of the bars, of which a picture is full."""
    grey = image.convert("L")
    width, height = grey.size
    line = grey.tobytes()[height // 2 * width :]
    return sum((line[int((bit + 0.5) * width / BITS)] > _MIDDLE) << bit for bit in range(BITS))
