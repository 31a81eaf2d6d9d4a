"""Cuts of what MPEG-TS does not carry: AV1 in fragmented MP4, exact to the frame, copied and sound."""

import resource
import signal
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from checks import (
    assert_exact,
    assert_numbers,
    assert_steady,
    copied_numbers,
    identified,
)
from common.av1 import read_unit
from common.coverage import ContainsHolesError
from common.cuts import CutType, VideoRange
from common.cutting import (
    DEFAULT_SETTINGS,
    Made,
    Order,
    gather,
    make_archive,
    make_full,
    make_rough,
    make_smart,
    plan_smart,
)
from common.encoding import Container
from common.pieces import CannotSpliceError
from common.ranges import UnreadableSegmentError
from common.sidecar import FactsStore
from common.transitions import Transition
from common.verify import VerificationError, expected_of, verify
from common.waits import in_thread
from complaints import complaints
from marked import SourceKind
from seen import read, read_once
from source import Source, make_source, source_of

KIND = SourceKind(codec="av1", container="fmp4", seconds=6)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture
def source(folder: Path) -> Source:
    return make_source(folder, KIND)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A name for the video in a folder that is empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "video"


def ordered(source: Source, *ranges: tuple[float, float], allow_holes: bool = False) -> Order:
    """Order ranges that are told in seconds from the start of the source."""
    wanted = [VideoRange(*(source.start + timedelta(seconds=each) for each in pair)) for pair in ranges]
    return Order(source.channel, source.quality, tuple(wanted), allow_holes)


async def smart(source: Source, order: Order, output: Path, container: Container = Container.MP4) -> Made:
    gathered = await in_thread(gather, source.store, FactsStore(source.store), order)
    return await make_smart(gathered, order, container, output)


def numbers_of(source: Source, order: Order) -> list[int]:
    return [number for wanted in order.ranges for number in source.between(*wanted)]


def from_keys_on(source: Source, order: Order) -> set[int]:
    """Tell which pictures can be copied: all of a range from its first key frame on."""
    keys = [frame.number for frame in source.frames if frame.key]
    due: set[int] = set()
    for wanted in order.ranges:
        numbers = source.between(*wanted)
        due |= {number for number in numbers if number >= min((key for key in keys if key in numbers), default=10**6)}
    return due


@pytest.mark.parametrize(
    ("container", "ranges"),
    [(Container.MP4, [(3.61, 5.5), (1.4, 2.8)]), (Container.MATROSKA, [(1.51, 4.5)])],
    ids=["two ranges in MP4", "one range in Matroska"],
)
async def test_a_cut_is_exact_to_the_frame(
    source: Source, output: Path, container: Container, ranges: list[tuple[float, float]]
) -> None:
    """All from the first key frame on is copied, the end too; only what is before it is encoded again."""
    order = ordered(source, *ranges)
    made = await smart(source, order, output, container)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    numbers = numbers_of(source, order)
    assert made.frames == len(numbers)
    _, copied = assert_exact(output, source, numbers, joins=len(ranges) - 1)
    assert {*copied} >= from_keys_on(source, order)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.parametrize(
    "changes",
    [
        {"fps": Fraction(60_000, 1001), "rate": 44_100},
        {"variable": True, "tracks": 2},
        {"open_gop": True, "gop": 70, "cut_at_keys": False, "sound": None},
    ],
    ids=["59.94 Hz and 44.1 kHz", "uneven times and two sounds", "delayed key frames, segments cut anywhere"],
)
async def test_whatever_the_source_is_like(folder: Path, output: Path, changes: dict[str, Any]) -> None:
    """Rates, sounds and key frames of all kinds: exactly the pictures of the range, at their times."""
    source = make_source(folder, replace(KIND, seconds=4, **changes))
    order = ordered(source, (0.7, 3.2))
    made = await smart(source, order, output)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    _, copied = assert_exact(output, source, numbers_of(source, order))
    assert {*copied} >= from_keys_on(source, order)


def first_picture(path: Path) -> tuple[bytes, tuple[object, ...]]:
    """Give the sequence header of a file's first picture, and what a decoder makes of it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        header = read_unit(bytes(next(container.demux(stream)))).parameters
        container.seek(0)
        frame, context = next(container.decode(stream)), stream.codec_context
        told = (context.profile, context.level, context.width, context.height, frame.format.name)
        return header, (*told, frame.colorspace, frame.color_range, context.color_primaries, context.color_trc)


async def test_what_is_encoded_is_as_the_source(source: Source, output: Path) -> None:
    """Profile, level, size, samples and colours are those of the source, though coded by another sequence header."""
    await smart(source, ordered(source, (1.61, 2.5)), output)
    (ours, made), (theirs, recorded) = first_picture(output), first_picture(source.reference)
    assert made == recorded
    assert ours != theirs


async def test_webm_holds_what_it_may(folder: Path, output: Path) -> None:
    """AV1 goes into WebM as it is, where no sound stands against that."""
    source = make_source(folder, replace(KIND, sound=None))
    made = await smart(source, order := ordered(source, (1.61, 2.5)), output, Container.WEBM)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    assert_exact(output, source, numbers_of(source, order))


# What cannot be copied ------------------------------------------------------------------------------------------------


def program(path: Path, encoder: str) -> Path:
    """Write an ffmpeg that says it has a single encoder, and is the real one in all else."""
    listed = f'*" -encoders"*) echo " V..... {encoder} (codec of it)";;'
    path.write_text(f'#!/bin/sh\ncase " $*" in\n{listed}\n*) exec {get_ffmpeg_exe()} "$@";;\nesac\n')
    path.chmod(0o755)
    return path


async def test_an_ffmpeg_that_cannot_encode_av1_takes_another_codec(
    source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an encoder the cut is a full one and says so; where nothing must be encoded, none is missed."""
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program(tmp_path / "ffmpeg", "libx264")))
    order = ordered(source, (1.21, 2.4))
    made = await smart(source, order, output)
    assert (made.kind, made.reason) == (CutType.FULL, "The ffmpeg at hand cannot encode AV1.")
    assert_numbers(read(output), numbers_of(source, order))
    made = await smart(source, ordered(source, (2.0, 3.0)), output)
    assert (made.kind, made.reason) == (CutType.SMART, None)


async def test_libaom_will_do(source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other encoder of AV1 gives pictures that fit as well."""
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program(tmp_path / "ffmpeg", "libaom-av1")))
    order = ordered(source, (1.61, 3.0))
    made = await smart(source, order, output)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    assert_exact(output, source, numbers_of(source, order))


@pytest.mark.parametrize(
    ("container", "codec"),
    [(Container.MATROSKA, "h264"), (Container.MPEGTS, "h264")],
)
async def test_all_can_be_encoded_anew(source: Source, output: Path, container: Container, codec: str) -> None:
    """A full cut goes into any container, transitions and all."""
    order = replace(ordered(source, (1.21, 2.4), (4.1, 5.2)), transitions=(Transition("fade", timedelta(seconds=0.5)),))
    gathered = await in_thread(gather, source.store, FactsStore(source.store), order)
    await make_full(gathered, order, DEFAULT_SETTINGS[container], output)
    seen = read(output)
    numbers = seen.numbers
    assert not seen.errors
    assert len(numbers) == len(numbers_of(source, order)) - 15
    assert numbers[:15] == numbers_of(source, order)[:15]
    with av.open(str(output)) as opened:
        assert opened.streams.video[0].codec_context.codec.canonical_name == codec


# Holes ----------------------------------------------------------------------------------------------------------------


async def test_a_hole_is_left_out_if_allowed(source: Source, output: Path, tmp_path: Path) -> None:
    """What is there goes on at once where it can be copied; refused, the hole is told."""
    holed = source.copy(tmp_path / "holed")
    holed.drop(1)
    with pytest.raises(ContainsHolesError):
        await smart(holed, ordered(holed, (1.4, 5.2)), output)
    order = ordered(holed, (1.4, 5.2), allow_holes=True)
    made = await smart(holed, order, output)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    left = [number for number in numbers_of(source, order) if source.frames[number].segment != 1]
    assert_exact(output, source, left, joins=1)


@pytest.mark.parametrize(("damage", "sound"), [("noise", None), ("truncated", "aac"), ("partial", None)])
async def test_damage_is_named_or_left_out(
    folder: Path, output: Path, tmp_path: Path, damage: str, sound: Literal["aac"] | None
) -> None:
    """Refused, the segment is named; allowed, it goes in as far as picture and sound are all there, and all the rest.

    Here a segment is one fragment, which holds its pictures first and its sound after them.
    """
    source = make_source(folder, replace(KIND, sound=sound))
    broken = source.copy(tmp_path / "broken")
    match damage:
        case "noise":
            broken.change(1, lambda content: bytes(len(content)))
        case "truncated":
            broken.truncate(1, 0.7)
        case _:
            broken = broken.break_off(1, 0.7)
    with pytest.raises((UnreadableSegmentError, ContainsHolesError)):
        await smart(broken, ordered(broken, (1.7, 4.5)), output)
    order = ordered(broken, (1.7, 4.5), allow_holes=True)
    made = await smart(broken, order, output)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    some = [number for number in read(output).numbers if source.frames[number].segment == 1]
    assert (len(some) > 5) is (damage != "noise" and sound is None)
    assert some == list(range(60, 60 + len(some)))
    whole = [number for number in numbers_of(source, order) if source.frames[number].segment != 1]
    assert_exact(output, source, sorted([*whole, *some]), joins=1)


# Whole segments -------------------------------------------------------------------------------------------------------


async def test_an_archive_is_all_that_is_there(source: Source, tmp_path: Path) -> None:
    """Whole segments go into Matroska as they are, one file for each stretch without a hole."""
    holed = source.copy(tmp_path / "holed")
    holed.drop(1)
    order = Order(source.channel, source.quality, (VideoRange(source.start, source.end),), allow_holes=True)
    gathered = await in_thread(gather, holed.store, FactsStore(holed.store), order, timedelta(0))
    made = await make_archive(gathered, tmp_path / "archive.mkv")
    assert [path.name for path in made] == ["archive.mkv", "archive-2.mkv"]
    for path, part in zip(made, ([0], [2]), strict=True):
        numbers = [frame.number for frame in source.frames if frame.segment in part]
        seen = read(path)
        assert_numbers(seen, numbers)
        assert_steady(seen, source)
        assert copied_numbers(seen, read_once(source.reference)) == numbers


async def test_a_rough_cut_has_its_init_section_once(source: Source, output: Path, tmp_path: Path) -> None:
    """Its segments are one file, byte for byte; of two formats they are none."""
    order = ordered(source, (2.1, 5.0))
    gathered = await in_thread(gather, source.store, FactsStore(source.store), order, timedelta(0))
    await make_rough(gathered, output)
    assert_numbers(read(output), [frame.number for frame in source.frames if frame.segment in {1, 2}])
    assert complaints(output) == []
    changed = source.copy(tmp_path / "changed")
    changed.change(2, lambda content: content.replace(b"mp42", b"mp41", 1).replace(b"iso5", b"iso6", 1))
    gathered = await in_thread(gather, changed.store, FactsStore(changed.store), order, timedelta(0))
    with pytest.raises(CannotSpliceError):
        await make_rough(gathered, output)


async def test_a_disk_that_is_full_leaves_no_file(source: Source, output: Path) -> None:
    """What fails in writing ends the cut with what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            await smart(source, ordered(source, (2.0, 5.0)), output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(output.parent.iterdir()) == []


# The check ------------------------------------------------------------------------------------------------------------


async def test_a_sound_that_jumps_near_a_join_is_found(source: Source, output: Path) -> None:
    """A file of which a few frames of sound are missing where ranges join does not pass."""
    order = ordered(source, (1.5, 2.9), (4.0, 5.0))
    await smart(source, order, output)
    gathered = await in_thread(gather, source.store, FactsStore(source.store), order)
    expected = expected_of(plan_smart(gathered, order))
    verify(output, expected)
    damaged = output.with_name("damaged.mp4")
    with av.open(str(output)) as whole, av.open(str(damaged), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream, opaque=True) for stream in whole.streams}
        for packet in whole.demux():
            if packet.pts is None or (packet.stream.type == "audio" and 1.45 < packet.pts * packet.time_base < 1.55):
                continue
            packet.stream = streams[packet.stream_index]
            target.mux(packet)
    with pytest.raises(VerificationError, match="The sound 1 jumps by"):
        verify(damaged, expected)


# Real recordings ------------------------------------------------------------------------------------------------------


async def test_a_real_recording_is_cut(media: Path, output: Path, tmp_path: Path) -> None:
    """Segments of somebody else's encoder: exact, and all from the first key frame on is copied."""
    folder = media / "livesim2/testpic_2s_av1/av1"
    clips = list[Path]()
    (tmp_path / "recording").mkdir()
    for number in (1, 2):
        clips.append(tmp_path / f"{number}.mp4")
        clips[-1].write_bytes((folder / "init.mp4").read_bytes() + (folder / f"{number}.m4s").read_bytes())
    source = source_of(tmp_path / "recording", clips, Fraction(25))
    once = read_once(source.reference)
    reference = identified(once, once)
    order = ordered(source, (0.6, 1.9), (2.5, 3.4))
    made = await smart(source, order, output)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    seen, numbers = identified(read(output), reference), numbers_of(source, order)
    assert len(seen.pictures) == len(numbers)
    assert_steady(seen)
    assert complaints(output) == []
    copied = {*copied_numbers(seen, reference)}
    assert from_keys_on(source, order) <= copied
