"""Cuts of recordings that are damaged, and cuts that something ends midway: what decodes, or an error and no file."""

import asyncio
import errno
import hashlib
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from structlog.testing import capture_logs

from checks import assert_in_sync, assert_numbers, assert_steady
from common.coverage import ContainsHolesError
from common.cuts import CutType, NothingRecordedError, VideoRange
from common.cutting import (
    DEFAULT_SETTINGS,
    Made,
    Order,
    gather,
    make_archive,
    make_full,
    make_rough,
    make_smart,
    prepare,
)
from common.encoding import Container
from common.ffmpeg import FfmpegError
from common.pieces import CannotSpliceError
from common.ranges import UnreadableSegmentError
from common.reading import CONTEXT
from common.sidecar import FactsStore
from common.smart import splice
from common.waits import in_thread
from marked import TICKS, SourceKind
from seen import Seen, read
from source import Source, make_source
from ts_bytes import Writer, read_pes, read_programmes

# The segment that is damaged; of the pictures, those of a range around it.
MIDDLE = 3


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture
def source(folder: Path, tmp_path: Path) -> Source:
    """Give a recording that may be damaged."""
    return make_source(folder, SourceKind(b_frames=3)).copy(tmp_path / "copy")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Give a name for the video in a folder that is empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "video.ts"


def second(source: Source, number: float) -> datetime:
    return source.start + timedelta(seconds=number)


def around(source: Source) -> VideoRange:
    """Give a range that begins and ends inside of other segments than the damaged one."""
    return VideoRange(second(source, 4.7), source.segments[MIDDLE + 1].start + timedelta(seconds=0.5))


def ordered(source: Source) -> Order:
    return Order(source.channel, source.quality, (around(source),))


async def cut(source: Source, output: Path, wanted: VideoRange, *, allow_holes: bool = False) -> Made:
    """Make the cut; see that nothing of the store is touched and, should it fail, that no file is left."""
    order = Order(source.channel, source.quality, (wanted,), allow_holes)
    before, store = digests(source.base), source.store
    try:
        gathered = await in_thread(gather, store, FactsStore(store), order)
        return await make_smart(gathered, order, Container.MPEGTS, output)
    finally:
        assert digests(source.base) == before, "the store was touched"
        assert [path.name for path in output.parent.iterdir()] in ([], [output.name])


def digests(base: Path) -> dict[Path, str]:
    """Tell what each file holds; the caches are none of the recording."""
    files = [path for path in base.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def numbers(source: Source, wanted: VideoRange, *, without: int) -> list[int]:
    """Give the pictures of a range but for those of a segment."""
    return [number for number in source.between(*wanted) if source.frames[number].segment != without]


def assert_sound(output: Path, source: Source) -> Seen:
    """Check what holds for any cut: its times run on, and its sound keeps to its pictures."""
    seen = read(output)
    assert not seen.errors
    assert_steady(seen)
    assert_in_sync(seen, source)
    return seen


@pytest.mark.parametrize("damage", ["empty", "noise", "changed", "ends early", "dropped"])
async def test_what_cannot_be_read_is_left_out_if_holes_are_allowed(source: Source, output: Path, damage: str) -> None:
    """Refused, the segment is named; allowed, the video has all the rest, without a gap in its times."""
    wanted = around(source)
    match damage:
        case "empty":
            source.empty(MIDDLE)
        case "noise":
            source.change(MIDDLE, lambda content: bytes(len(content)))
        case "changed":  # a bit, far from all headers
            source.change(MIDDLE, lambda content: content[:9000] + bytes([content[9000] ^ 1]) + content[9001:])
        case "ends early":
            source.change(MIDDLE, lambda content: content[: -188 * 3])
        case _:
            source.drop(MIDDLE)
    missing = ContainsHolesError if damage == "dropped" else UnreadableSegmentError
    with pytest.raises(missing) as refused:
        await cut(source, output, wanted)
    if isinstance(refused.value, UnreadableSegmentError):
        assert refused.value.segment == source.segments[MIDDLE]
    assert not output.exists()
    with capture_logs() as logs:
        made = await cut(source, output, wanted, allow_holes=True)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    assert_numbers(assert_sound(output, source), numbers(source, wanted, without=MIDDLE))
    segment = source.segments[MIDDLE]
    named = [] if damage == "dropped" else [f"{segment.hour}/{segment.name}"]
    for told in ("segment_left_out", "segment_damaged"):
        assert [event["segment"] for event in logs if event["event"] == told] == named


@pytest.mark.parametrize(("damage", "share"), [("truncated", 0.72), ("partial", 0.5)])
async def test_what_is_not_all_there_goes_in_as_far_as_it_goes(
    source: Source, output: Path, damage: str, share: float
) -> None:
    """Refused without holes; with them, the video has all pictures up to where picture or sound break off."""
    wanted = around(source)
    if damage == "partial":
        source = source.break_off(MIDDLE, share)
    else:
        source.truncate(MIDDLE, share)
    with pytest.raises((UnreadableSegmentError, ContainsHolesError)):
        await cut(source, output, wanted)
    made = await cut(source, output, wanted, allow_holes=True)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    found = assert_sound(output, source).numbers
    all_of_it, least = source.between(*wanted), numbers(source, wanted, without=MIDDLE)
    known = len([number for number in found if source.frames[number].segment == MIDDLE])
    first = next(number for number in all_of_it if source.frames[number].segment == MIDDLE)
    assert known > 5
    assert found == sorted([*least, *range(first, first + known)])


async def test_damage_outside_of_a_range_is_no_harm(source: Source, output: Path) -> None:
    """A segment that cannot be read, beside a range, is not asked for."""
    source.empty(MIDDLE)
    wanted = VideoRange(source.at(20), source.segments[MIDDLE].start - timedelta(seconds=0.5))
    made = await cut(source, output, wanted)
    assert made.kind is CutType.SMART
    assert_numbers(assert_sound(output, source), source.between(*wanted))


async def test_damage_that_was_recorded_leaves_a_video_of_the_same_length(source: Source, output: Path) -> None:
    """Pictures and sound that came damaged go into the video, or it is encoded anew; they never end the cut."""
    source.corrupt(MIDDLE)
    source = source.record(MIDDLE, source.path(MIDDLE).read_bytes())
    wanted = around(source)
    await cut(source, output, wanted, allow_holes=True)
    assert abs(len(read(output).pictures) - len(source.between(*wanted))) <= 30


@pytest.mark.parametrize("kind", [CutType.ROUGH, CutType.SMART, CutType.FULL, CutType.ARCHIVE])
async def test_a_damaged_segment_is_replaced_by_the_next_best(source: Source, output: Path, kind: CutType) -> None:
    """Where another candidate for the same moment is sound, no type of cut misses anything, nor needs holes allowed."""
    content = source.path(MIDDLE).read_bytes()
    # the larger of two is the better
    better = source.record(MIDDLE, content + b"\x47\x1f\xff\x10" + bytes(184), beside=True)
    better.corrupt(MIDDLE)
    wanted = around(source)
    order = Order(source.channel, source.quality, (wanted,))
    around_it = timedelta(0) if kind in {CutType.ROUGH, CutType.ARCHIVE} else CONTEXT
    with capture_logs() as logs:
        gathered = gather(store := source.store, FactsStore(store), order, around_it)
        assert better.segments[MIDDLE] in gathered.ranges[0].segments
        match kind:
            case CutType.ROUGH:
                await make_rough(gathered, output)
            case CutType.SMART:
                assert (await make_smart(gathered, order, Container.MPEGTS, output)).kind is kind
            case CutType.FULL:
                await make_full(gathered, order, DEFAULT_SETTINGS[Container.MPEGTS], output)
            case _:
                output = (await make_archive(gathered, output.with_suffix(".mkv")))[0]
    found = read(output).numbers
    assert found[found.index(source.between(*wanted)[0]) :][: len(source.between(*wanted))] == source.between(*wanted)
    segment = better.segments[MIDDLE]
    assert [event["segment"] for event in logs if event["event"] == "segment_damaged"] == [
        f"{segment.hour}/{segment.name}"
    ]


@pytest.mark.parametrize("damage", ["changed", "ends early"])
async def test_a_rough_cut_into_a_file_is_proved(source: Source, output: Path, damage: str) -> None:
    """A segment whose bytes are not those of its name is refused by name, or left out of the file."""
    if damage == "changed":
        source.corrupt(MIDDLE)
    else:
        source.truncate(MIDDLE)
    paths = source.paths()
    order = Order(source.channel, source.quality, (VideoRange(source.start, source.end),))
    gathered = gather(store := source.store, FactsStore(store), order, timedelta(0))
    with pytest.raises(UnreadableSegmentError, match="Its bytes are not those that were recorded"):
        await make_rough(gathered, output)
    assert list(output.parent.iterdir()) == []
    gathered = gather(store, FactsStore(store), replace(order, allow_holes=True), timedelta(0))
    await make_rough(gathered, output)
    assert output.read_bytes() == b"".join(path.read_bytes() for path in paths if path != source.path(MIDDLE))


def in_pairs(content: bytes) -> bytes:
    """Put two pictures into each PES, which has the times of the first."""
    programme = read_programmes(content)[0][1]
    video, *sounds = (stream.pid for stream in programme.streams)
    pictures = read_pes(content, {video})
    pairs = [
        replace(one, payload=one.payload + other.payload)
        for one, other in zip(pictures[::2], pictures[1::2], strict=True)
    ]
    writer = Writer()
    writer.tables(programme)
    for pes in sorted([*pairs, *read_pes(content, {*sounds})], key=lambda pes: pes.dts or pes.pts or 0):
        writer.pes(pes)
    return writer.take()


async def test_more_pictures_than_times_are_not_spliced(folder: Path, tmp_path: Path) -> None:
    """Where times are told for some pictures only, nothing is encoded again among those that are copied."""
    source = make_source(folder, SourceKind(b_frames=3)).copy(tmp_path / "pairs")
    for index in (2, 3, 4):
        source = source.record(index, in_pairs(source.path(index).read_bytes()))
    with pytest.raises(CannotSpliceError, match="more pictures than their times tell of"):
        await spliced(source, [])


@pytest.mark.parametrize("codec", ["h264", "hevc"])
async def test_two_pictures_in_a_pes_are_both_in_the_cut(
    folder: Path, tmp_path: Path, output: Path, codec: Literal["h264", "hevc"]
) -> None:
    """A stream that tells the time of every other picture only is cut as full, with all its pictures."""
    source = make_source(folder, SourceKind(codec=codec, seconds=8)).copy(tmp_path / "pairs")
    for index in range(len(source.segments)):
        source = source.record(index, in_pairs(source.path(index).read_bytes()))
    made = await cut(source, output, VideoRange(second(source, 1.5), second(source, 4.5)))
    assert made.kind is CutType.FULL
    assert len(read(output).pictures) == 90


@pytest.mark.parametrize(
    ("begin", "end"), [(60.0, 70.0), (-20.0, -10.0), (86_400.0 * 365 * 30, 86_400.0 * 365 * 30 + 5)]
)
async def test_a_range_of_which_nothing_is_there_is_refused(
    source: Source, output: Path, begin: float, end: float
) -> None:
    """Before, after and in the future: nothing is recorded, whether holes are allowed or not."""
    wanted = VideoRange(source.start + timedelta(seconds=begin), source.start + timedelta(seconds=end))
    with pytest.raises(NothingRecordedError):
        await cut(source, output, wanted, allow_holes=True)
    with pytest.raises(ContainsHolesError):
        await cut(source, output, wanted)


async def test_a_range_without_a_picture_is_refused(source: Source, output: Path) -> None:
    """A range that is empty, reversed or between two pictures holds nothing."""
    moment = source.at(30.5)
    with pytest.raises(NothingRecordedError):
        await cut(source, output, VideoRange(moment, moment))
    with pytest.raises(NothingRecordedError):
        await cut(source, output, VideoRange(moment, moment + timedelta(milliseconds=1)))
    with pytest.raises((NothingRecordedError, ValueError)):
        await cut(source, output, VideoRange(moment, moment - timedelta(seconds=1)))


# Sound that lies in other segments than its pictures ------------------------------------------------------------------


@pytest.mark.parametrize("skew", [0.3, -0.3], ids=["ahead", "behind"])
async def test_sound_that_lies_in_a_missing_segment_is_not_missed(
    folder: Path, tmp_path: Path, output: Path, skew: float
) -> None:
    """Beside a hole and over it a cut is smart: it has all its pictures, and the sound that there is of them."""
    source = make_source(folder, SourceKind(b_frames=3, skew=skew)).copy(tmp_path / "copy")
    source.drop(MIDDLE)
    begin, end = source.segments[MIDDLE].start, source.segments[MIDDLE].end
    before, after = VideoRange(second(source, 3.3), begin), VideoRange(end, second(source, 10.3))
    for wanted in (before, after, VideoRange(before.start, after.end)):
        made = await cut(source, output, wanted, allow_holes=True)
        assert (made.kind, made.reason) == (CutType.SMART, None)
        seen = read(output)
        assert not seen.errors
        assert_numbers(seen, numbers(source, wanted, without=MIDDLE))
        whole_seconds = [picture.pts / TICKS for picture in seen.pictures if (picture.number or 0) % 30 == 0]
        clicks = seen.sounds[0].clicks
        assert len(clicks) >= len(whole_seconds) - 1
        # the first frame of the second that comes next may still be there
        whole_seconds += [(picture.pts + 3000) / TICKS for picture in seen.pictures if (picture.number or 0) % 30 == 29]
        # a decoder makes a noise of its own where sound begins again
        strange = [click for click in clicks if min(abs(click - each) for each in whole_seconds) > 0.03]
        assert len(strange) <= len(seen.sounds[0].gaps)
        output.unlink()


# What ends a cut midway -----------------------------------------------------------------------------------------------


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_disk_that_is_full_leaves_no_file(source: Source, output: Path) -> None:
    """The spool is removed when it cannot grow any more."""
    with largest_file(50_000), pytest.raises(OSError, match="File too large") as refused:
        await cut(source, output, around(source))
    assert refused.value.errno == errno.EFBIG


def program(path: Path, text: str) -> Path:
    """Write an ffmpeg of our own."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


async def spliced(source: Source, written: list[int]) -> None:
    """Make the packets of a cut, and note how many come at a time."""
    reading, planned = await in_thread(prepare, store := source.store, FactsStore(store), ordered(source))
    async with aclosing(splice(reading, planned)) as parts:
        async for packets in parts:
            written += [len(packets)]


@pytest.mark.parametrize("work", ["", f'{get_ffmpeg_exe()} "$@" | head -c 40000;'], ids=["at once", "amid pictures"])
async def test_an_ffmpeg_that_is_killed_leaves_no_file(
    source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """Killed before it gives a picture, or when some are written already, it ends the cut with an error."""
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program(tmp_path / "ffmpeg", f"{work} kill -9 $$")))
    written: list[int] = []
    with pytest.raises(FfmpegError, match="-9"):
        await spliced(source, written)
    assert (sum(written) > 100) == bool(work)
    with pytest.raises(FfmpegError, match="-9"):
        await cut(source, output, around(source))
    assert not output.exists()


async def test_pictures_that_cannot_be_encoded_make_it_a_full_cut(
    source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where ffmpeg refuses to encode like the source, all is encoded in another way."""
    refused = f'case "$*" in *zerolatency*) exit 1;; esac; exec {get_ffmpeg_exe()} "$@"'
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program(tmp_path / "ffmpeg", refused)))
    made = await cut(source, output, around(source))
    assert (made.kind, made.reason) == (CutType.FULL, "Pictures near a join cannot be encoded like their source.")
    assert_numbers(assert_sound(output, source), source.between(*around(source)))


async def test_a_cut_that_is_cancelled_leaves_no_process_and_no_file(
    source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while ffmpeg is at work, it takes that with it."""
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program(tmp_path / "ffmpeg", f"echo $$ > {fifo}; exec sleep 1000")))
    cutting = asyncio.create_task(cut(source, output, around(source)))
    pids = (await in_thread(fifo.read_text)).split()
    cutting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cutting
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(output.parent.iterdir()) == []


async def test_a_cut_that_is_cancelled_while_it_copies_leaves_no_file(source: Source, output: Path) -> None:
    """Cancelled between two segments, it leaves nothing."""
    order = Order(source.channel, source.quality, (VideoRange(source.start, source.end),))
    gathered = gather(source.store, FactsStore(source.store), order)
    reached: list[float] = []

    def progress(done: float) -> None:
        reached.append(done)
        if 0 < done < 1 and (task := asyncio.current_task()) is not None:
            task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(make_smart(gathered, order, Container.MPEGTS, output, progress))
    assert reached
    assert list(output.parent.iterdir()) == []
