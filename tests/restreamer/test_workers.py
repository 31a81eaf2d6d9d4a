"""Several processes on one port: real ones, as the command starts them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.segments import Segment
from common.store import Store
from restreamer.workers import metrics_folder, reserved

Put = Callable[..., Segment]

# Far more than a stop is promised to take (`common.service`), which a loaded machine may not keep.
PATIENCE_SECONDS = 60.0


class Restreamer:
    """The command with its workers, and what it logs."""

    def __init__(self, base: Path, temporary: Path, port: int, *, supervised: bool = False) -> None:
        command = ["--base-dir", str(base), "--port", str(port), "--workers", "2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "restreamer", *command],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary), **({"RESPOOL_SUPERVISED": "1"} if supervised else {})},
        )
        assert self.process.stderr is not None
        self.log = self.process.stderr
        self.port = port

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read the log up to an event."""
        for line in self.log:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                self.port = int((re.findall(r":(\d+)/", entry.get("url", "")) or [self.port])[0])
                return entry
        pytest.fail(f"The log ended without {event}.")

    def ask(self, path: str) -> str:
        """Ask on a connection of its own, which any worker may get."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            return response.read().decode()

    def answered(self, route: str) -> float:
        """How many requests of a route the metrics count."""
        found = re.findall(rf'respool_http_request_seconds_count{{.*route="{route}".*}} (.+)', self.ask("/metrics"))
        return sum(map(float, found))

    def end(self) -> int:
        """Wait for the end, which includes that of whoever writes to our pipe."""
        self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode


@contextmanager
def running(store: Store, temporary: Path, *, supervised: bool = False) -> Iterator[Restreamer]:
    restreamer = Restreamer(store.base, temporary, 0, supervised=supervised)
    with restreamer.process:
        try:
            for _ in range(2):
                restreamer.wait_for("serving")
            yield restreamer
        finally:
            restreamer.process.terminate()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Give a folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_workers_share_a_port_and_their_metrics(store: Store, put: Put, temporary: Path) -> None:
    """Whichever worker answers, the metrics are those of all, also when one has died; and a signal ends them all."""
    put("12:00:00")
    with running(store, temporary) as restreamer:
        for number in range(20):
            assert restreamer.answered("/files") == number
            assert restreamer.ask("/files") == '["chan"]'
        (shared,) = temporary.iterdir()
        counting = {int(found[1]) for path in shared.iterdir() if (found := re.search(r"_(\d+)\.db$", path.name))}
        assert len(counting) == 2, "one worker got all connections"
        os.kill(min(counting), signal.SIGKILL)
        assert restreamer.wait_for("service_ended")["exit_code"] == -signal.SIGKILL
        restreamer.wait_for("serving")
        assert restreamer.answered("/files") == 20
        restreamer.process.terminate()
        assert restreamer.end() == 0
    assert list(temporary.iterdir()) == []


def test_workers_end_with_their_parent(store: Store, temporary: Path) -> None:
    """Killed with -9, the parent takes its workers along."""
    with running(store, temporary) as restreamer:
        restreamer.process.kill()
        assert restreamer.end() == -signal.SIGKILL


def test_what_a_killed_parent_left_is_removed(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start removes the metrics of one that was killed, not of one that lives or just begins, nor others' folders."""
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    names = "respool-metrics-dead", "respool-metrics-new", "something-else"
    dead, new, other = (temporary / name for name in names)
    for folder in (dead, new, other):
        folder.mkdir()
        (folder / "counter_1.db").touch()
    (temporary / "respool-metrics-link").symlink_to(other)
    with metrics_folder() as living:
        for folder in (dead, other, Path(living)):
            os.utime(folder, (1e9, 1e9))
        with metrics_folder() as ours:
            assert {path.name for path in temporary.iterdir()} == {
                *(new.name, other.name, "respool-metrics-link", Path(living).name, Path(ours).name)
            }
            assert [*other.iterdir()] != []


def test_a_supervised_parent_ends_with_its_supervisor(store: Store, temporary: Path) -> None:
    """At the end of its input a supervised parent stops, and its workers with it."""
    with running(store, temporary, supervised=True) as restreamer:
        assert restreamer.process.stdin is not None
        restreamer.process.stdin.close()
        restreamer.process.stdin = None
        assert restreamer.end() == 0


def test_a_port_in_use_is_said_once(store: Store, temporary: Path) -> None:
    """With its port in use no worker is started, and one sentence says why."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        restreamer = Restreamer(store.base, temporary, taken.getsockname()[1])
        with restreamer.process:
            (line,) = restreamer.log.read().splitlines()
    assert "is in use" in json.loads(line)["reason"]
    assert restreamer.process.returncode == 1


def test_a_port_that_others_share_is_not_free() -> None:
    """Another service that shares its port with its own workers does not share it with ours."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="is in use"), reserved("127.0.0.1", other.getsockname()[1]):
            pass


def test_a_reserved_port_is_for_those_that_share_it() -> None:
    """A port that was free is reserved, and the workers, however many, can listen there."""
    with (
        reserved("127.0.0.1", 0) as port,
        socket.create_server(("127.0.0.1", port), reuse_port=True),
        socket.create_server(("127.0.0.1", port), reuse_port=True),
        socket.create_connection(("127.0.0.1", port)) as connection,
    ):
        assert connection.getpeername() == ("127.0.0.1", port)
