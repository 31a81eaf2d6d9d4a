"""`respool coverage`: the picture and the JSON agree with the recording and with each other."""

import json
import os
import pty
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from common.coverage import BestSequence, best_sequence, cover_hour
from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, make_segment
from common.store import Store
from respool.coverage import cli, picture_hour

FULL, SUSPECT, PARTIAL = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL
HOUR = datetime(2026, 3, 1, 18, tzinfo=UTC)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def seg(minute: float, minutes: float, kind: SegmentType = FULL) -> Segment:
    """A segment that begins `minute` minutes into the hour."""
    return make_segment(HOUR + minute * MINUTE, minutes * MINUTE, kind, f"hash{minute:.4f}".replace(".", "_"))


def covered(segments: list[Segment], start: float = 0, end: float = 60) -> BestSequence:
    """What they cover of the minutes from `start` to `end`."""
    before = [segment for segment in segments if segment.start < HOUR]
    within = [segment for segment in segments if segment.start >= HOUR]
    hours = [cover_hour(part, lambda _: 1) for part in (before, within)]
    return best_sequence(hours, HOUR + start * MINUTE, HOUR + end * MINUTE)


def fold(cells: str) -> list[tuple[str, int]]:
    """Runs of the same character: `██·` is [("█", 2), ("·", 1)]."""
    runs: list[tuple[str, int]] = []
    for cell in cells:
        if runs and runs[-1][0] == cell:
            runs[-1] = (cell, runs[-1][1] + 1)
        else:
            runs.append((cell, 1))
    return runs


# The picture of one hour ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "cells", "share"),
    [
        ([seg(0, 60)], [("█", 60)], 1.0),
        ([seg(0, 30), seg(30, 30)], [("█", 60)], 1.0),
        ([], [("·", 60)], 0.0),
        ([seg(0, 30)], [("█", 30), ("·", 30)], 0.5),
        ([seg(0, 10), seg(20, 40)], [("█", 10), ("·", 10), ("█", 40)], 50 / 60),
        ([seg(0, 10.5), seg(11, 49)], [("█", 10), ("▒", 1), ("█", 49)], 59.5 / 60),
        ([seg(0, 10), seg(10, 2, SUSPECT), seg(12, 48)], [("█", 10), ("▓", 2), ("█", 48)], 1.0),
        ([seg(0, 10), seg(10, 0.25, PARTIAL), seg(10.25, 49.75)], [("█", 10), ("▓", 1), ("█", 49)], 1.0),
        ([seg(0, 10), seg(10, 0.25, PARTIAL), seg(11, 49)], [("█", 10), ("▒", 1), ("█", 49)], 59.25 / 60),
        ([seg(-5, 10), seg(5, 60)], [("█", 60)], 1.0),
        ([seg(0, 30), seg(30 + 0.009 / 60, 30)], [("█", 60)], 1.0),
        ([seg(0, 30), seg(30 + 0.02 / 60, 30)], [("█", 30), ("▒", 1), ("█", 29)], 1 - 0.02 / 3600),
    ],
)
def test_picture_shows_each_minute(segments: list[Segment], cells: list[tuple[str, int]], share: float) -> None:
    """A minute is complete, doubtful (suspect or partial), with holes, or empty; joins within 10 ms are no holes."""
    picture = picture_hour(HOUR, covered(segments))
    assert fold(picture.cells) == cells
    assert picture.share == pytest.approx(share)


def test_picture_leaves_out_what_was_not_asked() -> None:
    """Minutes outside of the range are blank, and the share is that of the range."""
    picture = picture_hour(HOUR, covered([seg(0, 60)], 20.5, 30))
    assert fold(picture.cells) == [(" ", 20), ("█", 10), (" ", 30)]
    assert picture.share == 1.0
    picture = picture_hour(HOUR, covered([seg(0, 25)], 20, 30))
    assert fold(picture.cells) == [(" ", 20), ("█", 5), ("·", 5), (" ", 30)]
    assert picture.share == 0.5


def test_segments_are_counted_in_the_hour_in_which_they_start() -> None:
    """What reaches in from before, and what begins at the very end, belongs to other hours."""
    assert picture_hour(HOUR, covered([seg(-1, 2), seg(1, 59), seg(60, 1)])).segments == {"full": 1}


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Segment], int, int]:
    """Segments on whole seconds, from before the hour until its end, and a range in it, as seconds."""
    moments = draw(st.lists(st.integers(-200, 3600), max_size=12, unique=True))
    lengths = draw(st.lists(st.integers(1, 900), min_size=len(moments), max_size=len(moments)))
    kinds = draw(
        st.lists(st.sampled_from([FULL, FULL, SUSPECT, PARTIAL]), min_size=len(moments), max_size=len(moments))
    )
    start, end = sorted(draw(st.lists(st.integers(0, 3600), min_size=2, max_size=2, unique=True)))
    segments = [seg(m / 60, s / 60, kind) for m, s, kind in zip(moments, lengths, kinds, strict=True)]
    return segments, start, end


def slow_cell(sequence: BestSequence, minute: int) -> str:
    """The same, second by second."""
    seconds = [HOUR + (60 * minute + n) * SECOND for n in range(60)]
    asked = [second for second in seconds if sequence.start <= second < sequence.end]
    types = [{s.type for s in sequence.segments if s.start <= second < s.end} for second in asked]
    if not asked:
        return " "
    if not any(types):
        return "·"
    if not all(types):
        return "▒"
    return "█" if set().union(*types) == {FULL} else "▓"


@given(recordings())
@settings(derandomize=True, deadline=None)
def test_picture_is_that_of_a_slow_look(recording: tuple[list[Segment], int, int]) -> None:
    """The cells are those that a look at each second gives, and the share is that of the seconds covered."""
    segments, start, end = recording
    sequence = covered(segments, start / 60, end / 60)
    picture = picture_hour(HOUR, sequence)
    assert picture.cells == "".join(slow_cell(sequence, minute) for minute in range(60))
    asked = [HOUR + n * SECOND for n in range(start, end)]
    there = sum(any(s.start <= second < s.end for s in sequence.segments) for second in asked)
    assert picture.share == pytest.approx(there / len(asked))
    missing = sum((hole.end - hole.start for hole in picture.holes), timedelta())
    assert picture.share == pytest.approx(1 - missing / (sequence.end - sequence.start))
    assert {" ", "·", "▒", "█", "▓"} >= set(picture.cells)


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


def test_day_is_drawn_in_no_time() -> None:
    """Drawing 24 hours of segments of two seconds, all with a flaw, takes a small part of a second."""
    hour = [seg(n / 30, 1 / 30, SUSPECT) for n in range(1800)]
    sequence = covered(hour)
    assert Counter(picture_hour(HOUR, sequence).segments) == {"suspect": 1800}
    began = time.process_time()
    for _ in range(24):
        picture_hour(HOUR, sequence)
    assert time.process_time() - began < 1.0
