"""The runner of ffmpeg: real processes, however they end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from blockbuster import blockbuster_ctx

from common.encoding import input_url
from common.errors import UserError
from common.ffmpeg import FfmpegError, Progress, ProgressReader, find_ffmpeg, run, stream
from log_events import PATIENCE_SECONDS, log_events

FFMPEG = find_ffmpeg()
RAW = ["-f", "s16le", "-ar", "48000", "-ch_layout", "stereo", "-i"]
RAW_BYTES_PER_SECOND = 192_000
ENDLESS = [FFMPEG, "-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-f", "s16le"]


def remaining() -> tuple[int, set[int]]:
    """How many descriptors are open, and which children there are."""
    tasks = Path("/proc/self/task").glob("*/children")
    return len([*Path("/proc/self/fd").iterdir()]), {int(child) for task in tasks for child in task.read_text().split()}


@pytest.fixture(autouse=True)
async def nothing_remains() -> AsyncIterator[None]:
    """After each test there are as many descriptors and children as before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.to_thread(os.getpid)  # the executor's first thread is not what is looked for
    before = remaining()
    yield
    assert remaining() == before


async def silence(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(RAW_BYTES_PER_SECOND // 10)


async def started(children: set[int]) -> int:
    """Wait for a child that was not there before, and give its number."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := remaining()[1] - children):  # noqa: ASYNC110 - only /proc tells
            await asyncio.sleep(0)
    return found.pop()


async def test_what_ffmpeg_writes_comes_out() -> None:
    """Every byte that ffmpeg writes comes out, made of all inputs, nothing blocks the loop; its line says for whom."""
    command = [
        FFMPEG,
        *RAW,
        input_url(0),
        *RAW,
        input_url(1),
        "-filter_complex",
        "concat=v=0:a=1",
        "-f",
        "s16le",
        "pipe:1",
    ]
    size = 0
    asked = structlog.contextvars.bound_contextvars(request_id="r1")
    with blockbuster_ctx("common"), log_events() as events, asked:
        async with aclosing(stream(command, inputs=[silence(30), silence(7)], timeout=20, purpose="test")) as output:
            async for chunk in output:
                size += len(chunk)
        (line,) = await events.wait("ffmpeg_ended")
    assert size == 3.7 * RAW_BYTES_PER_SECOND
    assert (line["purpose"], line["outcome"], line["exit_code"], line["request_id"]) == ("test", "done", 0, "r1")
    assert line["cpu_seconds"] > 0
    assert line["memory_bytes"] > 1_000_000


async def test_a_slow_reader_holds_back_the_source() -> None:
    """No more is taken from a source than pipes and ffmpeg hold, as long as nobody reads on."""
    fed = read = ahead = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal fed
        while True:
            yield bytes(1 << 16)
            fed += 1 << 16

    command = [FFMPEG, *RAW, input_url(0), "-c", "copy", "-f", "s16le", "pipe:1"]
    async with aclosing(stream(command, inputs=[endless()], timeout=20, purpose="test")) as output:
        async for chunk in output:
            read += len(chunk)
            ahead = max(ahead, fed - read)
            if read > 40 << 20:
                break
    assert ahead < 8 << 20


async def test_an_input_that_is_no_longer_wanted_is_no_error() -> None:
    """When ffmpeg has enough and ends well, the rest of its input is not asked for, and its source is closed."""
    closed = False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal closed
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            closed = True

    command = [FFMPEG, *RAW, input_url(0), "-t", "1", "-f", "null", "-"]
    finished = await run(command, inputs=[endless()], timeout=20, purpose="test")
    assert closed
    assert finished.warnings == ""
    assert finished.seconds > 0


async def test_a_source_that_fails_ends_the_run(tmp_path: Path) -> None:
    """What a source raises is raised by the run, and the file is gone, though ffmpeg could make one of the rest."""

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(RAW_BYTES_PER_SECOND)
        raise LookupError("the segment is gone")

    target = tmp_path / "made.mkv"
    command = [FFMPEG, *RAW, input_url(0), str(target)]
    with pytest.raises(LookupError, match="the segment is gone"):
        await run(command, inputs=[broken()], timeout=20, purpose="test", output=target)
    assert not target.exists()


async def test_a_cancelled_run_leaves_nothing(tmp_path: Path) -> None:
    """A run that is cancelled leaves no process and no file, and closes its sources."""
    children = remaining()[1]
    target = tmp_path / "made.mkv"
    fed, hold = asyncio.Event(), asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        try:
            yield bytes(RAW_BYTES_PER_SECOND)
            fed.set()
            await asyncio.Event().wait()
        finally:
            hold.set()

    command = [FFMPEG, *RAW, input_url(0), "-flush_packets", "1", str(target)]
    running = asyncio.create_task(run(command, inputs=[waiting()], timeout=60, purpose="test", output=target))
    pid = await started(children)
    async with asyncio.timeout(60):
        await fed.wait()
    while not target.exists():  # noqa: ASYNC110 - only the file tells
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert hold.is_set()
    assert not target.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_reader_that_has_enough_ends_the_run() -> None:
    """Closing the iterator ends ffmpeg, which would go on for ever."""
    with log_events() as events:
        async with aclosing(stream([*ENDLESS, "pipe:1"], timeout=20, purpose="test")) as output:
            assert await anext(output)
        (line,) = await events.wait("ffmpeg_ended")
    assert line["outcome"] == "abandoned"


async def test_a_run_that_takes_too_long_is_killed() -> None:
    """A run that is not done in its time is killed, and the error says so."""
    with pytest.raises(FfmpegError, match=r"\(test\) took longer than 0\.2 seconds") as raised:
        await run([*ENDLESS, "-y", "/dev/null"], timeout=0.2, purpose="test")
    assert raised.value.exit_code == -signal.SIGKILL


async def test_a_stream_that_gives_nothing_is_killed() -> None:
    """A run that writes nothing while it is waited for is killed, however much it wrote before."""

    async def stuck() -> AsyncIterator[bytes]:
        yield bytes(RAW_BYTES_PER_SECOND)
        await asyncio.Event().wait()

    command = [FFMPEG, *RAW, input_url(0), "-c", "copy", "-flush_packets", "1", "-f", "s16le", "pipe:1"]
    got = 0

    async def read() -> None:
        nonlocal got
        async with aclosing(stream(command, inputs=[stuck()], timeout=1, purpose="test")) as output:
            async for chunk in output:
                got += len(chunk)

    with pytest.raises(FfmpegError, match="took longer than 1 seconds"):
        await read()
    assert got > 0


async def test_the_error_ends_with_what_ffmpeg_said() -> None:
    """The error has the exit code, ffmpeg's last line in its sentence, and at most 4 KB of what it said."""
    command = [FFMPEG, "-loglevel", "debug", "-f", "lavfi", "-i", "testsrc=d=1", "-f", "nothing", "-"]
    with pytest.raises(FfmpegError, match=r"ffmpeg \(test\) failed with exit code \d+: .+") as raised:
        await run(command, timeout=20, purpose="test")
    assert "'nothing' is not known" in raised.value.tail
    assert 1000 < len(raised.value.tail) <= 4096
    assert raised.value.exit_code


async def test_a_killed_ffmpeg_is_an_error() -> None:
    """An ffmpeg that somebody kills is a failure like another."""
    children = remaining()[1]
    running = asyncio.create_task(run([*ENDLESS, "-y", "/dev/null"], timeout=60, purpose="test"))
    os.kill(await started(children), signal.SIGKILL)
    with pytest.raises(FfmpegError, match="exit code -9"):
        await running


async def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A path without a program is told as such."""
    with pytest.raises(FfmpegError, match="nothing cannot be run: No such file"):
        await run([str(tmp_path / "nothing")], timeout=20, purpose="test")


async def test_ffmpeg_runs_at_a_lower_priority() -> None:
    """Recording and serving come before ffmpeg and all its threads."""
    children = remaining()[1]
    command = [FFMPEG, "-f", "lavfi", "-i", "testsrc=size=320x180", "-c:v", "libx264", "-f", "null", "-"]
    heard = asyncio.Event()
    running = asyncio.create_task(run(command, timeout=60, purpose="test", progress=lambda _: heard.set()))
    pid = await started(children)
    await asyncio.wait_for(heard.wait(), PATIENCE_SECONDS)
    niceness = {os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}
    running.cancel()
    await asyncio.wait({running})
    assert niceness == {min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)}


async def test_progress_is_told() -> None:
    """Progress says frames, position and fraction, which ends at 1."""
    told = list[Progress]()
    source = "testsrc=size=320x180:rate=25:d=4"
    command = [FFMPEG, "-f", "lavfi", "-i", source, "-f", "null", "-"]
    await run(command, timeout=20, purpose="test", progress=told.append, duration=timedelta(seconds=4))
    assert (told[-1].frames, told[-1].position, told[-1].fraction) == (100, timedelta(seconds=4), 1.0)
    assert told[-1].left == timedelta(0)
    assert told == sorted(told, key=lambda each: each.frames)


async def test_a_callback_that_fails_ends_the_run() -> None:
    """What the callback for progress raises is raised by the run."""

    def refuse(_: Progress) -> None:
        raise LookupError("no one there")

    with pytest.raises(LookupError, match="no one there"):
        await run([*ENDLESS, "-y", "/dev/null"], timeout=60, purpose="test", progress=refuse)


REPORT = "frame=30\nout_time_us={position}\nspeed={speed}\nprogress={state}\n"


@pytest.mark.parametrize(
    ("position", "speed", "state", "expected"),
    [
        ("N/A", "N/A", "continue", (timedelta(0), None, 0.0, None)),
        ("-21333", "N/A", "continue", (timedelta(0), None, 0.0, None)),
        ("2500000", " 2.5x", "continue", (timedelta(seconds=2.5), 2.5, 0.25, timedelta(seconds=3))),
        ("2500000", "0x", "continue", (timedelta(seconds=2.5), 0.0, 0.25, None)),
        ("12000000", "4x", "continue", (timedelta(seconds=12), 4.0, 1.0, timedelta(0))),
        ("9900000", "1x", "end", (timedelta(seconds=9.9), 1.0, 1.0, timedelta(0))),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_reports_are_read(position: str, speed: str, state: str, expected: tuple[object, ...], piece: int) -> None:
    """A report is read in whatever pieces it comes, and what ffmpeg does not know is None."""
    text = REPORT.format(position=position, speed=speed, state=state).encode()
    reader = ProgressReader(timedelta(seconds=10))
    told = [each for at in range(0, len(text), piece) for each in reader.read(text[at : at + piece])]
    assert told == [Progress(30, *expected)]  # type: ignore[arg-type]  # a row of the table


def test_without_a_duration_there_is_no_fraction() -> None:
    """Of an output of unknown length only the position is told."""
    text = REPORT.format(position="2500000", speed="1x", state="continue").encode()
    (told,) = ProgressReader().read(text)
    assert (told.position, told.fraction, told.left) == (timedelta(seconds=2.5), None, None)


ORPHAN = """
import asyncio
from common.encoding import input_url
from common.ffmpeg import find_ffmpeg, run

async def endless():
    while True:
        yield bytes(19200)

command = [find_ffmpeg(), "-f", "s16le", "-i", input_url(0), "-f", "s16le", "-y", "/dev/null"]
asyncio.run(run(command, inputs=[endless()], timeout=600, purpose="test", progress=lambda _: print("runs", flush=True)))
"""


async def test_ffmpeg_ends_when_its_parent_is_killed() -> None:
    """An ffmpeg that is fed ends soon after its parent was killed."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", ORPHAN, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    await asyncio.wait_for(parent.stdout.readline(), PATIENCE_SECONDS)
    tasks = Path(f"/proc/{parent.pid}/task").glob("*/children")
    (child,) = {int(child) for task in tasks for child in task.read_text().split()}
    ended = asyncio.Event()
    handle = os.pidfd_open(child)
    asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        parent.kill()
        await parent.communicate()
        await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


def test_the_ffmpeg_to_use_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one named comes first, then that of RESPOOL_FFMPEG; one that is not there is refused with a sentence."""
    mine = tmp_path / "ffmpeg"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("RESPOOL_FFMPEG", str(mine))
    assert find_ffmpeg() == str(mine)
    assert find_ffmpeg("/bin/sh") == "/bin/sh"
    with pytest.raises(UserError, match="There is no ffmpeg at /nowhere"):
        find_ffmpeg("/nowhere")


def test_the_runner_loads_no_ffmpeg() -> None:
    """Importing the runner loads none of the libraries around ffmpeg."""
    code = "import sys, common.ffmpeg; print({'imageio_ffmpeg', 'ffmpeg', 'av', 'numpy'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert shown.stdout == "set()\n"
