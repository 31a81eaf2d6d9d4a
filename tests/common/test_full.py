"""Full cuts made into files: each is read again before it gets its name, and one that is wrong does not get it."""

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from structlog.testing import capture_logs

from common.cuts import CutType, VideoRange
from common.cutting import DEFAULT_SETTINGS, Made, Order, gather, make_full
from common.encoding import Container
from common.sidecar import FactsStore
from common.transitions import Transition
from common.verify import VerificationError
from common.waits import in_thread
from marked import SourceKind
from seen import read
from source import Source, make_source


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
