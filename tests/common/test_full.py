"""Full cuts made into files: each is read again before it gets its name, and one that is wrong does not get it."""

import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from structlog.testing import capture_logs

from checks import assert_numbers
from common.cuts import CutType, VideoRange
from common.cutting import DEFAULT_SETTINGS, Made, Order, gather, make_full, make_smart
from common.encoding import Container
from common.ranges import UnreadableSegmentError
from common.sidecar import FactsStore
from common.transitions import Transition
from common.verify import VerificationError
from common.waits import in_thread
from marked import SourceKind
from seen import read
from source import Source, make_source
from ts_bytes import Writer, read_pes, read_programmes


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("full"), SourceKind(seconds=8, b_frames=3))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Give a name for the video in a folder that is empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "video"


def between(source: Source, start: float, end: float) -> VideoRange:
    first: datetime = source.start
    return VideoRange(first + timedelta(seconds=start), first + timedelta(seconds=end))


async def full(source: Source, output: Path, container: Container, order: Order) -> Made:
    gathered = await in_thread(gather, store := source.store, FactsStore(store), order)
    return await make_full(gathered, order, DEFAULT_SETTINGS[container], output)


@pytest.mark.parametrize("container", [*Container])
async def test_a_full_cut_that_is_as_planned_passes(source: Source, output: Path, container: Container) -> None:
    """In whatever container, over a hard join and a transition, what was made stands the check."""
    ranges = between(source, 0.5, 1.3), between(source, 5.2, 6.0), between(source, 3.1, 3.9)
    transitions = (None, Transition("fade", timedelta(seconds=0.2)))
    made = await full(source, output, container, Order(source.channel, source.quality, ranges, transitions=transitions))
    assert (made.kind, made.duration) == (CutType.FULL, timedelta(seconds=2.2))
    assert len(read(output).pictures) == 66


RUN = """
subprocess.run([FFMPEG, *arguments], check=True, close_fds=False)
path = pathlib.Path(arguments[out].removeprefix('file:'))
"""
WITHOUT_SOUND = f"""{RUN}
other = path.with_name('other')
remux = ['-v', 'error', '-i', path, '-map', '0:v', '-c', 'copy', '-f', 'mp4', other]
subprocess.run([FFMPEG, *remux], check=True)
other.replace(path)
sys.exit()
"""
DAMAGED = f"""{RUN}
content = bytearray(path.read_bytes())
content[20000:26000] = bytes(reversed(content[20000:26000]))
path.write_bytes(content)
sys.exit()
"""
SHORT_SOUND = "arguments = [each.replace('end_sample=48000', 'end_sample=40000') for each in arguments]"
WRONG = {
    "pictures are missing": ("arguments[out:out] = ['-frames:v', '20']", "It has 20 pictures in place of 30."),
    "the sound is short": (SHORT_SOUND, "The sound 1 ends 1"),
    "the sound is missing": (WITHOUT_SOUND, "It has 0 sounds in place of 1."),
    "a picture does not decode": (DAMAGED, "A decoder finds fault with a picture near a join at "),
}


@pytest.mark.parametrize(("fault", "sentence"), WRONG.values(), ids=WRONG)
async def test_a_full_cut_that_is_wrong_is_thrown_away(
    source: Source, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, sentence: str
) -> None:
    """An ffmpeg that says nothing and leaves something out makes an error of the cut, and no file."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!{sys.executable}\nimport os, pathlib, subprocess, sys\n"
        f"FFMPEG, arguments = {get_ffmpeg_exe()!r}, sys.argv[1:]\n"
        "out = next(at for at, each in enumerate(arguments) if each.startswith('file:'))\n"
        f"{fault}\nos.execv(FFMPEG, [FFMPEG, *arguments])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program))
    order = Order(source.channel, source.quality, (between(source, 1.5, 2.5),))
    with capture_logs() as logs, pytest.raises(VerificationError) as raised:
        await full(source, output, Container.MP4, order)
    assert str(raised.value).startswith(sentence)
    assert [event["reason"] for event in logs if event["event"] == "full_cut_thrown_away"] == [str(raised.value)]
    assert list(output.parent.iterdir()) == []


# Where decoding can begin ---------------------------------------------------------------------------------------------

PARAMETERS = re.compile(rb"\x00?\x00\x00\x01[\x67\x68].*?(?=\x00?\x00\x00\x01)", re.DOTALL)


def without_parameters(content: bytes) -> bytes:
    """Write a segment anew, without the parameter sets of its pictures."""
    programme = read_programmes(content)[0][1]
    writer = Writer()
    writer.tables(programme)
    units = read_pes(content, {stream.pid for stream in programme.streams})
    for unit in sorted(units, key=lambda unit: unit.dts or 0):
        writer.pes(replace(unit, payload=PARAMETERS.sub(b"", unit.payload)))
    return writer.take()


def stripped(source: Source, folder: Path, numbers: Iterable[int]) -> Source:
    source = source.copy(folder)
    for number in numbers:
        source = source.record(number, without_parameters(source.path(number).read_bytes()))
    return source


async def cut(source: Source, output: Path, kind: CutType, order: Order) -> Made:
    gathered = await in_thread(gather, store := source.store, FactsStore(store), order)
    if kind is CutType.SMART:
        return await make_smart(gathered, order, Container.MPEGTS, output)
    return await make_full(gathered, order, DEFAULT_SETTINGS[Container.MPEGTS], output)


BOTH = pytest.mark.parametrize("kind", [CutType.SMART, CutType.FULL])


@BOTH
async def test_parameters_may_come_long_before_a_range(
    source: Source, output: Path, tmp_path: Path, kind: CutType
) -> None:
    """A stream that tells the parameters of its pictures once can be cut anywhere after that, exact to the frame."""
    source = stripped(source, tmp_path / "copy", [1, 2, 3])
    wanted = between(source, 4.4, 5.2)
    made = await cut(source, output, kind, Order(source.channel, source.quality, (wanted,)))
    assert (made.kind, made.reason) == (kind, None)
    assert_numbers(read(output), source.between(*wanted))


@BOTH
async def test_what_comes_before_all_parameters_is_a_hole(
    source: Source, output: Path, tmp_path: Path, kind: CutType
) -> None:
    """Refused by the segment's name, or left out: the video begins where decoding can."""
    source = stripped(source, tmp_path / "copy", [0, 1])
    wanted = between(source, 3.2, 4.7)
    order = Order(source.channel, source.quality, (wanted,))
    with pytest.raises(UnreadableSegmentError, match="Its first pictures need what came before") as refused:
        await cut(source, output, kind, order)
    assert refused.value.segment == source.segments[1]
    assert list(output.parent.iterdir()) == []
    made = await cut(source, output, kind, replace(order, allow_holes=True))
    assert (made.kind, made.reason) == (kind, None)
    assert_numbers(read(output), [number for number in source.between(*wanted) if source.frames[number].segment == 2])


@BOTH
async def test_pictures_that_need_what_is_missing_are_a_hole(
    tmp_path_factory: pytest.TempPathFactory, output: Path, tmp_path: Path, kind: CutType
) -> None:
    """A recording that begins within a group of pictures is shown from its first key frame on, if holes are allowed."""
    cut_anywhere = SourceKind(seconds=6, gop=70, cut_at_keys=False, b_frames=3)
    source = make_source(tmp_path_factory.getbasetemp(), cut_anywhere).copy(tmp_path / "copy")
    source.drop(0)
    order = Order(source.channel, source.quality, (VideoRange(source.at(64), source.at(100)),))
    with pytest.raises(UnreadableSegmentError, match="Its first pictures need what came before") as refused:
        await cut(source, output, kind, order)
    assert refused.value.segment == source.segments[1]
    await cut(source, output, kind, replace(order, allow_holes=True))
    assert_numbers(read(output), [*range(70, 100)])
