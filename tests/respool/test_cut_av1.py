"""`respool cut` of a recording in AV1: the file's ending says what it becomes, or a sentence which one will do."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from checks import assert_numbers
from marked import SourceKind
from respool.cut import cli
from seen import read
from source import Source, make_source


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("recording"), SourceKind(codec="av1", container="fmp4", seconds=4))


def cut(source: Source, output: Path, kind: str) -> Result:
    """Cut from a picture amid the first segment to one amid the second."""
    times = [source.at(number).isoformat() for number in (45, 80)]
    given = [f"{source.channel}/{source.quality}", *times, "-o", str(output), "--type", kind]
    with capture_logs():
        return CliRunner().invoke(cli, [*given, "--base-dir", str(source.base)])


@pytest.mark.parametrize(
    ("ending", "kind", "said"),
    [
        ("mp4", "smart", "in 35 frames, 1.167 seconds."),
        ("mkv", "smart", "in 35 frames, 1.167 seconds."),
        (
            "ts",
            "smart",
            "in 1.167 seconds, all encoded anew (A file of mpegts cannot hold av1 and aac; MP4 and Matroska can).",
        ),
        ("webm", "full", "in 1.167 seconds."),
    ],
)
def test_the_ending_says_what_it_becomes(source: Source, tmp_path: Path, ending: str, kind: str, said: str) -> None:
    """Exact to the frame whatever it is; where AV1 cannot be copied, that is said."""
    result = cut(source, output := tmp_path / f"video.{ending}", kind)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(f" bytes {said}\n")
    assert_numbers(read(output), range(45, 80))


def test_whole_segments_keep_their_format(source: Source, tmp_path: Path) -> None:
    """As they were recorded they are MP4, or Matroska; another ending is refused with the right one."""
    result = cut(source, tmp_path / "video.ts", "rough")
    assert result.exit_code == 1
    assert result.output == "Error: As they are, the segments are MP4: give the file the ending .mp4.\n"
    for name, kind in (("video.mp4", "rough"), ("video.mkv", "archive")):
        assert cut(source, tmp_path / name, kind).exit_code == 0
        assert_numbers(read(tmp_path / name), range(120))
