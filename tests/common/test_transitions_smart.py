"""Transitions in cuts to the frame: nothing but the pictures and the sound that they touch is encoded again."""

import io
import subprocess
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from checks import assert_in_sync, assert_like, assert_numbers, assert_steady, copied_numbers
from common.blends import Blend
from common.cuts import NothingRecordedError, SplicePlan, VideoRange
from common.cutting import Order, gather
from common.pieces import CannotSpliceError
from common.preview import make_preview, plan_preview
from common.sidecar import FactsStore
from common.smart import plan, splice
from common.transitions import Transition, TransitionError
from common.verify import expected_of, verify
from common.waits import in_thread
from complaints import complaints
from marked import HEIGHT, TICKS, WIDTH, SourceKind, read_number
from seen import Picture, Seen, read, read_once
from source import Source, make_source

FADE = Transition("fade", timedelta(seconds=1))

KINDS = {
    "B-frames": SourceKind(seconds=8, b_frames=3),
    "59.94 Hz, two sounds of 44.1 kHz, a clock that wraps": SourceKind(
        seconds=8, fps=Fraction(60_000, 1001), tracks=2, rate=44_100, wraps=True
    ),
    "MPEG sound that runs ahead, timed ID3": SourceKind(seconds=8, sound="mp2", id3=True, skew=0.064),
    "HEVC": SourceKind(seconds=8, codec="hevc", b_frames=3, open_gop=True),
    "interlaced": SourceKind(seconds=8, fps=Fraction(25), interlaced=True),
    "AC-3, segments cut anywhere": SourceKind(seconds=8, sound="ac3", gop=70, cut_at_keys=False, b_frames=3),
}

Seconds = tuple[float, float]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def moment(source: Source, second: float) -> datetime:
    return source.start + timedelta(seconds=second)


def planned(source: Source, ranges: Sequence[Seconds], *transitions: Transition | None) -> tuple[SplicePlan, Order]:
    wanted = tuple(VideoRange(moment(source, start), moment(source, end)) for start, end in ranges)
    order = Order(source.channel, source.quality, wanted, allow_holes=True)
    gathered = gather(source.store, FactsStore(source.store), order)
    return plan(gathered.reading, gathered.ranges, transitions), order


async def cut(source: Source, ranges: Sequence[Seconds], *transitions: Transition | None) -> tuple[bytes, SplicePlan]:
    splicing, order = await in_thread(planned, source, ranges, *transitions)
    gathered = await in_thread(gather, source.store, FactsStore(source.store), order)
    made = bytearray()
    async with aclosing(splice(gathered.reading, splicing)) as parts:
        async for packets in parts:
            made += packets.data
    return bytes(made), splicing


def numbers(source: Source, start: float, end: float) -> list[int]:
    return source.between(moment(source, start), moment(source, end))


def part(seen: Seen, begin: int, end: int) -> Seen:
    """Give some of the pictures alone."""
    return replace(seen, pictures=seen.pictures[begin:end])


def luma(picture: Picture) -> NDArray[np.float64]:
    assert picture.planes is not None
    return picture.planes[: WIDTH * HEIGHT].astype(np.float64)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_a_transition_touches_only_its_own_pictures(folder: Path, kind: SourceKind, tmp_path: Path) -> None:
    """All pictures before and after are those of the ranges, most of them copied; in the middle each half of both."""
    source = make_source(folder, kind)
    made, splicing = await cut(source, [(3.13, 6.61), (1.27, 4.9)], FADE)
    seen, reference = read(made), read_once(source.reference)
    count = round(kind.fps)
    ending, beginning = numbers(source, 3.13, 6.61), numbers(source, 1.27, 4.9)
    before, after = ending[:-count], beginning[count:]
    assert len(seen.pictures) == len(ending) + len(beginning) - count
    assert_numbers(part(seen, 0, len(before)), before)
    assert_numbers(part(seen, len(before) + count, len(seen.pictures)), after)
    for shown in (part(seen, 0, len(before)), part(seen, len(before) + count, len(seen.pictures))):
        copied = copied_numbers(shown, reference)
        assert len(copied) > len(shown.pictures) / 5
        assert_like(shown, reference, sorted({*shown.numbers} - {*copied}))
    for at in (0, count // 4, count // 2, count - 1):
        share = 1 - at / count
        wanted = share * luma(reference.pictures[ending[at - count]])
        wanted += (1 - share) * luma(reference.pictures[beginning[at]])
        assert np.abs(luma(seen.pictures[len(before) + at]) - wanted).mean() < 3
    assert_steady(seen)
    assert_formats_same(made, source)
    assert complaints(made) == []
    path = tmp_path / "cut.ts"
    path.write_bytes(made)
    await in_thread(verify, path, expected_of(splicing))

    blended = [replace(picture, number=None) for picture in seen.pictures[len(before) : len(before) + count]]
    known = replace(seen, pictures=(*seen.pictures[: len(before)], *blended, *seen.pictures[len(before) + count :]))
    assert_in_sync(known, source)
    edges = (ending[-count], blended[0].pts), (beginning[count], seen.pictures[len(before) + count].pts)
    for number, time in edges:
        assert_sounds_alike(made, time, source, source.frames[number].pts)


def assert_sounds_alike(made: bytes, time: int, source: Source, source_time: int) -> None:
    """Check that what is heard around a join of copied and encoded sound is what the source has there, without a click.

    There the other range is hardly heard. Sounds may be moved by half a frame.
    """
    reference = source.reference.read_bytes()
    for track in range(source.kind.tracks):
        ours, theirs = heard(made, track, time), heard(reference, track, source_time)
        middle = len(ours) // 2
        short = ours[middle - 1500 : middle + 1500]
        near = np.lib.stride_tricks.sliding_window_view(theirs[middle - 2300 : middle + 2300], len(short))
        assert np.abs(near - short).max(axis=1).min() < 0.012


def heard(content: bytes, track: int, time: int) -> NDArray[np.float32]:
    """Give what is heard within 80 ms of a time, by the times that the packets say."""
    begin, rate, samples = sound_of(content, track)
    middle, around = round((time % (1 << 33) - begin) * rate / TICKS), round(0.08 * rate)
    return samples[middle - around : middle + around]


@lru_cache(maxsize=8)
def sound_of(content: bytes, track: int) -> tuple[int, int, NDArray[np.float32]]:
    """Give when a sound begins, its rate, and its samples."""
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.audio[track]
        frames = [
            (round(frame.pts * frame.time_base * TICKS), frame.sample_rate, frame.to_ndarray()[0])
            for frame in container.decode(stream)
            if frame.pts is not None and frame.time_base is not None
        ]
    begin, rate, _ = frames[0]
    samples = np.concatenate([samples for _, _, samples in frames]).astype(np.float32)
    if np.abs(samples).max() > 2:
        samples /= 32768
    return begin, rate, samples


def assert_formats_same(made: bytes, source: Source) -> None:
    """Check that every picture has the pixel format, profile and colour of the source."""
    assert formats(made) == formats(source.reference.read_bytes(), first=1)


def formats(content: bytes, first: int | None = None) -> set[tuple[object, ...]]:
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        return {
            (frame.format.name, frame.colorspace, frame.color_range, stream.codec_context.profile)
            for frame in islice(container.decode(stream), first)
        }


async def test_ranges_may_be_all_transition(folder: Path, tmp_path: Path) -> None:
    """Transitions follow each other without anything between them, at the beginning and at the end of a video too."""
    source = make_source(folder, SourceKind(seconds=8, b_frames=3))
    half = Transition("wipeleft", timedelta(seconds=0.5))
    made, splicing = await cut(source, [(1.03, 1.53), (6.03, 7.03), (3.03, 3.53)], half, half)
    seen = read(made)
    assert [len(part.pts) for part in splicing.pieces if isinstance(part, Blend)] == [15, 15]
    assert len(seen.pictures) == 30
    assert_steady(seen)
    assert complaints(made) == []
    path = tmp_path / "cut.ts"
    path.write_bytes(made)
    await in_thread(verify, path, expected_of(splicing))


async def test_hard_joins_and_transitions_mix(folder: Path) -> None:
    """Of several ranges some are joined by transitions and some hard, and each picture is where it belongs."""
    source = make_source(folder, SourceKind(seconds=8, b_frames=3))
    ranges = [(1.0, 3.0), (5.0, 7.0), (4.0, 6.0)]
    made, _ = await cut(source, ranges, None, Transition("fade", timedelta(seconds=0.5)))
    seen = read(made)
    before = [*numbers(source, 1.0, 3.0), *numbers(source, 5.0, 6.5)]
    assert_numbers(part(seen, 0, len(before)), before)
    assert_numbers(part(seen, len(before) + 15, len(seen.pictures)), numbers(source, 4.5, 6.0))
    assert_steady(seen)
    assert complaints(made) == []


@pytest.mark.parametrize(
    ("ranges", "transitions", "sentence"),
    [
        ([(1.0, 1.5), (4.0, 6.0)], [FADE], "does not fit into the 0.5 seconds"),
        ([(1.0, 3.0), (4.0, 4.7)], [FADE], "does not fit into the 0.7 seconds"),
        ([(1.0, 3.0), (4.0, 5.5), (1.0, 3.0)], [FADE, FADE], "does not fit into the 0.5 seconds"),
        ([(1.0, 10.5), (1.0, 3.0)], [FADE], "leads into a hole"),
        ([(1.0, 3.0), (14.0, 16.0)], [FADE], "(?i)nothing is recorded"),
    ],
)
def test_a_transition_that_does_not_fit_is_refused(
    folder: Path, ranges: list[Seconds], transitions: list[Transition], sentence: str
) -> None:
    """A transition longer than what a range has left, or into what is not there, is refused in one sentence."""
    source = make_source(folder, SourceKind(seconds=8, b_frames=3))
    with pytest.raises((TransitionError, NothingRecordedError), match=sentence):
        planned(source, ranges, *transitions)


def test_a_transition_over_a_hole_is_refused(folder: Path, tmp_path: Path) -> None:
    """Where the recording breaks within a transition, that is said; beside it, it does not matter."""
    source = make_source(folder, SourceKind(seconds=8, b_frames=3)).copy(tmp_path)
    source.drop(2)
    with pytest.raises(TransitionError, match="leads over a break"):
        planned(source, [(0.5, 6.4), (5.0, 7.9)], FADE)
    planned(source, [(0.5, 7.9), (1.0, 3.9)], FADE)


def test_what_has_no_constant_rate_is_not_spliced(folder: Path) -> None:
    """Of pictures at uneven times no transition is made among copied ones."""
    source = make_source(folder, SourceKind(seconds=6, variable=True))
    with pytest.raises(CannotSpliceError, match="constant rate"):
        planned(source, [(0.5, 2.5), (3.0, 5.0)], FADE)


def test_sources_of_different_size_are_not_spliced(folder: Path, tmp_path: Path) -> None:
    """Of pictures of two sizes no transition is made among copied ones."""
    source = make_source(folder, SourceKind(seconds=8, b_frames=3)).copy(tmp_path)
    source = source.record(3, smaller(source.path(3).read_bytes()))
    with pytest.raises(CannotSpliceError, match="320x180 to 160x90"):
        planned(source, [(0.5, 3.5), (6.2, 7.9)], FADE)


def smaller(content: bytes) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-copyts", "-i", "-", "-vf", "scale=160:90", "-bf", "0"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "copy",
        "-muxdelay",
        "0",
        "-mpegts_copyts",
        "1",
        "-f",
        "mpegts",
        "-",
    ]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout


@pytest.mark.parametrize("kind", ["fade", "filmburn"])
async def test_a_preview_shows_a_second_on_each_side(folder: Path, kind: str) -> None:
    """A preview begins a second before a transition and ends one after it, in small pictures and with its sound."""
    source = make_source(folder, SourceKind(seconds=8, b_frames=3))
    ranges = tuple(VideoRange(moment(source, start), moment(source, end)) for start, end in ((1.0, 4.5), (3.2, 7.0)))
    order = Order(source.channel, source.quality, ranges, transitions=(Transition(kind, timedelta(seconds=1)),))
    made = bytearray()
    prepared = await in_thread(plan_preview, source.store, FactsStore(source.store), order)
    async with aclosing(make_preview(prepared)) as chunks:
        async for chunk in chunks:
            made += chunk
    with av.open(io.BytesIO(made), "r") as container:
        pictures = [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in container.decode(video=0)]
    with av.open(io.BytesIO(made), "r") as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert len(pictures) == 90
    assert pictures[0].shape == (360, 640)
    assert abs(samples - 3 * 48_000) < 3 * 1024
    shown = [read_number(picture[::2, ::2]) for picture in (*pictures[:30], *pictures[61:])]
    first, last = numbers(source, 2.5, 3.5), numbers(source, 4.2, 5.2)
    assert shown == [*first, *last[1:]]
