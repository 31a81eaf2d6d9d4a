"""Tests of the demo stream's picture, sound and segments, as real ffmpeg makes them and PyAV reads them."""

import io
import math
import subprocess
from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from PIL import Image

from respool.demo_encoder import (
    RENDITIONS,
    SAMPLE_RATE,
    SEGMENT_SECONDS,
    Rendition,
    announced,
    clock_text,
    date_text,
    drawtext,
    dying_with_parent,
    encoder_command,
    write_assets,
)
from respool.timecode import FRAME_RATE, moment_of, read

SECONDS = 6
PER_SEGMENT = SEGMENT_SECONDS * FRAME_RATE
EPOCH = int(datetime(2026, 11, 22, 23, 59, 58, tzinfo=UTC).timestamp())
FIRST = EPOCH // SEGMENT_SECONDS
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()

each_rendition = pytest.mark.parametrize("rendition", RENDITIONS, ids=lambda rendition: rendition.name)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that the encoder can run in."""
    folder = tmp_path_factory.mktemp("demo")
    write_assets(folder)
    for rendition in RENDITIONS:
        (folder / rendition.name).mkdir()
    return folder


@pytest.fixture(scope="module")
def segments(assets: Path) -> dict[str, list[bytes]]:
    """Give the segments of six seconds around a midnight, by rendition, as they are when they are announced."""
    command = encoder_command(FFMPEG, EPOCH, seconds=SECONDS)
    found: dict[str, list[bytes]] = {rendition.name: [] for rendition in RENDITIONS}
    with subprocess.Popen(command, cwd=assets, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            segment = announced(line)
            assert segment is not None
            name, sequence = segment
            assert sequence == FIRST + len(found[name])
            found[name].append((assets / name / f"{sequence}.ts").read_bytes())
    assert process.returncode == 0
    return found


def video_frames(content: bytes) -> Iterator[av.VideoFrame]:
    """Yield the pictures of a transport stream."""
    with av.open(io.BytesIO(content), mode="r", format="mpegts") as container:
        yield from container.decode(video=0)


def grey(frame: av.VideoFrame) -> Image.Image:
    """Return the luma of a decoded picture."""
    plane = frame.reformat(format="gray").planes[0]
    return Image.frombytes("L", (plane.line_size, plane.height), bytes(plane)).crop((0, 0, plane.width, plane.height))


def time_in(picture: Image.Image) -> datetime | None:
    """Read the time code of a picture in shades of grey."""
    width, height = picture.size
    pixels = picture.tobytes()
    return read(lambda x, y: pixels[int(y * height) * width + int(x * width)])


@each_rendition
def test_every_frame_carries_its_time(segments: dict[str, list[bytes]], rendition: Rendition) -> None:
    """Frame n of a run shows the second at which the run began plus n thirtieths, over a midnight too."""
    frames = list(video_frames(b"".join(segments[rendition.name])))
    assert len(frames) == SECONDS * FRAME_RATE
    for number, frame in enumerate(frames):
        assert (frame.width, frame.height) == (rendition.width, rendition.height)
        assert time_in(grey(frame)) == moment_of(EPOCH * FRAME_RATE + number)


def test_the_time_survives_a_small_canvas(segments: dict[str, list[bytes]]) -> None:
    """The time code can still be read when the small rendition is shown at half its size and saved as a poor JPEG."""
    frame = next(video_frames(segments["360p30"][1]))
    saved = io.BytesIO()
    grey(frame).resize((320, 180), Image.Resampling.BILINEAR).save(saved, "jpeg", quality=50)
    assert time_in(Image.open(saved)) == moment_of((EPOCH + SEGMENT_SECONDS) * FRAME_RATE)


@each_rendition
def test_every_segment_is_two_seconds_and_begins_with_its_only_key_frame(
    segments: dict[str, list[bytes]], rendition: Rendition
) -> None:
    """A segment is one closed group of sixty frames, evenly spaced, and the next one goes on where it ends."""
    starts = []
    for content in segments[rendition.name]:
        frames = list(video_frames(content))  # each decoded by itself
        times = [Fraction(frame.pts or 0) * (frame.time_base or 0) for frame in frames]
        assert [frame.key_frame for frame in frames] == [True] + [False] * (PER_SEGMENT - 1)
        assert {after - before for before, after in pairwise(times)} == {Fraction(1, FRAME_RATE)}
        starts.append(times[0])
    assert [start - starts[0] for start in starts] == [0, 2, 4]


@each_rendition
def test_sound_and_picture_of_a_segment_start_together(segments: dict[str, list[bytes]], rendition: Rendition) -> None:
    """No sound of a segment lies before its first picture, and the first sound follows within one AAC frame."""
    for content in segments[rendition.name]:
        first: dict[str, Fraction] = {}
        with av.open(io.BytesIO(content), mode="r", format="mpegts") as container:
            for packet in container.demux():
                if packet.pts is not None:
                    first.setdefault(packet.stream.type, packet.pts * packet.time_base)
        assert 0 <= first["audio"] - first["video"] < Fraction(1024, SAMPLE_RATE)


@each_rendition
def test_a_bell_rings_on_each_second(segments: dict[str, list[bytes]], rendition: Rendition) -> None:
    """The sound is stereo, without a gap, and rises sharply within three milliseconds of each whole second."""
    content = b"".join(segments[rendition.name])
    zero = next(iter(video_frames(content))).time
    assert zero is not None
    track = array("f", bytes(4 * (SECONDS + 1) * SAMPLE_RATE))
    heard_until = 0
    with av.open(io.BytesIO(content), mode="r", format="mpegts") as container:
        assert container.streams.audio[0].layout.name == "stereo"
        for frame in container.decode(audio=0):
            start = round(((frame.time or 0) - zero) * SAMPLE_RATE)
            assert abs(start - heard_until) <= 1
            heard_until = start + frame.samples
            track[start:heard_until] = array("f", bytes(frame.planes[0]))[: frame.samples]
    assert heard_until >= SECONDS * SAMPLE_RATE - 1024
    for second in range(1, SECONDS):
        at, margin = second * SAMPLE_RATE, SAMPLE_RATE * 3 // 1000
        before, after = track[at - 10 * margin : at - margin], track[at + margin : at + 10 * margin]
        assert loudness(after) > 8 * loudness(before)


def loudness(samples: Sequence[float]) -> float:
    """Return the root mean square of samples."""
    return math.hypot(*samples) / math.sqrt(len(samples))


@each_rendition
def test_the_multivariant_attributes_are_true(segments: dict[str, list[bytes]], rendition: Rendition) -> None:
    """Profile and level are what the stream says, and the bandwidth is above each segment's but not by much."""
    for content in segments[rendition.name]:
        sps = content.index(b"\x00\x00\x01\x67") + 4
        assert rendition.codecs.split(",")[0] == "avc1." + content[sps : sps + 3].hex().upper()
        rate = len(content) * 8 / SEGMENT_SECONDS
        assert rendition.bandwidth / 2 < rate <= rendition.bandwidth


def test_segments_join_without_a_break_in_their_counters(segments: dict[str, list[bytes]], assets: Path) -> None:
    """Segments that were put together are read by ffmpeg without a word about lost packets or timestamps."""
    whole = assets / "whole.ts"
    whole.write_bytes(b"".join(segments["720p30"]))
    read_back = subprocess.run(
        [FFMPEG, "-hide_banner", "-v", "warning", "-i", str(whole), "-f", "null", "-"], check=True, capture_output=True
    )
    assert read_back.stderr == b""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (clock_text(EPOCH), lambda moment: f"{moment:%H}:{moment:%M}:{moment:%S}.{moment.microsecond // 1000:03}"),
        (date_text(EPOCH), lambda moment: f"{moment:%A}, {moment:%d} {moment:%B} {moment:%Y}"),
    ],
    ids=["clock", "date"],
)
def test_the_text_in_the_picture_is_the_time_of_the_frame(
    assets: Path, text: str, shown: Callable[[datetime], str]
) -> None:
    """Clock and date, over a midnight, are the very pixels of the text of each frame's time, rounded down."""
    count = 3 * FRAME_RATE

    def drawn(what: str) -> str:
        return drawtext(what, at=("10", "10"), size=40, colour=(255, 255, 255))

    times = [shown(moment_of(EPOCH * FRAME_RATE + number)).replace(":", r"\:") for number in range(count)]
    literal = [f"{drawn(time)}:enable='eq(n,{number})'" for number, time in enumerate(times)]
    assert pictures(assets, [drawn(text)], count) == pictures(assets, literal, count)


def pictures(folder: Path, filters: list[str], count: int) -> list[str]:
    """Return a checksum of each of the first pictures that filters draw on black."""
    graph = ",".join([f"color=black:size=600x60:rate={FRAME_RATE},format=gray", *filters])
    command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", graph, "-frames:v", str(count), "-f", "framemd5", "-"]
    made = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return [line.split(",")[-1] for line in made.stdout.splitlines() if not line.startswith("#")]


def test_a_run_begins_on_the_grid() -> None:
    """A second that no segment may start at is refused."""
    with pytest.raises(ValueError, match="grid of 2 seconds"):
        encoder_command(FFMPEG, EPOCH + 1)


@pytest.mark.parametrize(
    ("line", "segment"),
    [
        ("720p30/895000004.ts,0.000000,2.000000\n", ("720p30", 895000004)),
        ("360p30/895000005.ts,85.999978,88.000000\n", ("360p30", 895000005)),
        ("360p30/895000006.ts,4.000000,5.933333\n", None),
    ],
)
def test_a_segment_cut_short_is_not_announced(line: str, segment: tuple[str, int] | None) -> None:
    """A line of the segment list gives rendition and number, but nothing if the segment is short by a frame or more."""
    assert announced(line) == segment


def test_a_child_of_a_dead_parent_does_not_start() -> None:
    """A process whose parent died before it could ask to be told of that ends without running its command."""
    never = dying_with_parent(["echo", "ran"], parent=1 << 30)
    assert subprocess.run(never, check=True, capture_output=True).stdout == b""
