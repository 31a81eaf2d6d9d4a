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
