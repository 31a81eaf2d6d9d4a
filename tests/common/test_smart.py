"""Cuts to the frame, proved on sources of which every picture and second of sound is known."""

import random
import subprocess
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from checks import (
    assert_exact,
    assert_numbers,
    assert_steady,
    copied_numbers,
)
from common.cuts import CutType, VideoRange
from common.cutting import Order, gather, make_archive, make_smart, prepare
from common.encoding import Container
from common.sidecar import FactsStore
from common.smart import splice
from common.waits import in_thread
from complaints import complaints
from marked import TICKS, SourceKind
from seen import read, read_once
from source import Source, make_source
from ts_bytes import PACKET, Stream, Writer, packets, read_pes, read_programmes

NTSC, FAST_NTSC = Fraction(30_000, 1001), Fraction(60_000, 1001)

KINDS = {
    "no B-frames": SourceKind(),
    "B-frames": SourceKind(b_frames=3),
    "open GOPs": SourceKind(b_frames=3, open_gop=True),
    "25 Hz, 44.1 kHz": SourceKind(fps=Fraction(25), rate=44_100),
    "29.97 Hz": SourceKind(fps=NTSC, b_frames=3),
    "50 Hz": SourceKind(fps=Fraction(50), b_frames=3),
    "59.94 Hz": SourceKind(fps=FAST_NTSC),
    "60 Hz": SourceKind(fps=Fraction(60), b_frames=3),
    "uneven times": SourceKind(variable=True),
    "uneven times and B-frames": SourceKind(variable=True, b_frames=3),
    "interlaced": SourceKind(fps=Fraction(25), interlaced=True),
    "baseline": SourceKind(baseline=True),
    "two sounds": SourceKind(tracks=2),
    "no sound": SourceKind(sound=None),
    "MPEG sound": SourceKind(sound="mp2"),
    "AC-3": SourceKind(sound="ac3"),
    "sound that runs ahead": SourceKind(skew=0.064),
    "segments cut anywhere": SourceKind(gop=70, cut_at_keys=False, b_frames=3),
    "counters that run on": SourceKind(counters="run on"),
    "moved PIDs": SourceKind(moved=True),
    "straddling packets": SourceKind(straddling=True),
    "timed ID3": SourceKind(id3=True),
    "captions": SourceKind(captions=True, b_frames=3),
    "HEVC": SourceKind(codec="hevc", b_frames=3),
    "HEVC, open GOPs": SourceKind(codec="hevc", b_frames=3, open_gop=True),
    "fragmented MP4": SourceKind(container="fmp4", b_frames=3),
    "fragmented MP4, HEVC": SourceKind(container="fmp4", codec="hevc", b_frames=3),
    "a clock that wraps": SourceKind(wraps=True, b_frames=3),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def second(source: Source, number: float) -> datetime:
    return source.start + timedelta(seconds=number)


def spans(source: Source, *ranges: tuple[float, float]) -> list[tuple[datetime, datetime]]:
    return [(second(source, start), second(source, end)) for start, end in ranges]


async def cut(source: Source, *ranges: tuple[datetime, datetime], allow_holes: bool = False) -> bytes:
    """Make the cut as a stream."""
    order = Order(source.channel, source.quality, tuple(VideoRange(*each) for each in ranges), allow_holes)
    reading, planned = await in_thread(prepare, store := source.store, FactsStore(store), order)
    made = bytearray()
    async with aclosing(splice(reading, planned)) as parts:
        async for packets in parts:
            made += packets.data
    return bytes(made)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_a_cut_is_exact_to_the_frame(folder: Path, kind: SourceKind) -> None:
    """Whatever the source, a cut has exactly the pictures of its range, all copied but for those at its ends."""
    source = make_source(folder, replace(kind, seconds=8, segment=1))
    dice = random.Random(kind.__repr__())
    for length in (6.0, 0.7):  # in which some segments go through whole, and none
        start = second(source, dice.uniform(0.2, 7.8 - length))
        end = start + timedelta(seconds=length)
        made = await cut(source, (start, end))
        assert_exact(made, source, source.between(start, end))


@pytest.mark.parametrize(
    "kind",
    [
        SourceKind(b_frames=3, open_gop=True, seconds=8),
        SourceKind(b_frames=3, open_gop=True, seconds=8, fps=FAST_NTSC, gop=70),
        SourceKind(b_frames=2, open_gop=True, seconds=8, cabac=False),
    ],
    ids=["30 Hz", "one leading picture", "CAVLC"],
)
async def test_copying_begins_at_key_pictures_of_open_gops(folder: Path, kind: SourceKind) -> None:
    """All but what is shown before the first key picture of a range, and a few at its end, is copied bit for bit."""
    source = make_source(folder, kind)
    ranges = [(second(source, a), second(source, b)) for a, b in ((3.21, 7.1), (0.6, 2.9))]
    numbers = [number for each in ranges for number in source.between(*each)]
    made = await cut(source, *ranges)
    (seen, _), reference = assert_exact(made, source, numbers, joins=1), read_once(source.reference)
    copied = copied_numbers(seen, reference)
    keys = [frame.number for frame in source.frames if frame.key]
    firsts = [next(key for key in keys if key >= source.between(*each)[0]) for each in ranges]
    lasts = [source.between(*each)[-1] - kind.b_frames for each in ranges]
    due = {number for first, last in zip(firsts, lasts, strict=True) for number in range(first, last)}
    assert due - {*copied} == set()
    decoded, original = framehashes(made), framehashes(source.reference.read_bytes())
    assert [decoded[numbers.index(number)] for number in sorted(due)] == [original[number] for number in sorted(due)]


async def test_a_video_that_begins_with_an_open_gop_has_no_fault(folder: Path) -> None:
    """Where pictures that are left out would be missed, the first ones are encoded, and copying begins later."""
    source = make_source(folder, SourceKind(b_frames=3, open_gop=True, seconds=8, fps=FAST_NTSC, gop=70))
    first, later = [frame for frame in source.frames if frame.key][1:3]
    end = second(source, 4.5)
    made = await cut(source, (first.at, end))
    seen, _ = assert_exact(made, source, source.between(first.at, end))
    assert min(copied_numbers(seen, read_once(source.reference))) == later.number


def framehashes(content: bytes) -> list[str]:
    """Give a hash of each picture, in the order shown, as the ffmpeg binary decodes it."""
    command = [
        get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        "-",
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "framehash",
        "-",
    ]
    done = subprocess.run(command, input=content, check=True, capture_output=True)
    return [line.split()[-1].decode() for line in done.stdout.splitlines() if not line.startswith(b"#")]


async def test_ranges_are_joined_without_a_seam(folder: Path) -> None:
    """Several ranges, in any order, are one video whose times run on and whose sound never leaves its picture."""
    source = make_source(folder, SourceKind(b_frames=3))
    ranges = [(second(source, a), second(source, b)) for a, b in ((7.21, 11.4), (1.0, 3.333), (5.5, 5.9))]
    numbers = [number for each in ranges for number in source.between(*each)]
    assert_exact(await cut(source, *ranges), source, numbers, joins=2)


async def test_a_group_of_pictures_may_last_for_many_segments(folder: Path) -> None:
    """Where the pictures at the end need those of segments that go through whole, they are encoded from these."""
    source = make_source(folder, SourceKind(b_frames=3, seconds=7, segment=1, gop=210, cut_at_keys=False))
    start, end = source.start, second(source, 6.45)
    assert_exact(await cut(source, (start, end)), source, source.between(start, end))


def without_sound(content: bytes, first: int, last: int) -> bytes:
    """Take so many PES of sound out of a segment, at its beginning and at its end."""
    pid = next(stream.pid for stream in read_programmes(content)[0][1].streams if not stream.is_video)
    starts = [packet.at for packet in packets(content) if packet.pid == pid and packet.start]
    begin, end = starts[first], [*starts, len(content)][len(starts) - last]
    kept = [content[p.at : p.at + PACKET] for p in packets(content) if p.pid != pid or begin <= p.at < end]
    return b"".join(kept)


async def test_sound_that_breaks_off_is_not_filled_up(folder: Path, tmp_path: Path) -> None:
    """Where the sound of a range ends before its picture does, nothing from before the next range is heard."""
    source = make_source(folder, SourceKind(seconds=8, skew=0.001)).copy(tmp_path)
    source = source.record(1, without_sound(source.path(1).read_bytes(), 0, 20))
    seen, reference = read(await cut(source, *spans(source, (0.5, 4.0), (6.5, 7.5)))), read_once(source.reference)
    places = {stamp.hash: stamp.pts for stamp in reference.sounds[0].stamps}
    heard = [(places[stamp.hash] - reference.pictures[0].pts) / TICKS for stamp in seen.sounds[0].stamps]
    assert all(0.4 < time < 4.0 or 6.47 < time < 7.5 for time in heard)
    shown = [(source.frames[number].pts - source.frames[0].pts) / TICKS for number in seen.numbers]
    assert shown[-1] - heard[-1] == pytest.approx(
        (seen.pictures[-1].pts - seen.sounds[0].stamps[-1].pts) / TICKS, abs=0.03
    )


@pytest.mark.parametrize(("segment", "first", "last"), [(0, 4, 0), (3, 0, 4)], ids=["beginning", "end"])
async def test_sound_is_where_the_recording_has_it(
    folder: Path, tmp_path: Path, segment: int, first: int, last: int
) -> None:
    """A cut of all that is there passes, where the recording begins or ends with some frames without sound."""
    source = make_source(folder, SourceKind(seconds=8, skew=0.001)).copy(tmp_path / "store")
    source = source.record(segment, without_sound(source.path(segment).read_bytes(), first, last))
    order = Order(source.channel, source.quality, (VideoRange(source.start, source.end),))
    gathered = await in_thread(gather, store := source.store, FactsStore(store), order)
    made = await make_smart(gathered, order, Container.MPEGTS, tmp_path / "made")
    assert made.kind is CutType.SMART


def with_cues(content: bytes) -> bytes:
    """Announce a stream of SCTE 35, and put a cue before each second picture."""
    programme = read_programmes(content)[0][1]
    pes = [pes for stream in programme.streams for pes in read_pes(content, {stream.pid})]
    writer, cue = Writer(), bytes.fromhex("fc3011000000000000fffff0000000007a4fbfff")
    writer.tables(replace(programme, streams=(*programme.streams, Stream(0x1F5, 0x86))))
    for number, each in enumerate(sorted(pes, key=lambda pes: pes.dts or pes.pts or 0)):
        writer.pes(each)
        if number % 2:
            writer.rest(0x1F5, b"\0" + cue, start=True)
    return writer.take()


async def test_cues_of_the_recordings_clock_are_left_out(folder: Path, tmp_path: Path) -> None:
    """A stream of sections, which speak of times that are no longer these, is neither announced nor there."""
    source = make_source(folder, SourceKind(seconds=8, skew=0.001)).copy(tmp_path)
    for index in range(len(source.segments)):
        source = source.record(index, with_cues(source.path(index).read_bytes()))
    ((start, end),) = spans(source, (0.5, 7.2))
    made = await cut(source, (start, end))
    assert_exact(made, source, source.between(start, end))
    assert {packet.pid for packet in packets(made)} == {
        packet.pid for packet in packets(source.reference.read_bytes())
    } - {0x11}


async def test_pictures_refreshed_bit_by_bit_are_cut(folder: Path, tmp_path: Path) -> None:
    """Without any key frame a range is what its pictures show once they are whole."""
    source = make_source(folder, SourceKind(seconds=7, refresh=True, gop=30, segment=1)).copy(tmp_path)
    source.drop(0)
    start, end = second(source, 4.3), second(source, 5.6)
    assert_exact(await cut(source, (start, end)), source, source.between(start, end))
    numbers = read(await cut(source, (source.start, end), allow_holes=True)).numbers
    assert numbers == [*range(numbers[0], source.between(start, end)[-1] + 1)]
    assert numbers[0] < 3 * 30


def half_as_large(content: bytes) -> bytes:
    """Encode a segment again at half its size, its times as they were."""
    command = [get_ffmpeg_exe(), "-v", "error", "-copyts", "-f", "mpegts", "-i", "-", "-vf", "scale=160:90"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "copy", "-muxdelay", "0", "-muxpreload", "0"]
    command += ["-mpegts_copyts", "1", "-f", "mpegts", "-"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout


@pytest.mark.parametrize("container", [Container.MPEGTS, Container.MP4])
async def test_what_cannot_be_joined_by_copying_is_encoded(folder: Path, tmp_path: Path, container: Container) -> None:
    """A picture that changes its size makes a smart cut a full one, which says why and holds all the pictures."""
    source = make_source(folder, SourceKind(b_frames=3)).copy(tmp_path / "changed")
    source = source.record(4, half_as_large(source.path(4).read_bytes()))
    start, end = second(source, 6.3), second(source, 11.1)
    order = Order(source.channel, source.quality, (VideoRange(start, end),))
    gathered = await in_thread(gather, store := source.store, FactsStore(store), order)
    made = await make_smart(gathered, order, container, tmp_path / "made")
    assert made.kind is CutType.FULL
    assert made.reason is not None
    assert made.reason.endswith(".")
    seen = read(tmp_path / "made")
    assert_numbers(seen, source.between(start, end))
    assert_steady(seen)


async def test_what_changes_beside_a_range_is_no_harm(folder: Path, tmp_path: Path) -> None:
    """Pictures of another size, in the segment behind the last one of a range, do not keep it from being copied."""
    source = make_source(folder, SourceKind(seconds=8)).copy(tmp_path / "changed")
    source = source.record(3, half_as_large(source.path(3).read_bytes()))
    start, end = second(source, 1.3), second(source, 5.9)
    assert_exact(await cut(source, (start, end)), source, source.between(start, end))


@pytest.mark.parametrize("container", [Container.MP4, Container.MATROSKA])
async def test_a_cut_goes_into_other_containers(folder: Path, tmp_path: Path, container: Container) -> None:
    """MP4 and Matroska hold the very pictures and sounds of the cut."""
    source = make_source(folder, SourceKind(b_frames=3))
    start, end = second(source, 3.21), second(source, 8.5)
    order = Order(source.channel, source.quality, (VideoRange(start, end),))
    gathered = await in_thread(gather, store := source.store, FactsStore(store), order)
    done: list[float] = []
    made = await make_smart(gathered, order, container, tmp_path / "made", done.append)
    assert made.kind is CutType.SMART
    assert done == sorted(done)
    assert done[-1] <= 1.0
    seen = read(tmp_path / "made")
    assert_numbers(seen, source.between(start, end))
    assert len(copied_numbers(seen, read_once(source.reference))) > 100
    assert complaints(tmp_path / "made") == []
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


async def test_an_archive_is_all_that_is_there(folder: Path, tmp_path: Path) -> None:
    """Whole segments go into Matroska, one file for each stretch without a hole."""
    source = make_source(folder, SourceKind(b_frames=3)).copy(tmp_path / "holed")
    source.drop(3)
    order = Order(source.channel, source.quality, (VideoRange(source.start, source.end),), allow_holes=True)
    gathered = await in_thread(gather, store := source.store, FactsStore(store), order, timedelta(0))
    made = await make_archive(gathered, tmp_path / "archive.mkv")
    assert [path.name for path in made] == ["archive.mkv", "archive-2.mkv"]
    frames = [[frame.number for frame in source.frames if frame.segment in part] for part in (range(3), range(4, 7))]
    assert [read(path).numbers for path in made] == frames
    assert all(len(copied_numbers(read(path), read_once(source.reference))) == len(read(path).numbers) for path in made)
