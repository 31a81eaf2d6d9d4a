"""A real `respool up` as a process: what it says, which processes it has, how it ends."""

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import asyncpg

from common.dateutil import parse_hour
from common.segments import Segment, SegmentType, parse_name

T = TypeVar("T")

PATIENCE = 30.0  # seconds: far more than any of this takes, so that only a fault meets it

SERVICES = ("downloader", "restreamer", "cutter", "librarian", "ffmpeg", "postgres")


def until(condition: Callable[[], T], what: str, seconds: float = PATIENCE, *, every: float = 0.02) -> T:
    """Look again and again, with so many seconds in between, until it is true, and give what it then is."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(every)
    return found


# Processes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it; `started` tells it from a later one with the same number."""

    pid: int
    started: int
    parent: int = field(compare=False)  # another one once that has died
    command: str = field(compare=False)

    @property
    def kind(self) -> str:
        """Which of SERVICES it is; empty for what those have started, and for the rest."""
        patterns = {
            "downloader": r"-m downloader ",
            "restreamer": r"-m restreamer ",
            "cutter": r"-m cutter ",
            "librarian": r"-m librarian ",
            "ffmpeg": r"^\S*ffmpeg\S* ",
            "postgres": r"^\S*/postgres -D ",
        }
        return next((kind for kind, pattern in patterns.items() if re.search(pattern, self.command)), "")


def processes() -> dict[int, Process]:
    """All that live; a zombie is dead, only not buried by whoever has inherited it."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if stat[0] not in "ZX":
                found[int(folder.name)] = Process(int(folder.name), int(stat[19]), int(stat[1]), command)
    return found


def family(pid: int) -> set[Process]:
    """The process and all that descend from it."""
    living = processes()
    members = {living[pid]} if pid in living else set()
    while more := {process for process in living.values() if process.parent in {m.pid for m in members}} - members:
        members |= more
    return members


def mentioning(data: Path) -> set[Process]:
    """What lives and has to do with a data folder: named in the command, or as working folder."""
    found = set()
    for process in processes().values():
        with suppress(OSError):
            cwd = Path(f"/proc/{process.pid}/cwd").readlink()
            if str(data) in process.command or cwd.is_relative_to(data):
                found.add(process)
    return found


class Up:
    """A `respool up`, and what it says."""

    def __init__(self, data: Path, *arguments: str, port: int = 0, variables: Mapping[str, str] | None = None) -> None:
        """Start it with these environment variables and no other of ours; port 0 is a free one."""
        self.data = data
        self.began = time.time()
        self._out, self._err = data.with_suffix(".out"), data.with_suffix(".err")
        command = [sys.executable, "-m", "respool", "up", "--data", str(data), "--port", str(port), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RESPOOL_")}
        environment |= variables or {}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err, env=environment, start_new_session=True)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def events(self, name: str) -> list[dict[str, str]]:
        """What was logged under this name; every line of standard error is a log event."""
        found = [json.loads(line) for line in self.err.splitlines() if line.endswith("}")]
        return [event for event in found if event["event"] == name]

    def assert_calm(self) -> None:
        """Nobody left a trace, and `up` itself had nothing to complain about; a slow machine may make others wait."""
        events = [json.loads(line) for line in self.err.splitlines()]
        assert [event for event in events if event["service"] == "up" and event["level"] != "info"] == []

    def page(self) -> str:
        """The address that it tells to open, as soon as it does."""
        return until(lambda: self._said(r"Open (http://\S+) to watch"), "the address is told")

    def _said(self, pattern: str) -> str:
        assert self.process.poll() is None, self.err
        found = re.search(pattern, self.out)
        return found[1] if found else ""

    def segments(self, channel: str = "demo") -> dict[Path, Segment]:
        """What is in the store of a channel, temps included."""
        paths = (self.data / "segments" / channel / "source").glob("*/[!.]*")
        return {path: parse_name(parse_hour(path.parent.name), path.name) for path in paths}

    def full_segments(self) -> list[Segment]:
        return [segment for segment in self.segments().values() if segment.type is SegmentType.FULL]

    def full(self, channel: str = "demo") -> set[Path]:
        return {path for path, segment in self.segments(channel).items() if segment.type is SegmentType.FULL}

    def recording(self, channel: str = "demo") -> set[Path]:
        """What is recorded as soon as that is more than now."""
        before = self.full(channel)
        return until(lambda: self.full(channel) - before, f"{channel} is recorded")

    def part(self, kind: str, but: Process | None = None) -> Process:
        """The one process of a kind, as soon as it is there, but for one that is about to go.

        A child that has just been forked carries its parent's command until it has another program or title.
        """

        def find() -> list[Process]:
            found = {process.pid: process for process in family(self.process.pid) if process.kind == kind}
            return [process for process in found.values() if process.parent not in found and process != but]

        (found,) = until(find, f"{kind} runs")
        return found

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Stop it, by Ctrl-C as a terminal does, and see that nothing is left; the seconds that it took."""
        members = family(self.process.pid)
        began = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == 0, self.err
        took = time.monotonic() - began
        # what PostgreSQL leaves to end by itself may need a moment on a machine that is busy
        until(lambda: not members & set(processes().values()), "all of them end")
        until(lambda: not mentioning(self.data), "nothing is left")
        return took

    def end(self) -> None:
        """However the test went, leave nothing behind."""
        self.process.kill()
        self.process.wait()
        for process in mentioning(self.data):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def get(page: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(page.removeprefix("http://").strip("/"), timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def healthy(page: str) -> bool:
    with suppress(OSError):
        return get(page, "/health")[0] == 200
    return False


def query(dsn: str, sql: str) -> list[str]:
    """The first column of an answer; nothing while the database is about to answer."""

    async def ask() -> list[str]:
        connection = await asyncpg.connect(dsn)
        try:
            return [str(row[0]) for row in await connection.fetch(sql)]
        finally:
            await connection.close()

    with suppress(OSError, asyncpg.CannotConnectNowError):
        return asyncio.run(ask())
    return []


def respool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "respool", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
