"""`respool status`: what it says agrees with the store, with a recorder and without."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from common.missing import Missing, note
from common.recorder_state import RecorderFile, RecorderState
from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from respool.arguments import Recording
from respool.status import cli

SECOND = timedelta(seconds=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = Recording("chan", "source")
FULL, SUSPECT = SegmentType.FULL, SegmentType.SUSPECT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "segments")


def record(
    store: Store, start: datetime, *numbers: int, kind: SegmentType = FULL, recording: Recording = SOURCE
) -> None:
    """Record segments of two seconds; each number is one."""
    for number in numbers:
        writer = SegmentWriter(store, *recording, start + 2 * number * SECOND, 2 * SECOND)
        writer.write(str(number).encode())
        writer.commit(kind)


def lost(start: float, length: float, reason: str) -> Missing:
    return Missing(NOON + start * SECOND, length * SECOND, reason)


def run(store: Store, *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["--base-dir", str(store.base), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def found(store: Store) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(run(store, "--json"))
    return answer


@pytest.fixture
def recorder(store: Store) -> Iterator[RecorderFile]:
    file = RecorderFile(store, *SOURCE)
    yield file
    file.close()


# The command -------------------------------------------------------------------------------------------------------


def test_json_is_for_programs(store: Store, recorder: RecorderFile) -> None:
    """All of it is there as JSON, times in UTC and lengths in seconds."""
    now = datetime.now(UTC)
    record(store, now - 20 * SECOND, 0, 1, 2, 4, 5)
    record(store, now - 20 * SECOND, 6, kind=SegmentType.TEMP)
    note(store, *SOURCE, [Missing(now - 14 * SECOND, 2 * SECOND, "timed_out")])
    recorder.write(RecorderState(recording=True, since=now - 60 * SECOND, clock_offset=2.5))
    (chan,) = found(store)
    assert (chan["channel"], chan["quality"], chan["recorder"], chan["reason"]) == ("chan", "source", "recording", None)
    assert (chan["clock_offset_seconds"], chan["under_way"]) == (2.5, 1)
    assert 8 <= chan["lag_seconds"] < 60
    hour = chan["last_hour"]
    assert (hour["recorded_seconds"], hour["missing_seconds"]) == ({"full": 10.0}, {"timed_out": 2.0})
    assert (hour["offered_seconds"], hour["covered"]) == (12.0, round(10 / 12, 6))
    assert [each["reason"] for each in hour["missing"]] == ["timed_out"]
    assert chan["last_day"] == hour


def test_people_read_a_paragraph(store: Store, recorder: RecorderFile) -> None:
    """For a few qualities it says since when and why, what is missing with its times, and draws the last hours."""
    now = datetime.now(UTC)
    record(store, now - 20 * SECOND, 0, 1, 2, 4)
    missing = Missing(now - 14 * SECOND, 2 * SECOND, "expired")
    note(store, *SOURCE, [missing])
    recorder.write(RecorderState(recording=False, since=now - 300 * SECOND, reason="The stream is offline."))
    said = run(store)
    assert said.startswith(f"chan/source  waiting since {now - 300 * SECOND:%Y-%m-%d %H:%M:%S} (5 min ")
    assert "): The stream is offline.\n  newest segment  ended " in said
    assert f"    expired              2.0 s  {missing.start:%H:%M:%S} to {missing.end:%H:%M:%S}\n" in said
    assert "8.0 s full), 10.0 s offered\n" in said
    assert "█ complete" in said
    assert "\x1b" not in said


def test_store_of_another_recorder_is_read(store: Store) -> None:
    """Where no recorder has left word, and nothing was noted, the names tell what they can."""
    now = datetime.now(UTC)
    record(store, now - 20 * SECOND, 0, 1, 4)
    said = run(store, "chan")
    assert said.startswith("chan/source  no recorder has left word here; the names of the segments tell what follows\n")
    assert "  last hour       60.0% recorded (6.0 s full), 6.0 s offered\n    unknown              4.0 s  " in said


def test_many_times_are_counted(store: Store) -> None:
    """Of what happened often the number and the last time are told."""
    now = datetime.now(UTC)
    record(store, now - 20 * SECOND, 0, 2, 4, 6, 8)
    last = now - 6 * SECOND
    assert f"8.0 s  4 times, the last {last:%H:%M:%S} to {last + 2 * SECOND:%H:%M:%S}\n" in run(store)


def test_many_get_a_line_each(store: Store) -> None:
    """More than three qualities are a table, and named ones are told in full."""
    now = datetime.now(UTC)
    for number in range(4):
        record(store, now - 20 * SECOND, 0, 1, number + 1, recording=Recording(f"chan{number}", "source"))
    lines = run(store).splitlines()
    assert [line.split()[0] for line in lines] == ["recorder", *(f"chan{number}/source" for number in range(4))]
    assert lines[4].split()[1:] == ["unknown", lines[4].split()[2], "s", "60.0%", "60.0%", "unknown", "4.0", "s"]
    assert run(store, "chan1/source").startswith("chan1/source  no recorder")


def test_nothing_recorded_is_said(store: Store, tmp_path: Path) -> None:
    """An empty store is no error; a missing one, and a channel that is not there, are one sentence."""
    store.base.mkdir()
    assert run(store) == f"Nothing is recorded in {store.base}.\n"
    assert found(store) == []
    (store.base / "chan" / "source").mkdir(parents=True)
    assert "  last hour       nothing\n" in run(store)
    result = CliRunner().invoke(cli, ["--base-dir", str(store.base), "demo"])
    assert (result.exit_code, result.output) == (
        1, f"Error: Nothing is recorded of demo; there is chan/source in {store.base}.\n"
    )  # fmt: skip
    result = CliRunner().invoke(cli, ["--base-dir", str(tmp_path / "none")])
    assert result.output.startswith(f"Error: The folder {tmp_path / 'none'} cannot be read (")


def test_quality_that_waits_is_shown(store: Store, recorder: RecorderFile) -> None:
    """A channel that has never been recorded is shown while it is waited for."""
    recorder.write(RecorderState(recording=False, since=datetime.now(UTC), reason="The stream is offline."))
    said = run(store, "chan")
    assert "The stream is offline.\n  last hour       nothing\n" in said
    (chan,) = found(store)
    assert (chan["recorder"], chan["newest"], chan["lag_seconds"]) == ("waiting", None, None)


def test_data_folder_may_be_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data` is the folder above the store, as for `respool up`; a `--base-dir` that is given goes first."""
    record(store, NOON, 0)
    named = CliRunner().invoke(cli, ["--data", str(store.base.parent), "--json"])
    monkeypatch.setenv("RESPOOL_DATA", "/nowhere")
    assert [each["channel"] for each in json.loads(named.output)] == ["chan"]
    assert [each["channel"] for each in found(store)] == ["chan"]


def test_terminal_gets_colours(store: Store) -> None:
    """In a terminal the picture and the recorder's state have colours."""
    record(store, datetime.now(UTC) - 20 * SECOND, 0, 1)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "respool", "status", "--base-dir", str(store.base)]
    with subprocess.Popen(command, stdout=theirs, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # how a terminal tells its end
            pass
        assert process.wait() == 0
    os.close(ours)
    assert b"\x1b[32m" in said
