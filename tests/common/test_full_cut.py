"""Full and archive cuts: real encodes of small pictures that tell which one they are."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from common.encoding import (
    AudioCodec,
    Codec,
    Colour,
    Container,
    EncodingError,
    EncodingSettings,
    FieldOrder,
    VideoFormat,
)
from common.ffmpeg import find_ffmpeg, run, stream
from common.full_cut import Sound, Source, archive_command, full_command
from common.transitions import Transition, TransitionError

FFMPEG = find_ffmpeg()
TICKS = 90_000
# Where the clock of every source begins.
FIRST = 10 * TICKS
# A click every half second.
CLICKS = Sound(48_000, 1)
QUICK = EncodingSettings(preset="ultrafast")
# The number of a picture in eight bars; 0 is black.
BARS = "geq=lum='if(bitand(N,pow(2,floor(X*8/W))),235,16)':cb=128:cr=128"
RATE = Fraction(30)
ONE = timedelta(seconds=1)
SOUND_FRAME = 1024 * TICKS / 48_000


@dataclass(frozen=True)
class Clip:
    """A stream of MPEG-TS with numbered pictures."""

    path: Path
    picture: VideoFormat | None
    sound: tuple[Sound, ...]

    def range(self, first: int, end: int) -> Source:
        """The pictures from `first` to before `end`."""
        rate = (self.picture and self.picture.rate) or RATE
        return Source(FIRST + round(first * TICKS / rate), FIRST + round(end * TICKS / rate), self.picture, self.sound)


def make(
    path: Path, picture: VideoFormat | None, sound: tuple[Sound, ...], *filters: str, encoder: Sequence[str] = ()
) -> Clip:
    """Make two seconds or more of a stream that begins at FIRST."""
    command, video = [FFMPEG, "-v", "error", "-y"], list[str]()
    if picture is not None:
        rate = picture.rate or RATE
        source = f"nullsrc=s={picture.width}x{picture.height}:r={rate},trim=end_frame=70"
        command += ["-f", "lavfi", "-i", ",".join([source, "format=yuv420p", BARS, *filters])]
        video = [
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-crf",
            "10",
            "-g",
            "24",
            "-bf",
            "2",
            "-fps_mode",
            "passthrough",
        ]
    for index, each in enumerate(sound):
        tone = f"sine={440 * (index + 1)}:r={each.sample_rate}:d=2.4"
        click = r"aevalsrc=if(lt(mod(t\,0.5)\,0.01)\,sin(2*PI*1000*t)):s=48000:d=2.4"
        command += ["-f", "lavfi", "-i", click if each is CLICKS else tone]
    maps = [word for number in range(bool(picture) + len(sound)) for word in ("-map", str(number))]
    command += [*maps, *video, *encoder, "-c:a", "aac", "-muxdelay", "0", "-muxpreload", "0"]
    subprocess.run([*command, "-output_ts_offset", "10", "-f", "mpegts", path], check=True)
    # B-frames and the encoder's priming move what comes first
    first = min(time for time, _ in packets(path)[0]) if picture else FIRST
    assert first == FIRST
    return Clip(path, picture, sound)


def packets(path: Path) -> list[list[tuple[int, int]]]:
    """Of each stream, when its packets are shown and for how long, in ticks and in order."""
    with av.open(path) as container:
        found: list[list[tuple[int, int]]] = [[] for _ in container.streams]
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                scale = packet.time_base * TICKS
                found[packet.stream_index].append((round(packet.pts * scale), round((packet.duration or 0) * scale)))
    return [sorted(each) for each in found]


def numbers(path: Path) -> list[int]:
    """The numbers in the pictures; -1 where the bars are neither black nor white."""
    with av.open(path) as container:
        return [number(frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]


def number(picture: NDArray[Any]) -> int:
    height, width = picture.shape
    middle = picture[height // 2 - 4 : height // 2 + 4]
    bars = [float(middle[:, int((bar + 0.5) * width / 8)].mean()) for bar in range(8)]
    if any(60 < bar < 190 for bar in bars):
        return -1
    return sum(1 << index for index, bar in enumerate(bars) if bar > 125)


def samples(path: Path, track: int = 0) -> NDArray[np.float32]:
    """The first channel of a track of sound, at 48 kHz."""
    resampler = av.AudioResampler("fltp", "mono", 48_000)
    with av.open(path) as container:
        heard = [
            piece.to_ndarray()[0] for frame in container.decode(audio=track) for piece in resampler.resample(frame)
        ]
    return np.concatenate(heard)


async def feed(path: Path) -> AsyncIterator[bytes]:
    data = await asyncio.to_thread(path.read_bytes)
    for at in range(0, len(data), 1 << 16):
        yield data[at : at + (1 << 16)]


async def cut(
    target: Path,
    clips: Sequence[Clip],
    sources: Sequence[Source],
    transitions: Sequence[Transition | None] = (),
    settings: EncodingSettings = QUICK,
) -> timedelta:
    """Make a cut and give the duration that it was said to have."""
    command = full_command(FFMPEG, sources, transitions or [None] * (len(sources) - 1), settings, str(target))
    inputs = [feed(clip.path) for clip in clips]
    await run(command.arguments, inputs=inputs, timeout=120, purpose="test", output=target)
    return command.duration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return make(folder / "clip.ts", VideoFormat("h264", 160, 90, rate=RATE), (Sound(48_000, 1),))


@pytest.fixture(scope="module")
def other(folder: Path) -> Clip:
    """Another size and rate, of pictures and of sound."""
    return make(folder / "other.ts", VideoFormat("h264", 320, 180, rate=Fraction(25)), (Sound(44_100, 1),))


@pytest.fixture(scope="module")
def mute(folder: Path) -> Clip:
    return make(folder / "mute.ts", VideoFormat("h264", 160, 90, rate=RATE), ())


def even(times: Sequence[tuple[int, int]], rate: Fraction, at: int = 0) -> bool:
    """Whether each picture follows the one before it at this rate, within a tick, from `at` on."""
    return all(abs(time - at - round(index * TICKS / rate)) <= 1 for index, (time, _) in enumerate(times))


async def test_a_range_is_cut_to_the_picture(clip: Clip, tmp_path: Path) -> None:
    """A range holds exactly its pictures, from zero on, and as much sound."""
    target = tmp_path / "cut.mp4"
    assert await cut(target, [clip], [clip.range(7, 49)]) == timedelta(seconds=1.4)
    assert numbers(target) == [*range(7, 49)]
    pictures, sound = packets(target)
    assert even(pictures, RATE)
    assert abs(sum(sound[-1]) - 1.4 * TICKS) <= SOUND_FRAME
    assert abs(sum(pictures[-1]) - 1.4 * TICKS) <= 1
    assert target.read_bytes().find(b"moov") < target.read_bytes().find(b"mdat")  # plays before it is loaded


async def test_ranges_join_without_a_gap(clip: Clip, other: Clip, mute: Clip, tmp_path: Path) -> None:
    """Ranges of other sizes and rates, one silent, one a single picture, follow each other to the tick."""
    target = tmp_path / "cut.mp4"
    sources = [clip.range(3, 20), other.range(10, 35), mute.range(0, 30), clip.range(40, 41), clip.range(1, 31)]
    length = await cut(target, [clip, other, mute, clip, clip], sources)
    assert numbers(target) == [*range(3, 20), *range(10, 35), *range(30), 40, *range(1, 31)]
    pictures, sound = packets(target)
    joins = [0, 17 * 3000, 17 * 3000 + TICKS, 47 * 3000 + TICKS, 48 * 3000 + TICKS]
    assert even(pictures[:17], RATE)
    assert even(pictures[17:42], Fraction(25), joins[1])
    assert even(pictures[42:72], RATE, joins[2])
    assert even(pictures[72:], RATE, joins[3])
    assert abs(sum(pictures[-1]) - length.total_seconds() * TICKS) <= 1
    assert abs(sum(sound[-1]) - length.total_seconds() * TICKS) <= SOUND_FRAME
    loud = samples(target)
    quiet = loud[round((17 / 30 + 1.1) * 48_000) : round((17 / 30 + 1.9) * 48_000)]
    assert np.abs(quiet).max() < 0.001
    assert np.abs(loud[round(0.1 * 48_000) : round(1.4 * 48_000)].reshape(-1, 480)).max(axis=1).min() > 0.05
    with av.open(target) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (160, 90)
        assert container.streams.audio[0].sample_rate == 48_000


def clicks(path: Path) -> list[float]:
    """When a click begins, in seconds: where it is loud after a tenth of a second of silence."""
    with av.open(path) as container:
        pieces = [(frame.time or 0.0, frame.sample_rate, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    loud = [start + index / rate for start, rate, piece in pieces for index in np.flatnonzero(np.abs(piece) > 0.2)]
    return [time for before, time in pairwise([-1.0, *loud]) if time - before > 0.1]


async def test_sound_keeps_to_the_pictures(folder: Path, tmp_path: Path) -> None:
    """A click is heard with its picture, behind hard joins and transitions as at the start."""
    made = make(folder / "clicks.ts", VideoFormat("h264", 160, 90, rate=RATE), (CLICKS,))
    target = tmp_path / "cut.mp4"
    # a click belongs to pictures 0, 15, 30, 45 and 60
    sources = [made.range(7, 37), made.range(25, 50), made.range(8, 35), made.range(44, 70)]
    await cut(target, [made] * 4, sources, [None, Transition("fade", ONE / 6), None])
    places = [8, 23, 30 + 5, 30 + 20, 50 + 7, 50 + 22, 77 + 1, 77 + 16]
    assert clicks(target) == pytest.approx([place / 30 for place in places], abs=0.004)
    assert len(numbers(target)) == 103


async def test_sound_that_begins_late_stays_late(folder: Path, tmp_path: Path) -> None:
    """Where a range begins before its stream has anything to hear, there is silence of that length."""
    made = make(folder / "late.ts", VideoFormat("h264", 160, 90, rate=RATE), (CLICKS,))
    target = tmp_path / "cut.mp4"
    await cut(target, [made, made], [replace(made.range(0, 40), start=FIRST - TICKS // 2), made.range(14, 30)])
    assert clicks(target) == pytest.approx([0.5, 1.0, 1.5, 56 / 30], abs=0.004)
    pictures, _ = packets(target)
    assert even(pictures, RATE, TICKS // 2)


async def test_transitions_overlap(clip: Clip, mute: Clip, other: Clip, tmp_path: Path) -> None:
    """Ranges share the pictures of their transitions; all others are untouched, and a hard join may follow."""
    target = tmp_path / "cut.mp4"
    sources = [clip.range(5, 45), other.range(10, 45), mute.range(0, 30), clip.range(50, 60)]
    half, short = Transition("fade", ONE / 2), Transition("clock", ONE / 3)
    length = await cut(target, [clip, other, mute, clip], sources, [half, short, None])
    # 40, 42 and 30 pictures at 30 a second, less 15 and 10; then 10 more
    assert length == timedelta(seconds=97 / 30)
    seen = numbers(target)
    assert len(seen) == 97
    assert seen[:25] == [*range(5, 30)]
    assert seen[67:87] == [*range(10, 30)]
    assert seen[87:] == [*range(50, 60)]
    # between the two transitions 25 pictures a second are shown at 30
    between = seen[40:57]
    assert between == sorted(between)
    assert {*range(23, 36)} <= {*between}
    pictures, sound = packets(target)
    assert even(pictures, RATE)
    assert abs(sum(sound[-1]) - 97 * 3000) <= SOUND_FRAME
    with av.open(target) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


async def test_a_transition_may_take_whole_ranges(clip: Clip, tmp_path: Path) -> None:
    """A transition as long as both ranges leaves nothing but itself."""
    target = tmp_path / "cut.mp4"
    await cut(target, [clip, clip], [clip.range(0, 15), clip.range(30, 45)], [Transition("wipeleft", ONE / 2)])
    pictures, _ = packets(target)
    assert len(pictures) == 15
    assert even(pictures, RATE)


async def test_a_variable_rate_is_kept(folder: Path, clip: Clip, tmp_path: Path) -> None:
    """Pictures without a constant rate keep their times, over a hard join too."""
    picture = VideoFormat("h264", 160, 90)
    uneven = "settb=1/90000,setpts=N*3000+mod(N*N\\,7)*200"
    made = make(folder / "variable.ts", picture, (), uneven, encoder=["-enc_time_base", "1:90000"])
    times = [number * 3000 + number * number % 7 * 200 for number in range(70)]
    target = tmp_path / "cut.mp4"
    source = Source(FIRST + times[4], FIRST + times[40], picture)
    await cut(target, [made, clip], [source, replace(clip.range(0, 10), sound=())])
    assert numbers(target) == [*range(4, 40), *range(10)]
    (pictures,) = packets(target)
    expected = [time - times[4] for time in times[4:40]] + [times[40] - times[4] + index * 3000 for index in range(10)]
    assert [time for time, _ in pictures] == expected


async def test_tracks_that_all_have_are_kept(folder: Path, clip: Clip, tmp_path: Path) -> None:
    """Two tracks of sound stay two, one of them is dropped where the other range has but one."""
    two = make(folder / "two.ts", VideoFormat("h264", 160, 90, rate=RATE), (Sound(48_000, 1), Sound(44_100, 1)))
    await cut(tmp_path / "two.mp4", [two], [two.range(0, 30)])
    await cut(tmp_path / "one.mp4", [two, clip], [two.range(0, 30), clip.range(0, 30)])
    assert len(packets(tmp_path / "two.mp4")) == 3
    assert len(packets(tmp_path / "one.mp4")) == 2
    # a tone of 880 Hz goes through zero 1760 times a second
    second = samples(tmp_path / "two.mp4", 1)[4800:43_200]
    assert abs(np.count_nonzero(np.diff(np.signbit(second))) - 1760 * 0.8) < 10


async def test_sound_alone_is_cut_to_the_sample(folder: Path, tmp_path: Path) -> None:
    """Ranges without pictures are joined by their samples."""
    made = make(folder / "sound.ts", None, (Sound(48_000, 1),))
    source = Source(FIRST + 12_345, FIRST + 12_345 + TICKS // 2, None, made.sound)
    target = tmp_path / "cut.mkv"
    settings = EncodingSettings(container=Container.MATROSKA, audio_codec=AudioCodec.OPUS)
    assert await cut(target, [made, made], [source, source], [None], settings) == ONE
    assert abs(len(samples(target)) - 48_000) <= 960


async def test_pictures_of_another_shape_are_framed(folder: Path, clip: Clip, tmp_path: Path) -> None:
    """A picture that is less wide than the first ones keeps its shape, with black on both sides."""
    white = make(folder / "white.ts", VideoFormat("h264", 64, 48, rate=RATE), (), "geq=lum=235:cb=128:cr=128")
    await cut(tmp_path / "cut.mp4", [clip, white], [clip.range(0, 5), white.range(0, 5)])
    with av.open(tmp_path / "cut.mp4") as container:
        last = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)][-1]
    assert [int(last[45, x]) > 128 for x in (4, 15, 25, 80, 134, 144, 155)] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert min(last[2, 80], last[87, 80]) > 200


async def test_odd_sides_are_made_even(folder: Path, tmp_path: Path) -> None:
    """A picture with odd sides loses a line or a column, as its codec wants."""
    picture = VideoFormat("h264", 161, 91, "yuv444p", RATE)
    made = make(folder / "odd.ts", picture, (), "format=yuv444p", encoder=["-pix_fmt", "yuv444p"])
    await cut(tmp_path / "cut.mp4", [made], [made.range(0, 9)])
    with av.open(tmp_path / "cut.mp4") as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.codec_context.pix_fmt) == (160, 90, "yuv420p")


async def test_colours_are_kept_and_brought_together(folder: Path, clip: Clip, tmp_path: Path) -> None:
    """What colours mean is told by the result as by the first range, and the pictures of others are converted."""
    bt709, bt601 = Colour(1, 1, 1, full_range=False), Colour(6, 6, 6, full_range=False)

    def coloured(name: str, colour: Colour) -> Clip:
        picture = VideoFormat("h264", 160, 90, rate=RATE, colour=colour)
        codes = f"setparams=color_primaries={colour.primaries}:color_trc={colour.transfer}:colorspace={colour.matrix}"
        return make(folder / name, picture, (), f"{codes}:range=tv")

    new, old = coloured("bt709.ts", bt709), coloured("bt601.ts", bt601)
    await cut(tmp_path / "cut.mp4", [new, old], [new.range(0, 9), old.range(0, 9)])
    with av.open(tmp_path / "cut.mp4") as container:
        told = container.streams.video[0].codec_context
        assert (told.color_primaries, told.color_trc, told.colorspace, told.color_range) == (1, 1, 1, 1)
    assert numbers(tmp_path / "cut.mp4") == [*range(9), *range(9)]


async def test_fields_become_pictures(folder: Path, tmp_path: Path) -> None:
    """Interlaced pictures are deinterlaced, one for one."""
    picture = VideoFormat("h264", 160, 96, rate=RATE, field_order=FieldOrder.TOP_FIRST)
    flags = ["-flags", "+ildct+ilme", "-x264-params", "tff=1"]
    made = make(folder / "fields.ts", picture, (), "setfield=tff", encoder=flags)
    await cut(tmp_path / "cut.mp4", [made], [made.range(3, 23)])
    assert numbers(tmp_path / "cut.mp4") == [*range(3, 23)]
    with av.open(tmp_path / "cut.mp4") as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))


@pytest.mark.parametrize(
    ("codec", "container", "preset"),
    [
        (Codec.HEVC, Container.MP4, "ultrafast"),
        (Codec.AV1, Container.WEBM, "13"),
        (Codec.VP9, Container.WEBM, "8"),
        (Codec.H264, Container.MPEGTS, "ultrafast"),
        (Codec.AV1, Container.MATROSKA, "13"),
    ],
)
async def test_codecs_and_containers(
    clip: Clip, tmp_path: Path, codec: Codec, container: Container, preset: str
) -> None:
    """Every codec and container that fit makes the same pictures over a join; what can be streamed is."""
    settings = EncodingSettings(codec, container, preset=preset)
    target = tmp_path / "cut"
    sources = [clip.range(2, 12), clip.range(40, 50)]
    if container is Container.MP4:
        await cut(target, [clip, clip], sources, [None], settings)
    else:
        command = full_command(FFMPEG, sources, [None], settings, "pipe:1").arguments
        inputs = [feed(clip.path), feed(clip.path)]
        async with aclosing(stream(command, inputs=inputs, timeout=60, purpose="test")) as output:
            target.write_bytes(b"".join([chunk async for chunk in output]))
    assert numbers(target) == [*range(2, 12), *range(40, 50)]
    with av.open(target) as made:
        assert made.streams.video[0].codec_context.codec.canonical_name == codec
        assert made.streams.audio[0].codec_context.codec.canonical_name == (
            "opus" if container is Container.WEBM else "aac"
        )


async def test_an_archive_copies_every_track(folder: Path, tmp_path: Path) -> None:
    """An archive holds the packets of all tracks as they were, and no data."""
    two = make(folder / "kept.ts", VideoFormat("h264", 160, 90, rate=RATE), (Sound(48_000, 1), Sound(44_100, 1)))
    target = tmp_path / "cut.mkv"
    await run(archive_command(FFMPEG, str(target)), inputs=[feed(two.path)], timeout=60, purpose="test", output=target)
    before, after = packets(two.path), packets(target)
    assert [len(each) for each in after] == [len(each) for each in before]
    # in milliseconds, and from where the first track begins
    for old, new in zip(before, after, strict=True):
        moved = [new_time - old_time for (old_time, _), (new_time, _) in zip(old, new, strict=True)]
        assert max(moved) - min(moved) <= 90
    assert numbers(target) == [*range(70)]


PICTURE = VideoFormat("h264", 160, 90, rate=RATE)


@pytest.mark.parametrize(
    ("sources", "transitions", "error", "sentence"),
    [
        ([], [], EncodingError, "needs ranges"),
        ([Source(0, 900, PICTURE)], [None], EncodingError, "one transition less"),
        ([Source(0, 900, None)], [], EncodingError, "neither picture nor sound"),
        ([Source(0, 900, PICTURE), Source(0, 900, None)], [None], EncodingError, "has no picture"),
        (
            [Source(0, TICKS, PICTURE), Source(0, TICKS * 3, PICTURE)],
            [Transition("fade", 2 * ONE)],
            TransitionError,
            "A transition of 2 seconds does not fit into a range of 1 seconds",
        ),
        (
            [Source(0, TICKS * 3, PICTURE), Source(0, TICKS, PICTURE), Source(0, TICKS * 3, PICTURE)],
            [Transition("fade", ONE * 0.6), Transition("fade", ONE * 0.5)],
            TransitionError,
            "A transition of 0.6 seconds does not fit",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    sources: list[Source], transitions: list[Transition | None], error: type[Exception], sentence: str
) -> None:
    """What cannot be joined is refused with a sentence."""
    with pytest.raises(error, match=sentence):
        full_command(FFMPEG, sources, transitions, QUICK, "pipe:1")


def test_an_empty_range_is_refused() -> None:
    """A range without an instant is none."""
    with pytest.raises(EncodingError, match="is empty"):
        Source(900, 900, PICTURE)


def test_a_path_is_nothing_but_a_path() -> None:
    """A file name that looks like an option or another protocol is a file all the same."""
    command = full_command(FFMPEG, [Source(0, 900, PICTURE)], [], QUICK, "http://x").arguments
    assert "file:http://x" in command
    assert "http://x" not in command
