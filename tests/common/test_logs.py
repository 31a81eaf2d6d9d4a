"""What is logged, as lines that programs read."""

import json
import subprocess
import sys

import pytest

from common import logs

SCRIPT = """
import logging, structlog
from common import logs
logs.configure({level!r}, "tested")
log = structlog.get_logger()
log.debug("too_quiet")
log.info("segment_committed", channel="chan", bytes=3)
logging.getLogger("library").info("not ours")
logging.getLogger("library").warning("odd %s", "thing")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


def test_log_lines_are_json() -> None:
    """Away from a terminal, each event is one JSON line with level, time, service and fields, libraries' too."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level="info")], capture_output=True, text=True, check=True, timeout=60
    )
    committed, library, failed = (json.loads(line) for line in done.stderr.splitlines())
    assert committed.pop("timestamp").endswith("Z")
    assert committed == {
        "event": "segment_committed",
        "channel": "chan",
        "bytes": 3,
        "level": "info",
        "service": "tested",
    }
    assert (library["event"], library["level"], library["service"]) == ("odd thing", "warning", "tested")
    assert "ZeroDivisionError" in failed["exception"]
    assert done.stdout == ""


@pytest.mark.parametrize("level", logs.LEVELS)
def test_levels(level: str) -> None:
    """Events below the level are not logged."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level)], capture_output=True, text=True, check=True, timeout=60
    )
    seen = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    ours = [event for event in ("too_quiet", "segment_committed", "failed") if event in seen]
    assert ours == ["too_quiet", "segment_committed", "failed"][{"debug": 0, "info": 1}.get(level, 2) :]


WRITES = """
import io, sys
written = []
class Stream(io.StringIO):
    def write(self, text):
        written.append(text)
        return len(text)
sys.stderr = Stream()
from common import logs
logs.configure("info", "tested")
import structlog
structlog.get_logger().info("something_happened", at=1)
print(len(written), written[0].endswith(chr(10)))
"""


def test_a_line_is_one_write() -> None:
    """Lines of several processes on one standard error do not run into each other."""
    done = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1 True\n"


EVERYTHING = """
import asyncio, logging, sys, threading, warnings
import structlog
from common import logs, metrics
logs.configure("info", "tested")
logs.catch_the_rest()
log = structlog.get_logger()
with structlog.contextvars.bound_contextvars(request_id="r1"):
    log.info("asked", url="https://me:SECRET@a.example/b?token=SECRET", headers={"Cookie": "a=SECRET"})
try:
    raise RuntimeError("postgresql://me:SECRET@db/respool cannot be reached")
except RuntimeError:
    log.exception("failed")
    logging.getLogger("library").exception("with %s", "Authorization: Bearer SECRET")
log.debug("too_quiet")
warnings.warn("password=SECRET is odd")
def die():
    raise ValueError("secret: SECRET")
thread = threading.Thread(target=die, name="worker")
thread.start()
thread.join()
class Odd:
    def __del__(self):
        raise ValueError("api_key=SECRET")
Odd()
async def fail():
    raise KeyError("sig=SECRET")
async def main():
    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
asyncio.run(main())
print(metrics.render().decode())
"""


def test_all_goes_one_way_without_secrets() -> None:
    """Lines of ours and of libraries, warnings, errors of threads and tasks: one form, counted, without secrets."""
    done = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, check=True, timeout=60)
    assert "SECRET" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [[*line][:4] for line in lines] == [["timestamp", "level", "service", "event"]] * 7
    assert [(line["level"], line["event"].partition("\n")[0]) for line in lines] == [
        ("info", "asked"),
        ("error", "failed"),
        ("error", "with Authorization: ***"),
        ("warning", "<string>:16: UserWarning: password=*** is odd"),
        ("error", "thread_died"),
        ("error", "error_not_raised"),
        ("error", "Task exception was never retrieved"),
    ]
    assert lines[0]["request_id"] == "r1"
    assert lines[0]["url"] == "https://***@a.example/b?***"
    assert [line.get("thread") for line in lines].count("worker") == 1
    assert all("Traceback" in line["exception"] for line in lines if line["level"] == "error")
    for level, count in (("debug", 0), ("info", 1), ("warning", 1), ("error", 5), ("critical", 0)):
        assert f'respool_log_lines_total{{level="{level}"}} {count}.0\n' in done.stdout


def test_a_terminal_obeys_nobody() -> None:
    """On a terminal, control characters that came from elsewhere are shown, and not sent to it."""
    event = {"event": "odd", "path": "a\x1b[2Jb\x07é\nc", "n": 3}
    assert logs._escape(None, "", event) == {"event": "odd", "path": "a\\x1b[2Jb\\x07é\nc", "n": 3}
