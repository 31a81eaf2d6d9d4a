"""How services are kept running: real processes."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common.children import supervise

# Each start leaves a line; without its file in the way, it goes on until its input ends.
SERVICE = """
import os, sys
open("starts", "a").write(f"{os.getpid()} {sys.argv[1]} {os.environ['EXTRA']} {os.environ['RESPOOL_SUPERVISED']}\\n")
if os.path.exists("broken"):
    os.remove("broken")
    sys.exit(3)
sys.stdin.read() if sys.argv[1] == "polite" else __import__("signal").pause()
"""


async def started(folder: Path, times: int) -> list[list[str]]:
    """Wait until the service has been started so many times, and give what each start left."""
    async with asyncio.timeout(10):
        while not (folder / "starts").exists() or (folder / "starts").read_text().count("\n") < times:  # noqa: ASYNC110 - only its file tells
            await asyncio.sleep(0)
    return [line.split() for line in (folder / "starts").read_text().splitlines()]


async def test_a_service_that_ends_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that ends on its own is started again, whoever waits is told its number, and a stop ends it."""
    (tmp_path / "kept.py").write_text(SERVICE)
    (tmp_path / "broken").touch()
    monkeypatch.chdir(tmp_path)
    stop, gone = asyncio.Event(), list[int]()
    with capture_logs() as logs:
        running = asyncio.create_task(
            supervise("kept", ["polite"], stop, stop_seconds=5, environment={"EXTRA": "more"}, ended=gone.append)
        )
        first, second = await started(tmp_path, 2)
        assert first[1:] == second[1:] == ["polite", "more", "1"]
        stop.set()
        await asyncio.wait_for(running, 5)
    assert gone == [int(first[0])]
    assert [entry["exit_code"] for entry in logs if entry["event"] == "service_ended"] == [3]


async def test_a_service_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that does not care for the end of its input has its time, and is then killed."""
    (tmp_path / "kept.py").write_text(SERVICE)
    monkeypatch.chdir(tmp_path)
    stop = asyncio.Event()
    running = asyncio.create_task(
        supervise("kept", ["stubborn"], stop, stop_seconds=0.2, environment={"EXTRA": "more"})
    )
    ((number, *_),) = await started(tmp_path, 1)
    stop.set()
    await asyncio.wait_for(running, 5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), signal.SIGCONT)
