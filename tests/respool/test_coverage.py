"""`respool coverage`: the picture and the JSON agree with the recording and with each other."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, make_segment
from common.store import Store
from respool.coverage import cli

FULL, SUSPECT, PARTIAL = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL
HOUR = datetime(2026, 3, 1, 18, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def seg(minute: float, minutes: float, kind: SegmentType = FULL) -> Segment:
    """A segment that begins `minute` minutes into the hour."""
    return make_segment(HOUR + minute * MINUTE, minutes * MINUTE, kind, f"hash{minute:.4f}".replace(".", "_"))


# The command ---------------------------------------------------------------------------------------------------------


def record(base: Path, segments: list[Segment], recording: str = "demo/source") -> None:
    """Put them into the store; what is in them does not matter here."""
    for segment in segments:
        folder = Store(base).folder(*recording.split("/")) / segment.hour
        folder.mkdir(parents=True, exist_ok=True)
        (folder / segment.name).touch()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two hours and a half: one whole, one with a hole of twenty minutes and a suspect, and the begin of a third."""
    record(tmp_path, [seg(0, 30), seg(30, 30), seg(60, 20), seg(100, 15), seg(115, 5, SUSPECT), seg(120, 30)])
    return tmp_path


def coverage(base: Path, *more: str, of: str = "demo/source") -> Result:
    return CliRunner().invoke(cli, [of, "--base-dir", str(base), *more])


def as_json(base: Path, *more: str) -> dict[str, Any]:
    result = coverage(base, "--json", *more)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_picture_of_a_recording(base: Path) -> None:
    """Each hour is a line, each minute a character; share and holes stand beside it, a legend below."""
    lines = coverage(base).stdout.splitlines()
    assert lines[0] == "demo/source from 2026-03-01 18:00:00 to 2026-03-01 20:30:00 UTC"
    assert lines[2] == "2026-03-01      :10       :20       :30       :40       :50         share  holes"
    assert lines[3] == "18:00 " + "█" * 60 + "   100%      0"
    assert lines[4] == "19:00 " + "█" * 20 + "·" * 20 + "█" * 15 + "▓" * 5 + "  66.7%      2"
    assert lines[5] == "20:00 " + "█" * 30 + " " * 30 + "   100%      0"
    assert lines[7] == "█ complete   ▓ suspect or partial   ▒ with holes   · nothing"
    assert max(map(len, lines)) <= 80


def test_a_step_of_the_clock_is_no_hole(tmp_path: Path, stream: list[bytes]) -> None:
    """Where only the names leave a gap, and the media runs on, all is covered; where something is missing it is not."""
    for seconds, content in ((0, stream[0]), (2.3, stream[1]), (4.3, stream[2]), (8, stream[4])):
        writer = SegmentWriter(Store(tmp_path), "demo", "source", HOUR + seconds * SECOND, 2 * SECOND)
        writer.write(content)
        writer.commit(FULL)
    [hour] = as_json(tmp_path)["hours"]
    assert hour["segments"] == {"full": 4}
    assert [hole["end"] for hole in hour["holes"]] == ["2026-03-01T18:00:08.000000Z"]


def test_json_of_a_recording(base: Path) -> None:
    """The JSON has the same hours: their names, shares, counts by type, and holes."""
    assert as_json(base) == {
        "channel": "demo",
        "quality": "source",
        "start": "2026-03-01T18:00:00.000000Z",
        "end": "2026-03-01T20:30:00.000000Z",
        "hours": [
            {"hour": "2026-03-01T18", "covered": 1.0, "segments": {"full": 2}, "holes": []},
            {
                "hour": "2026-03-01T19",
                "covered": 0.666667,
                "segments": {"full": 2, "suspect": 1},
                "holes": [
                    {"start": "2026-03-01T19:20:00.000000Z", "end": "2026-03-01T19:40:00.000000Z"},
                    {"start": "2026-03-01T20:00:00.000000Z", "end": "2026-03-01T20:00:00.000000Z"},
                ],
            },
            {"hour": "2026-03-01T20", "covered": 1.0, "segments": {"full": 1}, "holes": []},
        ],
    }


def test_range_may_be_named(base: Path) -> None:
    """--start and --end, in any zone, choose what is shown, recorded or not."""
    found = as_json(base, "--start", "2026-03-01T19:30+01:00", "--end", "2026-03-01T21:30")
    assert (found["start"], found["end"]) == ("2026-03-01T18:30:00.000000Z", "2026-03-01T21:30:00.000000Z")
    assert [hour["covered"] for hour in found["hours"]] == [1.0, 0.666667, 0.5, 0.0]


def test_last_day_is_shown(tmp_path: Path) -> None:
    """Without a range it is the last 24 hours of the recording, and each day has its date."""
    record(tmp_path, [seg(60 * n, 60) for n in range(30)])
    assert [as_json(tmp_path)[end] for end in ("start", "end")] == [
        "2026-03-02T00:00:00.000000Z",
        "2026-03-03T00:00:00.000000Z",
    ]
    lines = coverage(tmp_path, "--start", "2026-03-01T22:00").stdout.splitlines()
    assert [line[:10] for line in lines if line.startswith("2026")] == ["2026-03-01", "2026-03-02"]


def test_unknown_recording_is_refused(base: Path) -> None:
    """For a recording that does not exist, the sentence names those that do."""
    result = coverage(base, of="demo/720p")
    assert result.exit_code == 1
    assert result.output == f"Error: Nothing is recorded of demo/720p; there is demo/source in {base}.\n"
    result = coverage(base / "demo" / "source", of="demo/720p")
    assert "; there is nothing at all in " in result.output


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        (("--start", "2026-03-05"), "The range is empty: it must start before it ends, and what is recorded is "),
        (("--start", "1926-03-01"), "The range is longer than 400 days: is a year mistyped?"),
    ],
)
def test_odd_range_is_refused(base: Path, times: tuple[str, str], sentence: str) -> None:
    """A range that is empty, or so long that it must be a mistake, is told in a sentence."""
    result = coverage(base, *times)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {sentence}")


def test_colours_are_for_terminals_only(base: Path) -> None:
    """At a terminal minutes are coloured; what goes into a file or a pipe is plain text."""
    command = [sys.executable, "-m", "respool", "coverage", "demo/source", "--base-dir", str(base)]
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30).stdout.decode()
    assert "\x1b" not in piped
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb") as terminal:
        subprocess.run(command, stdout=theirs, check=True, timeout=30)
        shown = terminal.read1(1 << 16).decode()
        os.close(theirs)
    assert "\x1b[32m█" in shown
    assert "\x1b[31m·" in shown
