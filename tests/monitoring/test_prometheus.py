"""A real Prometheus that watches a real system of two nodes: what it is shown, and what it says of faults.

Its rules are ours, made quick (`quick`); its targets are those that `respool up` tells, and the second node.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from running_up import PATIENCE, Up, get, query, respool, until

Json = dict[str, Any]

# Panels of which a system that has just been started, and is well, rightly has nothing to show.
EMPTY_PANELS = {
    "Disk full in": "how fast a disk fills is only said after a minute",
    "Playlists that failed, a minute": "none has failed",
    "Other nodes start segments later by": "the downloader was told of no other node",
    "Segments with a mark of advertising, a minute": "the demo stream has no advertisements",
    "Deleted, an hour": "no limit was given, so nothing is ever deleted",
}

# Alerts likewise, that is what they compare with a threshold.
EMPTY_ALERTS = {
    "RespoolNodesDisagree": "the downloader was told of no other node",
    "RespoolBackfillFailing": "the second node gives all that it lists",
}

COMPARED = re.compile(r" (?:==|>=|>|<) [\d.]+")


def quick(rules: str) -> str:
    """Make rules quick: what must last (`for`) need last a second, what was (`offset`) was a second ago.

    And a channel is behind after eight seconds in place of sixty. All else is as it is.
    """
    rules, lasting = re.subn(r"\bfor: \d+m\b", "for: 1s", rules)
    rules, past = re.subn(r"\boffset \d+m\b", "offset 1s", rules)
    rules, behind = re.subn(r"(respool_recording_lag_seconds >) 60\b", r"\1 8", rules)
    assert (lasting > 10, past, behind) == (True, 1, 1)
    return rules


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus, by its HTTP API."""

    address: str

    def ask(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 - as the path has it
        """Give the data of an answer; what Prometheus does not take fails."""
        status, body = get(self.address, f"/api/v1/{path}?{urlencode(parameters, quote_via=quote)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), (parameters, answer)
        return answer["data"]

    def has(self, expression: str) -> bool:
        """Tell whether an expression has a value now."""
        return bool(self.ask("query", query=expression)["result"])

    def firing(self) -> dict[str, Json]:
        """Give the labels of the alerts that fire, by their names."""
        alerts = self.ask("alerts")["alerts"]
        return {each["labels"]["alertname"]: each["labels"] for each in alerts if each["state"] == "firing"}


look_until = partial(until, seconds=2 * PATIENCE, every=0.2)  # what changes once a second


@contextmanager
def prometheus(folder: Path, rules: Path, targets: list[Path]) -> Iterator[Prometheus]:
    """Run one that looks each second at these files of targets, and at what they name."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("There is no prometheus: install Debian's package of that name.")
    (folder / "rules").mkdir(parents=True)
    for file in rules.glob("*.yml"):
        text = file.read_text()
        (folder / "rules" / file.name).write_text(quick(text) if file.name == "alerts.yml" else text)
    looks = {"files": [str(file) for file in targets], "refresh_interval": "1s"}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [{"job_name": "respool", "file_sd_configs": [looks]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML, too
    address = f"127.0.0.1:{free_port()}"
    flags = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *flags, f"--web.listen-address={address}"], stderr=log)
    try:
        until(lambda: is_ready(address), "Prometheus is ready")
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def is_ready(address: str) -> bool:
    with suppress(OSError):
        return get(address, "/-/ready")[0] == 200
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass
class SecondNode:
    """A restreamer with a store of its own, which may be cut off."""

    base: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "restreamer", "--base-dir", str(self.base), "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--log-level", "error"])

    def cut_off(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True, slots=True)
class System:
    """All that is watched, and who watches it."""

    up: Up
    second: SecondNode
    prometheus: Prometheus
    dsn: str

    def edit(self, title: str) -> None:
        """Have a video made of the newest segment."""
        newest = max(self.up.full_segments(), key=lambda segment: segment.start)
        ranges = f"ARRAY[ROW('{newest.start.isoformat()}', '{newest.end.isoformat()}')::video_range]"
        values = f"'EDITED', 'demo', 'source', {ranges}, '{title}', 'local', 'rough'"
        columns = "state, channel, quality, ranges, title, upload_location, cut_type"
        query(self.dsn, f"INSERT INTO events ({columns}) VALUES ({values})")  # noqa: S608 - our own values

    def wait_for_alerts(self, names: Collection[str]) -> None:
        look_until(lambda: self.prometheus.firing().keys() >= {*names}, f"{names} fire")

    def wait_for_video(self, title: str) -> None:
        asked = f"SELECT id FROM events WHERE title = '{title}' AND state = 'DONE'"  # noqa: S608 - likewise
        look_until(lambda: query(self.dsn, asked), f"{title} is a video")


@pytest.fixture(scope="module")
def system(root: Path, stream: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Give a system that has recorded, fetched from the second node and made a video, and is watched."""
    folder = tmp_path_factory.mktemp("watched")
    second = SecondNode(folder / "second")
    begin = datetime.now(UTC) - timedelta(minutes=10)
    for number, data in enumerate(stream):
        start = begin + number * timedelta(seconds=2)
        writer = SegmentWriter(Store(second.base), "hall", "source", start, timedelta(seconds=2))
        writer.write(data)
        writer.commit(SegmentType.FULL)
    labels = {"service": "restreamer", "node": "second"}
    target = folder / "second-targets.json"
    target.write_text(json.dumps([{"targets": [f"127.0.0.1:{second.port}"], "labels": labels}]))
    with ExitStack() as stack:
        stack.callback(second.cut_off)
        second.start()
        up = Up(folder / "data", "--node", second.url, variables={"RESPOOL_EVERY": "1"})
        stack.callback(up.end)
        targets = up.data / "prometheus-targets.json"
        until(targets.exists, "targets are told")
        watching = stack.enter_context(
            prometheus(folder / "prometheus", root / "monitoring" / "rules", [targets, target])
        )
        until(up.full, "the demo stream is recorded", 2 * PATIENCE)
        system = System(up, second, watching, respool("dsn", "--data", str(up.data)).stdout.strip())
        system.edit("The first")
        system.wait_for_video("The first")
        yield system
        up.stop()


def test_every_target_is_up(system: System) -> None:
    """Prometheus reaches every service of both nodes, and nothing else, with our labels."""
    services = {(socket.gethostname(), name) for name in ("backfiller", "cutter", "downloader", "librarian")}
    services |= {(node, "restreamer") for node in (socket.gethostname(), "second")}

    def found() -> bool:
        targets = system.prometheus.ask("targets")["activeTargets"]
        up = {(each["labels"]["node"], each["labels"]["service"]) for each in targets if each["health"] == "up"}
        return up == services and len(targets) == len(services)

    look_until(found, "every target is up")


def panels(root: Path) -> Iterator[tuple[str, str]]:
    """Give every query of every panel with the panel's title, for this machine and for either channel."""
    dashboards = tomllib.loads((root / "monitoring" / "dashboards.toml").read_text())
    for dashboard in dashboards.values():
        for row in dashboard["rows"]:
            for panel in row["panels"]:
                for expression, _ in panel["queries"]:
                    here = expression.replace("$node", socket.gethostname())
                    # what is young is not known to be missing yet: only the other channel has a coverage so soon
                    asked = " or ".join(f"({here.replace('$channel', channel)})" for channel in ("demo", "hall"))
                    assert "$" not in asked, asked
                    yield panel["title"], asked


def wait_for_answers(prometheus: Prometheus, asked: Iterable[tuple[str, str]]) -> None:
    """Wait until each query, which has a name, has an answer."""
    unanswered = [*asked]

    def ask() -> bool:
        unanswered[:] = [(name, each) for name, each in unanswered if not prometheus.has(each)]
        return not unanswered

    with suppress(AssertionError):
        look_until(ask, "all are answered")
    assert unanswered == []


def test_every_panel_shows_something(system: System, root: Path) -> None:
    """Every query of every panel is one that Prometheus takes, and has an answer, or rightly has none."""
    asked = [*panels(root)]
    assert EMPTY_PANELS.keys() <= {title for title, _ in asked}
    assert [system.prometheus.has(each) for _, each in asked]
    wait_for_answers(system.prometheus, [each for each in asked if each[0] not in EMPTY_PANELS])


def test_every_rule_is_about_something(system: System) -> None:
    """Every rule is worked out without a fault; what is recorded and compared is there, or rightly is not."""

    def rules() -> list[Json]:
        return [rule for group in system.prometheus.ask("rules")["groups"] for rule in group["rules"]]

    look_until(lambda: {rule["health"] for rule in rules()} == {"ok"}, "all rules are worked out")
    names = [rule["name"] for rule in rules()]
    assert len({*names}) == len(names) > 20
    assert EMPTY_ALERTS.keys() <= {*names}
    asked = [(rule["name"], COMPARED.sub("", rule["query"])) for rule in rules() if rule["name"] not in EMPTY_ALERTS]
    wait_for_answers(system.prometheus, asked)


def test_a_fault_raises_its_alert_and_its_repair_ends_it(system: System) -> None:
    """A channel that stops, a node that is cut off and a location that refuses are told, until they are repaired."""
    told = {
        "RespoolChannelBehind": ("channel", "demo"),
        "RespoolNodeAway": ("exported_node", system.second.url),
        "RespoolServiceDown": ("node", "second"),
        "RespoolLocationAway": ("location", "local"),
    }
    look_until(lambda: not system.prometheus.firing().keys() & told.keys(), "all is well")
    encoder = system.up.part("ffmpeg")
    os.kill(encoder.pid, signal.SIGSTOP)
    system.wait_for_alerts({"RespoolChannelBehind"})
    # the others are told sooner, and what fails again and again is tried less and less often
    videos, aside = system.up.data / "videos", system.up.data / "aside"
    videos.rename(aside)
    videos.touch()
    system.edit("The second")
    system.second.cut_off()
    system.wait_for_alerts(told.keys())
    firing = system.prometheus.firing()
    assert {name: (label, firing[name][label]) for name, (label, _) in told.items()} == told

    system.second.start()
    os.kill(encoder.pid, signal.SIGCONT)
    videos.unlink()
    aside.rename(videos)
    look_until(lambda: not system.prometheus.firing().keys() & told.keys(), "all is well again")
    system.wait_for_video("The second")
