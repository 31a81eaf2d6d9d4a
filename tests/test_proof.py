"""The kit with which cuts are proved: it finds what is there, and every fault that it is there to find."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from checks import (
    assert_copied,
    assert_frames,
    assert_in_sync,
    assert_like,
    assert_numbers,
    assert_sound_copied,
    assert_steady,
    psnr,
)
from complaints import complaints, transport_complaints
from marked import TICKS, SourceKind
from seen import read, read_once
from source import Source, make_source
from ts_bytes import Pes, Stream, Writer, packets, read_pes, read_programmes, renumbered

KINDS = {
    "open GOP over 59.94 Hz": SourceKind(
        fps=Fraction(60_000, 1001), seconds=6, b_frames=3, open_gop=True, gop=50, cut_at_keys=False, rate=44_100
    ),
    "uneven times over the wrap": SourceKind(seconds=6, b_frames=3, variable=True, wraps=True),
    "two sounds, all moved": SourceKind(
        seconds=6, tracks=2, skew=0.064, moved=True, straddling=True, counters="run on"
    ),
    "interlaced with mp2": SourceKind(seconds=6, fps=Fraction(25), interlaced=True, sound="mp2"),
    "hevc in mp4": SourceKind(seconds=6, codec="hevc", container="fmp4", b_frames=3),
}

# One frame of sound to each PES, so that a fault can be put at any of them.
PLAIN = SourceKind(seconds=6, b_frames=3, id3=True, captions=True)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def plain(folder: Path) -> Source:
    return make_source(folder, PLAIN)


Change = Callable[[list[Pes]], list[Pes]]


def rebuilt(source: Source, *, video: Change = list, sound: Change = list) -> bytes:
    """Write a source anew, with its pictures and sounds changed."""
    data = source.reference.read_bytes()
    programme = read_programmes(data)[0][1]
    pictures, sounds = (pid(programme.streams, is_video=is_video) for is_video in (True, False))
    units = [*video(read_pes(data, {pictures})), *sound(read_pes(data, {sounds}))]
    writer = Writer()
    for unit in sorted(units, key=lambda unit: unit.dts or 0):
        if unit.random_access and unit.pid == pictures:
            writer.tables(replace(programme, streams=programme.streams[:2], descriptors=b""))
        writer.pes(unit)
    return writer.take()


def pid(streams: tuple[Stream, ...], *, is_video: bool) -> int:
    return next(stream.pid for stream in streams if stream.is_video is is_video)


def later(stream: list[Pes], ticks: int, begin: int = 0) -> list[Pes]:
    """Let the packets of a stream from one on come later."""
    moved = [
        replace(pes, pts=pes.pts + ticks, dts=pes.dts + ticks, pcr=None if pes.pcr is None else pes.pcr + ticks * 300)
        for pes in stream[begin:]
        if pes.pts is not None and pes.dts is not None
    ]
    return [*stream[:begin], *moved]


# What is sound ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PLAIN, *KINDS.values()], ids=["plain", *KINDS])
def test_a_source_is_found_to_be_what_it_is(folder: Path, kind: SourceKind) -> None:
    """A whole source has every picture once, even times, a click each second in each sound, and no complaint."""
    source = make_source(folder, kind)
    seen = read_once(source.reference)
    assert_frames(seen, source, 0, kind.frames - 1)
    assert_steady(seen, source, from_zero=False)
    assert_in_sync(seen, source)
    assert_copied(seen, seen, range(kind.frames))
    assert_sound_copied(seen, seen)
    for sound in seen.sounds:
        clicks = [click - seen.pictures[0].pts / TICKS for click in sound.clicks]
        assert clicks == pytest.approx(range(kind.seconds), abs=0.0005)
    assert complaints(source.reference) == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_source_tells_when_each_picture_is_shown(folder: Path, kind: SourceKind) -> None:
    """Its segments join without a hole, and a picture's moment is its segment's start plus its place within it."""
    source = make_source(folder, kind)
    sequence = source.store.sequence(source.channel, source.quality, source.start, source.end, allow_holes=False)
    assert sequence.segments == list(source.segments)
    assert [frame.number for frame in source.frames] == list(range(kind.frames))
    for frame in source.frames:
        offset = Fraction(frame.pts - source.frames[0].pts, TICKS)
        assert abs((frame.at - source.start).total_seconds() - offset) < 1e-6
    for number, segment in enumerate(source.segments):
        assert min(frame.at for frame in source.frames if frame.segment == number) == segment.start


def test_segments_are_as_their_kind_says(folder: Path) -> None:
    """Segments of even length begin without a key frame, maps change halfway, counters run on or begin again."""
    even, moved = (make_source(folder, kind) for kind in list(KINDS.values())[0:3:2])
    firsts = [min((f for f in even.frames if f.segment == n), key=lambda f: f.pts) for n in range(len(even.segments))]
    assert not all(frame.key for frame in firsts)
    contents = [path.read_bytes() for path in moved.paths()]
    assert transport_complaints(b"".join(contents)) == []
    assert len({programme for _, programme in read_programmes(b"".join(contents))}) == 2
    again = b"".join(path.read_bytes() for path in even.paths())
    assert any("counter" in fault for fault in transport_complaints(again))


# Faults -------------------------------------------------------------------------------------------------------------


def test_rebuilding_adds_no_fault(plain: Source) -> None:
    """A stream that is rewritten with nothing changed passes: the faults below are those that were put in."""
    data = rebuilt(plain)
    seen = read(data)
    assert_frames(seen, plain, 0, PLAIN.frames - 1)
    assert_steady(seen, plain, from_zero=False)
    assert_in_sync(seen, plain)
    assert_sound_copied(seen, read_once(plain.reference))
    assert complaints(data) == []


def test_a_missing_picture_is_seen(plain: Source) -> None:
    """A picture that nothing refers to is left out: its number is missed, and so is its time."""
    place = next(at for at, pes in enumerate(read_pes(plain.reference.read_bytes(), {0x100})) if at > 30 and is_b(pes))
    seen = read(rebuilt(plain, video=lambda pictures: pictures[:place] + pictures[place + 1 :]))
    with pytest.raises(AssertionError, match=r"179 pictures in place of 180, \d+ missing"):
        assert_frames(seen, plain, 0, PLAIN.frames - 1)
    with pytest.raises(AssertionError, match="lasts 6000 ticks in place of 3000"):
        assert_steady(seen, from_zero=False)


def is_b(pes: Pes) -> bool:
    """Tell of a picture of H.264 that nothing refers to it (§7.4.1: nal_ref_idc)."""
    return b"\0\0\1\1" in pes.payload


def test_a_picture_in_the_wrong_place_is_seen(plain: Source) -> None:
    """Pictures that are there twice, or in the wrong order, are named."""
    seen = read_once(plain.reference)
    with pytest.raises(AssertionError, match=r"181 pictures in place of 180, 5 too often"):
        assert_numbers(replace(seen, pictures=seen.pictures[:6] + seen.pictures[5:]), range(PLAIN.frames))
    order = [*seen.pictures[:3], seen.pictures[4], seen.pictures[3], *seen.pictures[5:]]
    with pytest.raises(AssertionError, match=r"from place 3 on \[4, 3"):
        assert_numbers(replace(seen, pictures=tuple(order)), range(PLAIN.frames))


def test_a_repeated_sound_is_seen(plain: Source) -> None:
    """A frame of sound that is there twice is seen by its time, or if its time is made to fit, by its content."""
    twice = read(rebuilt(plain, sound=lambda sounds: [*sounds[:100], sounds[99], *sounds[100:]]))
    with pytest.raises(AssertionError, match="two sound 0 packets have the time"):
        assert_steady(twice, plain, from_zero=False)
    fitted = read(rebuilt(plain, sound=lambda sounds: [*sounds[:100], *later(sounds[99:], 1920)]))
    assert_steady(fitted, plain, from_zero=False)
    with pytest.raises(AssertionError, match="packets 100 were there before"):
        assert_sound_copied(fitted, read_once(plain.reference), joins=1)


def test_a_missing_sound_is_seen(plain: Source) -> None:
    """A frame of sound that is not there is seen by the gap, or if that is closed, by what follows on what."""
    gap = read(rebuilt(plain, sound=lambda sounds: [*sounds[:100], *sounds[101:]]))
    with pytest.raises(AssertionError, match=r"a frame of sound 0 at .* lasts 3840 ticks in place of 1920"):
        assert_steady(gap, plain, from_zero=False)
    closed = read(rebuilt(plain, sound=lambda sounds: [*sounds[:100], *later(sounds[101:], -1920)]))
    with pytest.raises(AssertionError, match="it breaks at packets 100; 0 joins are allowed"):
        assert_sound_copied(closed, read_once(plain.reference))
    assert_sound_copied(closed, read_once(plain.reference), joins=1)


def test_a_jump_in_time_is_seen(plain: Source) -> None:
    """Pictures and sounds that all come 16 ms later from one point on are seen, and so is a start far from zero."""
    seen = read(rebuilt(plain, video=lambda all_: later(all_, 1440, 60), sound=lambda all_: later(all_, 1440, 95)))
    with pytest.raises(AssertionError, match="lasts 4440 ticks in place of 3000"):
        assert_steady(seen, plain, from_zero=False)
    with pytest.raises(AssertionError, match=r"it begins at 11\.379 s"):
        assert_steady(read_once(plain.reference), plain)


def test_sound_apart_from_its_picture_is_seen(plain: Source) -> None:
    """Sound that comes 60 ms late is seen though its times are even, and so is a click that is not there."""
    late = read(rebuilt(plain, sound=lambda sounds: later(sounds, 5400)))
    assert_steady(late, plain, from_zero=False)
    with pytest.raises(AssertionError, match=r"clicks \+60\.0 ms late.*ends \+\d\d\.\d ms after the picture"):
        assert_in_sync(late, plain)
    seen = read_once(plain.reference)
    sounds = tuple(replace(sound, clicks=sound.clicks[:3] + sound.clicks[4:]) for sound in seen.sounds)
    with pytest.raises(AssertionError, match=r"does not click at 14\.400 s"):
        assert_in_sync(replace(seen, sounds=sounds), plain)


def test_encoding_again_is_seen(plain: Source, tmp_path: Path) -> None:
    """What was encoded again is not bit-exact; how near it comes is told in decibels."""
    reference = read_once(plain.reference)
    for crf, enough in ((12, True), (40, False)):
        made = tmp_path / f"{crf}.ts"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(plain.reference), "-t", "2"]
        subprocess.run([*command, "-c:v", "libx264", "-preset", "superfast", "-crf", str(crf), str(made)], check=True)
        seen = read(made)
        with pytest.raises(AssertionError, match="50 of 50 pictures are not as in the source: 0, 1, 2"):
            assert_copied(seen, reference, range(50))
        assert (min(psnr(seen, reference, range(50)).values()) > 40) is enough
        if not enough:
            with pytest.raises(AssertionError, match=r"pictures are below 40\.0 dB: 0: "):
                assert_like(seen, reference, range(50))


def test_faults_of_transport_are_seen(plain: Source) -> None:
    """A lost packet, a clock that goes back or comes too late, and maps that contradict each other are named."""
    good = rebuilt(plain)
    assert transport_complaints(good) == []
    middle = len(good) // 188 // 2 * 188
    assert any("the counter of PID" in line for line in complaints(good[:middle] + good[middle + 188 :]))
    back = rebuilt(plain, video=lambda pictures: [*pictures[:60], *back_in_time(pictures[60:])])
    assert any("the clock goes back by" in line for line in transport_complaints(back))
    ahead = rebuilt(plain, video=lambda pictures: [replace(p, pcr=p.pcr and p.pcr + 300 * TICKS) for p in pictures])
    assert any("is due -" in line for line in transport_complaints(ahead))
    silent = rebuilt(plain, video=lambda all_: [*all_[:60], *(replace(p, pcr=None) for p in all_[60:80]), *all_[80:]])
    assert any("the clock is silent for 700 ms" in line for line in transport_complaints(silent))
    assert any("the tables are not there for 2.0 s" in line for line in transport_complaints(good, tables_every=1.9))
    other = rebuilt_map(good, middle)
    assert any("says something else under version 0" in line for line in transport_complaints(other))


def back_in_time(pictures: list[Pes]) -> list[Pes]:
    return [replace(picture, pcr=picture.pcr and picture.pcr - 300 * 9000) for picture in pictures]


def rebuilt_map(data: bytes, at: int) -> bytes:
    """Put a map among packets that says less than that before it."""
    writer = Writer()
    programme = read_programmes(data)[0][1]
    writer.tables(replace(programme, streams=programme.streams[:1]))
    return b"".join(renumbered([data[:at] + writer.take() + data[at:]]))


def test_damage_is_heard_of(plain: Source, tmp_path: Path) -> None:
    """Flipped bytes are complained of, and the helpers that damage a store damage their copy alone."""
    copy = plain.copy(tmp_path / "damaged")
    copy.corrupt(1)
    copy.truncate(0)
    copy.empty(2)
    assert complaints(copy.path(1)) != []
    assert len(copy.path(0).read_bytes()) % 188 == 77
    assert copy.path(2).read_bytes() == b""
    assert complaints(plain.path(1)) == []
    partial = plain.copy(tmp_path / "partial").break_off(1)
    sequence = partial.store.sequence(partial.channel, partial.quality, partial.start, partial.end)
    assert [segment.type.value for segment in sequence.segments] == ["full", "partial", "full"]
    holed = plain.copy(tmp_path / "holed")
    holed.drop(1)
    assert len(holed.store.sequence(holed.channel, holed.quality, holed.start, holed.end).segments) == 2
    assert sum(packet.pid == 0x1F0 for packet in packets(plain.path(0).read_bytes())) == 2
