"""The check of finished cuts: what is sound passes, and each fault that a cut may have is named."""

import subprocess
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import pytest

from common.cuts import VideoRange
from common.cutting import Order, prepare
from common.pes import pcr_packet
from common.sidecar import FactsStore
from common.smart import splice
from common.verify import Expected, VerificationError, expected_of, verify
from marked import TICKS, SourceKind
from source import Source, make_source
from ts_bytes import Pes, Writer, read_pes, read_programmes

# Pictures that refer to each other for three seconds, with frames of sound that are a PES each.
KIND = SourceKind(seconds=6, b_frames=3, gop=90, cut_at_keys=False, id3=True)
VIDEO, SOUND = 0x100, 0x101

WHOLE = Expected(KIND.frames, KIND.frames * 3000, 3000, 3000, joins=(40 * 3000, 140 * 3000))

Change = Callable[[list[Pes]], list[Pes]]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("verified"), KIND)


@pytest.fixture
def rebuilt(source: Source, tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes the source anew, its pictures and sounds changed."""
    data = source.reference.read_bytes()
    programme = read_programmes(data)[0][1]

    def write(video: Change = list, sound: Change = list) -> Path:
        units = [*video(read_pes(data, {VIDEO})), *sound(read_pes(data, {SOUND}))]
        writer = Writer()
        for unit in sorted(units, key=lambda unit: unit.dts or 0):
            if unit.random_access and unit.pid == VIDEO:
                writer.tables(replace(programme, streams=programme.streams[:2], descriptors=b""))
            writer.pes(unit)
        path = tmp_path / "cut.ts"
        path.write_bytes(writer.take())
        return path

    return write


def later(stream: list[Pes], ticks: int) -> list[Pes]:
    return [replace(pes, pts=(pes.pts or 0) + ticks, dts=(pes.dts or 0) + ticks) for pes in stream]


def fault(path: Path, expected: Expected = WHOLE) -> str:
    with pytest.raises(VerificationError) as raised:
        verify(path, expected)
    return str(raised.value)


# What is sound ------------------------------------------------------------------------------------------------------


def test_what_is_as_promised_passes(source: Source, rebuilt: Callable[..., Path]) -> None:
    """A whole stream passes, as ffmpeg has timed it and as it was written anew."""
    verify(source.reference, WHOLE)
    verify(rebuilt(), WHOLE)


@pytest.mark.parametrize(
    "kind",
    [
        SourceKind(seconds=4, fps=Fraction(60_000, 1001), b_frames=3, open_gop=True, gop=50, rate=44_100),
        SourceKind(seconds=4, variable=True, wraps=True, straddling=True),
        SourceKind(seconds=4, sound="ac3", tracks=2),
        SourceKind(seconds=4, codec="hevc", container="fmp4", b_frames=3),
    ],
    ids=["open GOP", "uneven over the wrap, straddling", "ac3", "hevc in mp4"],
)
def test_streams_of_all_kinds_pass(tmp_path_factory: pytest.TempPathFactory, kind: SourceKind) -> None:
    """Whatever the codec, the container and the rate, what is sound passes."""
    made = make_source(tmp_path_factory.getbasetemp(), kind)
    times = [frame.pts - made.frames[0].pts for frame in made.frames]
    steps = [after - before for before, after in pairwise(times)]
    duration = times[-1] + round(TICKS / kind.fps)
    expected = Expected(kind.frames, duration, min(steps), max(steps), (times[40], times[80]), kind.tracks)
    verify(made.reference, expected)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_other_containers_pass(source: Source, tmp_path: Path, suffix: str) -> None:
    """MP4 and Matroska with the same packets pass, though the latter rounds to milliseconds; a short one does not."""
    made = tmp_path / f"cut{suffix}"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(source.reference),
        "-map",
        "0:v",
        "-map",
        "0:a",
    ]
    subprocess.run([*command, "-c", "copy", str(made)], check=True)
    verify(made, WHOLE)
    assert fault(made, replace(WHOLE, frames=181)) == "It has 180 pictures in place of 181."


async def test_a_cut_of_ours_passes_as_planned(source: Source, tmp_path: Path) -> None:
    """What a plan promises is what the cut is, across two ranges too; what it does not promise, it is not."""
    ranges = (VideoRange(source.at(11), source.at(100)), VideoRange(source.at(120), source.at(175)))
    reading, plan = prepare(store := source.store, FactsStore(store), Order(source.channel, source.quality, ranges))
    made = tmp_path / "cut.ts"
    async with aclosing(splice(reading, plan)) as parts:
        made.write_bytes(b"".join([packets.tobytes() async for packets in parts]))
    expected = expected_of(plan)
    assert (expected.frames, expected.sounds) == (89 + 55, 1)
    # the key frame from which on pictures are copied, and the second range
    assert {(90 - 11) * 3000, (100 - 11) * 3000} <= {*expected.joins}
    verify(made, expected)
    assert fault(made, replace(expected, frames=143)) == "It has 144 pictures in place of 143."


# Faults -------------------------------------------------------------------------------------------------------------


def test_a_wrong_number_of_pictures_is_found(rebuilt: Callable[..., Path]) -> None:
    """A picture too few is found by the count."""
    assert fault(rebuilt(video=lambda all_: all_[:50] + all_[51:])) == "It has 179 pictures in place of 180."


def test_wrong_lengths_are_found(source: Source) -> None:
    """A video that is longer or shorter than promised is told so, to the millisecond."""
    longer, shorter = (replace(WHOLE, duration=WHOLE.duration + off) for off in (1440, -1440))
    assert fault(source.reference, longer) == "The pictures last 0.016 s too short."
    assert fault(source.reference, shorter) == "The pictures last 0.016 s too long."


def test_a_gap_in_time_is_found(rebuilt: Callable[..., Path]) -> None:
    """Sixteen milliseconds that a join has gained are found, as long as no picture of the source was shown so long."""
    path = rebuilt(video=lambda all_: all_[:90] + later(all_[90:], 1440))
    assert fault(path) == "A picture is shown for 49.3 ms at 2.967 s."


def test_times_out_of_order_are_found(rebuilt: Callable[..., Path]) -> None:
    """A picture that is there twice, or due before it is decoded, is found."""
    twice = rebuilt(video=lambda all_: [*all_[:50], all_[49], *all_[51:]])
    assert fault(twice).startswith("The pictures go back in time at ")
    late = rebuilt(video=lambda all_: [replace(pes, pts=(pes.pts or 0) - 9000) for pes in all_])
    assert fault(late).startswith("The pictures are decoded after they are due at ")


def test_sound_that_is_not_with_the_picture_is_found(rebuilt: Callable[..., Path]) -> None:
    """Sound that begins or ends elsewhere than the picture by more than a frame is found, and a hole in it."""
    assert fault(rebuilt(sound=lambda all_: later(all_, 5400))) == "The sound 1 begins 39 ms after the picture."
    assert fault(rebuilt(sound=lambda all_: all_[:-10])).startswith("The sound 1 ends 1")
    holed = fault(rebuilt(sound=lambda all_: all_[:100] + all_[160:]))
    assert holed.startswith("The sound 1 is silent at 2.1")
    assert fault(rebuilt(sound=lambda all_: [])) == "It has 0 sounds in place of 1."


def test_sound_that_jumps_at_a_join_is_found(rebuilt: Callable[..., Path]) -> None:
    """A frame of sound that is left out next to a join is found, though the sound ends where it should."""
    assert fault(rebuilt(sound=lambda all_: all_[:70] + all_[71:])) == "The sound 1 jumps by 21.3 ms near a join."


def test_lost_and_foreign_bytes_are_found(rebuilt: Callable[..., Path]) -> None:
    """A lost packet, bytes between packets and an end amid one are found."""
    good = rebuilt().read_bytes()
    path = rebuilt()
    path.write_bytes(good[: 188 * 500] + good[188 * 501 :])
    assert fault(path) == "Packets of the stream 0x100 are missing or there twice."
    path.write_bytes(good + b"".join(pcr_packet(0x100, 0, {0x100: at}).tobytes() for at in (5, 6)))
    assert fault(path) == "Packets of the stream 0x100 are missing or there twice."
    path.write_bytes(good[: 188 * 500] + b"\0" * 188 + good[188 * 500 :])
    assert fault(path) == "It holds something between its packets."
    path.write_bytes(good[:-100])
    assert fault(path) == "It ends amid a packet."
    path.write_bytes(b"\x47" + bytes(187))
    assert fault(path).startswith("Its tables cannot be read.")
    path.write_bytes(b"no video at all")
    assert fault(path) == "It cannot be read as a video."


def test_pictures_that_do_not_decode_are_found_at_joins_only(rebuilt: Callable[..., Path]) -> None:
    """A reference that is missing near a join is found by decoding; far from all joins nothing is decoded."""

    def without_a_reference(pictures: list[Pes]) -> list[Pes]:
        # the times of all pictures are there, and one of the pictures is another
        return [*pictures[:41], replace(pictures[41], payload=pictures[42].payload), *pictures[42:]]

    path = rebuilt(video=without_a_reference)
    assert fault(path).startswith("A decoder finds fault with a picture near a join at ")
    verify(path, replace(WHOLE, joins=(140 * 3000,)))
