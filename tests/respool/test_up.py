"""`respool up` with all that it runs: its life, the death of each of its parts, and what it must refuse."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common.lifetimes import AgeLimit, Limits
from common.segments import Segment, SegmentType, content_hash
from librarian.main import cli as librarian
from respool.up import Config, data_folder, librarian_arguments, metrics_ports, write_targets
from running_up import (
    PATIENCE,
    SERVICES,
    Up,
    family,
    get,
    healthy,
    mentioning,
    processes,
    query,
    respool,
    until,
)

STOP_SECONDS = 5.0  # the promise

# A live playlist of a stream that is nowhere: nobody listens on port 9 (discard) of this machine.
NOWHERE = "http://127.0.0.1:9/live.m3u8"

# What is shown of a histogram, and of anything else beside its name.
ENDINGS = ("", "_bucket", "_count", "_sum")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Begin a `respool up` on the folder `data` of the test, however often."""
    begun: list[Up] = []

    def begin(*arguments: str, port: int = 0) -> Up:
        begun.append(Up(tmp_path / "data", *arguments, port=port))
        return begun[-1]

    yield begin
    for up in begun:
        up.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that runs while several tests only look at it."""
    up = Up(tmp_path_factory.mktemp("up") / "data")
    try:
        up.page()
        yield up
        assert up.stop() < STOP_SECONDS
        assert up.events("service_ended") == []
        up.assert_calm()
    finally:
        up.end()


def assert_whole(segments: dict[Path, Segment]) -> None:
    """Every file under a final name has the content that its name tells."""
    for path, segment in segments.items():
        if segment.type is not SegmentType.TEMP:
            assert segment.hash == content_hash(sha256(path.read_bytes()).digest()), path


# One that runs -------------------------------------------------------------------------------------------------------


def test_everything_runs(running: Up) -> None:
    """It says what it does and which page to open, which answers, and the demo stream is recorded."""
    assert until(lambda: len(running.full()) > 1, "the demo stream is recorded")
    assert_whole(running.segments())
    status, body = get(running.page(), "/")
    assert (status, b"<html" in body) == (200, True)
    assert json.loads(get(running.page(), "/files")[1]) == ["demo"]
    assert b"#EXTM3U" in get(running.page(), "/playlist/demo/source.m3u8")[1]
    assert running.out.splitlines()[:4] == [
        "respool: Starting the database.",
        "respool: No channel is named: making a demo stream to record.",
        f"respool: Recording demo into {running.data / 'segments'}.",
        f"respool: Open {running.page()} to watch; Ctrl-C stops everything.",
    ]


def test_dsn_leads_to_the_database(running: Up) -> None:
    """`respool dsn` prints the address of the database, in which this machine is a node."""
    done = respool("dsn", "--data", str(running.data))
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: query(done.stdout.strip(), "SELECT url FROM nodes") == [running.page()], "the node is announced")


def test_prometheus_is_told_where_every_service_is(running: Up) -> None:
    """A file in Prometheus' own form names each service's metrics, which are there and are those of that service."""
    targets = json.loads((running.data / "prometheus-targets.json").read_text())
    assert [each["labels"]["service"] for each in targets] == ["restreamer", "downloader", "cutter", "librarian"]
    listed = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = {f"{name}{ending}" for name in re.findall(r"`(respool_\w+)`", listed) for ending in ENDINGS}
    for each in targets:
        (address,), labels = each["targets"], each["labels"]
        until(partial(healthy, address), f"{labels['service']} answers")
        status, text = get(address, "/metrics")
        assert (status, labels["node"]) == (200, socket.gethostname())
        assert f'service="{labels["service"]}",version='.encode() in text
        assert set(re.findall(r"^(respool_\w+)", text.decode(), re.MULTILINE)) <= names
        assert b"\nprocess_start_time_seconds " in text


def test_edited_event_becomes_a_video(running: Up) -> None:
    """An event that is edited in the database is a file in DATA/videos soon after, with nothing configured."""
    until(lambda: len(running.full()) > 2, "the demo stream is recorded")
    starts = sorted(segment.start for segment in running.full_segments())
    dsn = respool("dsn", "--data", str(running.data)).stdout.strip()
    ranges = f"ARRAY[ROW('{starts[0].isoformat()}', '{starts[1].isoformat()}')::video_range]"
    values = f"'EDITED', 'demo', 'source', {ranges}, 'The first', 'local', 'rough'"
    columns = "state, channel, quality, ranges, title, upload_location, cut_type"
    query(dsn, f"INSERT INTO events ({columns}) VALUES ({values})")  # noqa: S608 - our own values
    (link,) = until(lambda: query(dsn, "SELECT video_link FROM events WHERE state = 'DONE'"), "the video is there")
    (video,) = (path for path in (running.data / "videos").rglob("*.ts"))
    assert (link, video.stat().st_size > 0) == (video.as_uri(), True)
    until(lambda: [*(running.data / "spool").glob("[!.]*")] == [], "the spool is empty")


def test_dsn_of_nothing_is_refused(tmp_path: Path) -> None:
    """Where nothing runs, `respool dsn` says so in a sentence."""
    done = respool("dsn", "--data", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    said = f"Error: No database runs in {tmp_path / 'postgres'}: start it with `respool up --data {tmp_path}`.\n"
    assert done.stderr == said


def test_stream_that_is_away_does_not_hinder_others(running: Up, start: Callable[..., Up]) -> None:
    """Beside a stream that does not answer, the other one is recorded; what is wrong is logged once.

    What another machine has comes from there.
    """
    running.recording()
    demo = running.events("demo_listening")[0]["url"]
    up = start("--channel", f"bad={NOWHERE}", "--channel", f"good={demo}", "--node", running.page())
    until(lambda: up.full("demo"), "the other's recording comes")
    up.recording("good")
    up.recording("good")
    (complaint,) = up.events("stream_not_recorded")
    assert complaint["channel"] == "bad"
    assert up.segments("bad") == {}
    assert [process for process in family(up.process.pid) if process.kind == "ffmpeg"] == []
    assert up.stop() < STOP_SECONDS


# Its end -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_everything(number: int, start: Callable[..., Up]) -> None:
    """SIGTERM and Ctrl-C stop all processes within five seconds, viewers or not; what is recorded is whole."""
    up = start()
    host, port = up.page().removeprefix("http://").strip("/").split(":")
    up.recording()
    path = next(iter(up.full()))
    with socket.create_connection((host, int(port))) as viewer:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.sendall(f"GET /segments/demo/source/{path.parent.name}/{path.name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert viewer.recv(8) == b"HTTP/1.1"
        assert up.stop(number) < STOP_SECONDS
    assert_whole(up.segments())
    assert {segment.type for segment in up.segments().values()} <= {SegmentType.FULL, SegmentType.PARTIAL}
    assert not (up.data / "respool-demo-stream").exists()
    assert up.out.endswith("respool: Stopping.\n")
    up.assert_calm()


def test_stop_in_the_middle_of_the_start(start: Callable[..., Up]) -> None:
    """Ctrl-C while services have just been started, and handle no signals yet, stops all of them without a trace."""
    up = start()
    until(lambda: up.events("service_started"), "a service is started")
    assert up.stop(signal.SIGINT) < STOP_SECONDS
    up.assert_calm()


def test_what_hangs_is_killed(start: Callable[..., Up]) -> None:
    """A stop takes no longer than five seconds if all the others hang."""
    up = start()
    up.page()
    for kind in SERVICES:
        os.kill(up.part(kind).pid, signal.SIGSTOP)
    assert up.stop() < STOP_SECONDS


# Deaths --------------------------------------------------------------------------------------------------------------


def test_what_is_killed_comes_back(start: Callable[..., Up]) -> None:
    """Killed one by one, each part is started again and does its work; killed itself, `up` leaves nothing running."""
    up = start()
    page = up.page()
    up.recording()
    for kind in SERVICES:
        killed = up.part(kind)
        os.kill(killed.pid, signal.SIGKILL)
        assert up.part(kind, but=killed) != killed
    up.recording()
    until(lambda: healthy(page), "the page answers")
    dsn = respool("dsn", "--data", str(up.data)).stdout.strip()
    until(lambda: query(dsn, "SELECT url FROM nodes") == [page], "the database answers")
    assert_whole(up.segments())

    members = family(up.process.pid)
    up.process.kill()
    up.process.wait()
    until(lambda: not members & set(processes().values()), "all of them end", STOP_SECONDS)
    assert mentioning(up.data) == set()


def test_recording_goes_on_after_a_kill(start: Callable[..., Up]) -> None:
    """Killed and started again at once, on the same port, it goes on; what was half-written is kept as partial."""
    up = start()
    page = up.page()
    before = up.recording()
    up.process.kill()
    up.process.wait()
    # half a segment, as a downloader leaves it that was killed while it wrote
    whole = next(iter(before))
    clock, _, _ = whole.name.partition("-")
    temp = whole.with_name(f"{clock}-2.0-temp-8ce5bc79-3fe5-4ab3-bb4c-1a3a1a0b8f3e.ts")
    temp.write_bytes(whole.read_bytes()[:1000])

    again = start(port=int(page.rstrip("/").rpartition(":")[2]))
    assert again.page() == page
    again.recording()
    until(lambda: not temp.exists(), "the temp is dealt with")
    partial = [path for path, segment in again.segments().items() if segment.type is SegmentType.PARTIAL]
    assert [path.read_bytes() for path in partial if path.name.startswith(clock)] == [whole.read_bytes()[:1000]]
    assert before < again.full()
    assert again.stop() < STOP_SECONDS
    assert_whole(again.segments())
    assert SegmentType.TEMP not in {segment.type for segment in again.segments().values()}


def test_limits_are_passed_on() -> None:
    """What the librarian is told of limits means to it what was said to `up`."""
    limits = Limits((AgeLimit("*", "*", timedelta(days=30)), AgeLimit("a b", "720p", timedelta(hours=36))), 10**12, 5)
    told = librarian.make_context("librarian", ["--without-database", *librarian_arguments(limits)]).params
    assert Limits(told["max_age"], told["max_size"], told["min_free"]) == limits
    assert librarian_arguments(Limits()) == []


# Refusals ------------------------------------------------------------------------------------------------------------


def refused(up: Up, sentence: str) -> None:
    """It ends by itself, soon, with this sentence alone, and leaves no process behind."""
    assert up.process.wait(PATIENCE) == 1
    (event,) = map(json.loads, up.err.splitlines())
    assert (event["event"], event["reason"]) == ("cannot_run", sentence)
    assert mentioning(up.data) == set()


def test_port_in_use_is_refused(start: Callable[..., Up]) -> None:
    """A port that another program uses is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(
            start(port=port),
            f"Cannot listen on 127.0.0.1 port {port} (Address already in use): "
            "stop what uses it or choose another with --port.",
        )


def test_folder_that_cannot_be_written_is_refused(tmp_path: Path, start: Callable[..., Up]) -> None:
    """A data folder that cannot be made is named, with the reason."""
    (tmp_path / "file").touch()
    refused(
        start("--data", str(tmp_path / "file" / "data")),
        f"The folder {tmp_path / 'file' / 'data'} cannot be used (Not a directory: {tmp_path / 'file' / 'data'}); "
        "change its rights or name another with --data.",
    )


def test_file_in_the_place_of_the_store_is_refused(tmp_path: Path, start: Callable[..., Up]) -> None:
    """So is one in which something stands in the way."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "segments").touch()
    refused(
        start(),
        f"The folder {tmp_path / 'data'} cannot be used (File exists: {tmp_path / 'data' / 'segments'}); "
        "change its rights or name another with --data.",
    )


def test_folder_in_use_is_refused(running: Up, tmp_path: Path, start: Callable[..., Up]) -> None:
    """A data folder that another one uses is named, and that other one goes on."""
    up = start("--data", str(running.data))
    assert up.process.wait(PATIENCE) == 1
    assert json.loads(up.err)["reason"] == (
        f"Another `respool up` uses {running.data}; stop that one, or name another with --data."
    )
    running.recording()


OTHER_VERSION = (
    "{data} was made by another version of Respool (format 2, here 1); "
    "use that version, or name another folder with --data."
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"format": 2}', OTHER_VERSION),
        ("[]", '{data}/respool.json cannot be read; put back {{"format": 1}} if it was changed.'),
        ("{", '{data}/respool.json cannot be read; put back {{"format": 1}} if it was changed.'),
    ],
)
def test_folder_of_another_version_is_refused(
    content: str, sentence: str, tmp_path: Path, start: Callable[..., Up]
) -> None:
    """A data folder of another layout is left as it is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "respool.json").write_text(content)
    refused(start(), sentence.format(data=tmp_path / "data"))
    assert (tmp_path / "data" / "respool.json").read_text() == content
    assert not (tmp_path / "data" / "postgres").exists()


def test_database_of_another_version_is_refused(tmp_path: Path, start: Callable[..., Up]) -> None:
    """So is a database of another PostgreSQL."""
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    (tmp_path / "data" / "postgres" / "PG_VERSION").write_text("17\n")
    refused(
        start(),
        f"The database in {tmp_path / 'data' / 'postgres'} is of PostgreSQL 17, and this Respool brings 18: carry it "
        "over with the pg_dump of the Respool that made it, or move the folder away to begin with an empty one.",
    )


def test_start_that_was_killed_early_is_no_other_version(tmp_path: Path) -> None:
    """A mark of the version that never came to be written is written by the next start."""
    (tmp_path / "respool.json").touch()
    for _ in range(2):
        with data_folder(tmp_path):
            assert json.loads((tmp_path / "respool.json").read_text()) == {"format": 1}


def test_ports_for_metrics_are_the_next_free_ones() -> None:
    """Each service gets the first port after the page's that is free, none gets that of another; at the end, any."""
    with socket.create_server(("127.0.0.1", 0)) as page:
        number = page.getsockname()[1]
        with suppress(OSError), socket.create_server(("127.0.0.1", number + 1)):
            ports = metrics_ports(number)
            assert number + 1 not in ports.values()
            assert len({*ports.values()}) == len(ports) > 1
    assert len({*metrics_ports(65_535).values()}) > 1


def test_a_full_disk_is_no_reason_not_to_start(tmp_path: Path) -> None:
    """Where the file for Prometheus cannot be written, the log says so, and that is all."""
    config = Config(tmp_path / "gone", (), "source", "127.0.0.1", 8000, "info")
    with capture_logs() as logs:
        write_targets(config, {"downloader": 8001})
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("targets_not_written", "No such file or directory")
    ]
