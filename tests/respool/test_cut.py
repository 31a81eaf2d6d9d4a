"""`respool cut`: the very bytes that were recorded, or one sentence, and never half a file under the wanted name."""

import io
import os
import pty
import resource
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from respool.cut import cli

FULL, SUSPECT, PARTIAL = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL
FIRST, SECOND, THIRD = b"first", b"second" * 100, b"third" * 1000
Times = tuple[str, str]
RANGE: Times = ("2026-03-01T18:30:00", "2026-03-01T18:30:06")


def record(base: Path, clock: str, content: bytes, kind: SegmentType = FULL, recording: str = "demo/source") -> Path:
    """Two seconds from `clock` on, in the store as a downloader leaves them."""
    store = Store(base)
    channel, quality = recording.split("/")
    start = datetime.fromisoformat(f"2026-03-01T{clock}+00:00")
    writer = SegmentWriter(store, channel, quality, start, timedelta(seconds=2))
    writer.write(content)
    return store.segment_path(channel, quality, writer.commit(kind))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A store with six seconds in three segments, and a bystander."""
    for clock, content in (("18:30:00", FIRST), ("18:30:02", SECOND), ("18:30:04", THIRD)):
        record(tmp_path / "base", clock, content)
    record(tmp_path / "base", "18:30:00", b"other", recording="demo/360p30")
    return tmp_path / "base"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A name for the video in a folder that is empty."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "video.ts"


def beside(output: Path) -> list[str]:
    """The names in the folder of the video."""
    return [path.name for path in output.parent.iterdir()]


def arguments(base: Path, output: Path, *more: str, of: str = "demo/source", times: Times = RANGE) -> list[str]:
    return [of, *times, "-o", str(output), "--type", "rough", "--base-dir", str(base), *more]


def cut(base: Path, output: Path, *more: str, of: str = "demo/source", times: Times = RANGE) -> Result:
    with capture_logs():  # the contents are no media, which is said to standard error
        return CliRunner().invoke(cli, arguments(base, output, *more, of=of, times=times))


def refused(result: Result, sentence: str) -> None:
    """It was refused with this sentence and nothing else."""
    assert result.exit_code == 1
    assert result.output == f"Error: {sentence}\n"


def test_cut_is_what_was_recorded(base: Path, output: Path) -> None:
    """The segments of the range, one after the other, byte for byte; one line says what was done."""
    result = cut(base, output)
    assert result.exit_code == 0
    assert result.stdout == f"{output}: 5,605 bytes from 3 segments.\n"
    assert result.stderr == ""
    assert output.read_bytes() == FIRST + SECOND + THIRD
    assert beside(output) == ["video.ts"]


@pytest.mark.parametrize(
    "times",
    [
        ("2026-03-01T18:30:02.5Z", "2026-03-01T18:30:03Z"),
        ("2026-03-01T19:30:02.5+01:00", "2026-03-01T19:30:03+01:00"),
        ("2026-03-01T13:00:02.5-05:30", "2026-03-01 18:30:03"),
    ],
)
def test_times_may_carry_a_zone(base: Path, output: Path, times: Times) -> None:
    """Times are taken in the zone that they name, and in UTC without one."""
    assert cut(base, output, times=times).exit_code == 0
    assert output.read_bytes() == SECOND


def test_hole_is_refused(base: Path, output: Path) -> None:
    """A range with a hole is refused: the sentence says where the first is and what to do."""
    record(base, "18:30:08", b"fourth")
    refused(
        cut(base, output, times=("2026-03-01T18:30:00Z", "2026-03-01T18:30:10Z")),
        "Nothing complete is recorded from 2026-03-01T18:30:06.000000Z to 2026-03-01T18:30:08.000000Z. "
        "Add --allow-holes to leave out what is missing.",
    )
    assert beside(output) == []


@pytest.mark.parametrize("step", ["18:30:04.300", "18:30:03.700"])
def test_a_step_of_the_clock_is_no_hole(tmp_path: Path, output: Path, stream: list[bytes], step: str) -> None:
    """Where only the names leave a gap or an overlap, and the media runs on, a cut has all of it."""
    for clock, content in zip(("18:30:00", "18:30:02", step), stream, strict=False):
        record(tmp_path / "base", clock, content)
    assert cut(tmp_path / "base", output, times=("2026-03-01T18:30:00Z", f"2026-03-01T{step}Z")).exit_code == 0
    assert output.read_bytes() == b"".join(stream[:3])


def test_holes_are_left_out_if_allowed(base: Path, output: Path) -> None:
    """With --allow-holes there is what there is, the best of each moment."""
    record(base, "18:30:00", b"broken", PARTIAL)
    record(base, "18:30:08", b"fourth", SUSPECT)
    result = cut(base, output, "--allow-holes", times=("2026-03-01T18:29:00Z", "2026-03-01T18:40:00Z"))
    assert result.exit_code == 0
    assert output.read_bytes() == FIRST + SECOND + THIRD + b"fourth"


@pytest.mark.parametrize("more", [(), ("--allow-holes",)])
def test_range_with_nothing_in_it_is_refused(base: Path, output: Path, more: tuple[str, ...]) -> None:
    """Where nothing at all is recorded, holes allowed or not, the sentence says what is recorded."""
    refused(
        cut(base, output, *more, times=("2026-03-02T18:30:00Z", "2026-03-02T18:30:10Z")),
        "Nothing is recorded in that range; there is 2026-03-01T18:30:00.000000Z to 2026-03-01T18:30:06.000000Z.",
    )


def test_unknown_recording_is_refused(base: Path, output: Path) -> None:
    """For a recording that does not exist, the sentence names those that do."""
    refused(
        cut(base, output, of="demo/720p"),
        f"Nothing is recorded of demo/720p; there is demo/360p30, demo/source in {base}.",
    )


@pytest.mark.parametrize("end", [RANGE[0], "2026-03-01T18:29:00"])
def test_empty_range_is_refused(base: Path, output: Path, end: str) -> None:
    """The start must be before the end."""
    refused(cut(base, output, times=(RANGE[0], end)), "The range is empty: START must be before END.")


def test_missing_store_is_refused(tmp_path: Path, output: Path) -> None:
    """A store that is not there is told with what to do."""
    refused(
        cut(tmp_path / "nowhere", output),
        f"The folder {tmp_path / 'nowhere'} cannot be read (No such file or directory); "
        "name the store's folder with --base-dir.",
    )


@pytest.mark.parametrize(
    ("of", "times", "sentence"),
    [
        ("demo", RANGE, "'demo' is not CHANNEL/QUALITY, for example demo/source."),
        ("a/b/c", RANGE, "'a/b/c' is not CHANNEL/QUALITY, for example demo/source."),
        ("demo/..", RANGE, "'demo/..' is not CHANNEL/QUALITY, for example demo/source."),
        ("demo/source", ("noon", RANGE[1]), "'noon' is not an ISO 8601 time such as 2026-03-01T18:30:00Z."),
    ],
)
def test_malformed_arguments_are_refused(base: Path, output: Path, of: str, times: Times, sentence: str) -> None:
    """What is no recording or no time is a wrong use of the command, and told in one sentence."""
    result = cut(base, output, of=of, times=times)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith(f": {sentence}")


def test_existing_file_is_kept(base: Path, output: Path) -> None:
    """A file that is there is not touched, unless that is asked for."""
    output.write_bytes(b"precious")
    refused(cut(base, output), f"{output} is there already; choose another name or add --overwrite.")
    assert output.read_bytes() == b"precious"
    assert cut(base, output, "--overwrite").exit_code == 0
    assert output.read_bytes() == FIRST + SECOND + THIRD


def test_link_is_followed(base: Path, output: Path, tmp_path: Path) -> None:
    """Overwriting a symbolic link writes where it leads, and the link stays one."""
    (tmp_path / "target.ts").touch()
    output.symlink_to(tmp_path / "target.ts")
    assert cut(base, output, "--overwrite").exit_code == 0
    assert output.is_symlink()
    assert (tmp_path / "target.ts").read_bytes() == FIRST + SECOND + THIRD


def test_device_is_not_replaced(base: Path, output: Path) -> None:
    """What is no ordinary file is never replaced by one, whatever is asked for."""
    os.mkfifo(output)
    refused(cut(base, output, "--overwrite"), f"{output} is no ordinary file; choose another name.")
    assert output.is_fifo()


def test_missing_folder_is_refused(base: Path, output: Path) -> None:
    """A folder that is not there is told by the name that was given."""
    output = output.parent / "nowhere" / "video.ts"
    refused(cut(base, output), f"The video cannot be written to {output} (No such file or directory).")


def test_segment_that_cannot_be_read_is_named(base: Path, output: Path) -> None:
    """A segment that is none of a readable file is told by its path, and nothing is left of the video."""
    path = record(base, "18:30:06", b"fourth")
    path.unlink()
    path.mkdir()
    result = cut(base, output, times=("2026-03-01T18:30:00Z", "2026-03-01T18:30:08Z"))
    refused(result, f"The segment {path} cannot be read (Is a directory).")
    assert beside(output) == []


def run(base: Path, output: Path, *more: str, prelude: str = "") -> subprocess.CompletedProcess[bytes]:
    code = f"{prelude}\nfrom respool.main import cli\ncli()"
    return subprocess.run(
        [sys.executable, "-c", code, "cut", *arguments(base, output, *more)],
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_full_disk_leaves_nothing(base: Path, output: Path) -> None:
    """A disk that fills up on the way is told, what was there stays, and nothing half-written is left."""
    output.write_bytes(b"precious")
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))"
    done = run(base, output, "--overwrite", prelude=limit)
    assert done.returncode == 1
    assert done.stderr.decode() == f"Error: The video cannot be written to {output} (File too large).\n"
    assert output.read_bytes() == b"precious"
    assert beside(output) == ["video.ts"]


def test_kill_leaves_no_half_video(base: Path, output: Path) -> None:
    """Killed at its worst moment, with all written but not yet on disk, it leaves a hidden temp and no video."""
    kill = f"import os; os.fsync = lambda _: os.kill(os.getpid(), {signal.SIGKILL:d})"
    assert run(base, output, prelude=kill).returncode == -signal.SIGKILL
    (left,) = beside(output)
    assert left.startswith(".video.ts.")
    assert left.endswith(".part")
    assert run(base, output).returncode == 0


def test_progress_is_for_terminals_only(base: Path, output: Path) -> None:
    """At a terminal a bar moves on standard error, and standard output still has the one line alone."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "respool", "cut", *arguments(base, output)],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm"},
            timeout=30,
            check=True,
        )
        os.close(theirs)
        shown = io.BytesIO()
        try:
            while data := terminal.read(1 << 16):
                shown.write(data)
        except OSError:
            pass  # so Linux tells the end of a terminal
    assert done.stdout.decode() == f"{output}: 5,605 bytes from 3 segments.\n"
    assert "100%" in shown.getvalue().decode()


# Several ranges -------------------------------------------------------------------------------------------------------


def ranged(base: Path, output: Path, *more: str) -> Result:
    with capture_logs():
        return CliRunner().invoke(cli, ["demo/source", "-o", str(output), "--base-dir", str(base), *more])


LATER, EARLIER = ("2026-03-01T18:30:04", "2026-03-01T18:30:05"), ("2026-03-01T18:30:00", "2026-03-01T18:30:01")


def test_ranges_follow_each_other(base: Path, output: Path) -> None:
    """Ranges come in the order in which they are named, whatever it is."""
    result = ranged(base, output, "--range", *LATER, "--range", *EARLIER, "--type", "rough")
    assert result.exit_code == 0
    assert result.stdout == f"{output}: 5,005 bytes from 2 segments.\n"
    assert output.read_bytes() == THIRD + FIRST


def test_a_transition_leads_from_range_to_range(tmp_path: Path, output: Path, stream: list[bytes]) -> None:
    """Two ranges and what joins them are one video, as over HTTP."""
    for number, content in enumerate(stream):
        record(tmp_path / "base", f"18:30:{2 * number:02}", content)
    ranges = ["--range", "2026-03-01T18:30:01Z", "2026-03-01T18:30:03Z"]
    ranges += ["--range", "2026-03-01T18:30:05Z", "2026-03-01T18:30:07Z"]
    result = ranged(tmp_path / "base", output, *ranges, "--transition", "fade,0.5")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(" bytes in 35 frames, 3.500 seconds.\n")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ((), "Say what to cut: START and END, or --range START END once or several times."),
        ((EARLIER[0],), "Say what to cut: START and END, or --range START END once or several times."),
        (
            (*EARLIER, "--range", *LATER),
            "A cut has either START and END, or one --range START END or several.",
        ),
        (("--range", *reversed(LATER)), "The range is empty: START must be before END."),
        (
            (*EARLIER, "--transition", "fade,1"),
            "Give one --transition less than ranges, '' for a hard join; or none at all.",
        ),
        (
            ("--range", *EARLIER, "--range", *LATER, "--transition", "fade"),
            "A transition is TYPE,SECONDS, for example --transition fade,1.",
        ),
        (
            ("--range", *EARLIER, "--range", *LATER, "--transition", "fade,1", "--type", "rough"),
            "A cut of type rough encodes nothing, and so has no transitions.",
        ),
    ],
)
def test_ranges_that_make_no_sense_are_refused(base: Path, output: Path, more: tuple[str, ...], sentence: str) -> None:
    """What cannot be meant is told in one sentence."""
    refused(ranged(base, output, *more), sentence)
    assert beside(output) == []
