"""Nodes of real processes: downloader, restreamer, backfiller and librarian of each, on a machine of a network."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.dateutil import parse_hour
from common.segments import TOMBSTONE_SUFFIX, Segment, SegmentType, content_hash, parse_names, stem
from common.store import Store
from networks import Network

# Twelve processes start at once, the backfillers with a low priority, on whatever machine.
PATIENCE_SECONDS = 150.0

SERVICES = ("restreamer", "downloader", "backfiller", "librarian")


@dataclass(slots=True)
class RealNode:
    """A node: its store, its processes by their names, and all that they have logged."""

    name: str
    machine: int
    network: Network
    store: Store
    arguments: dict[str, Sequence[str]]
    port: int
    events: list[dict[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _logs: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where its restreamer answers."""
        return f"http://{self.network.address(self.machine)}:{self.port}"

    async def start(self, *services: str) -> None:
        """Start its processes, or some of them; they import what the test imports, wheel or source."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RESPOOL_")}
        for name in services or SERVICES:
            process = await asyncio.create_subprocess_exec(
                *(*self.network.command(self.machine), sys.executable, "-m", name),
                *("--base-dir", str(self.store.base), *self.arguments[name]),
                cwd=self.store.base.parent,
                env=inherited | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=1 << 20,
            )
            self.processes[name] = process
            self._logs.add(asyncio.ensure_future(self._read(name, process)))

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            # what is no event is from the interpreter itself, and a fault
            event = json.loads(line) if line.startswith(b"{") else {"event": line.decode(), "level": "error"}
            self.events.append({**event, "by": name})
            self.more.set()
        self.more.set()

    def died(self) -> list[str]:
        """Name its processes that have ended by themselves, with the last that they said."""
        return [
            f"{self.name}/{name}: {[event['event'] for event in self.events if event['by'] == name][-1:]}"
            for name, process in self.processes.items()
            if process.returncode is not None
        ]

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Give what was logged as this event with these fields."""
        wanted = {"event": event, **fields}.items()
        return [one for one in self.events if wanted <= one.items()]

    def asked(self) -> list[str]:
        """Give the paths that its restreamer was asked for."""
        return [event["path"] for event in self.said("request")]

    async def kill(self) -> None:
        """Kill all of it at once."""
        self.signal(signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(process.wait() for process in self.processes.values()), *self._logs)
        self.processes.clear()
        self._logs.clear()

    def cut(self) -> None:
        """Part it from all others, or where that cannot be, have it stand still."""
        if not self.network.cut(self.machine):
            self.signal(signal.SIGSTOP)

    def heal(self) -> None:
        """Take back `cut`."""
        self.network.heal(self.machine)
        self.signal(signal.SIGCONT)

    def signal(self, number: int, *services: str) -> None:
        """Send a signal to all of its processes, or to some."""
        for name, process in self.processes.items():
            if process.returncode is None and name in (services or SERVICES):
                process.send_signal(number)

    def paths(self) -> set[str]:
        """Give the paths of all that is recorded, tombstones and temps too."""
        base = self.store.base
        return {path.relative_to(base).as_posix() for path in base.glob("[!.]*/[!.]*/*/[!.]*")}

    def visible(self) -> set[str]:
        """Give the paths of what is recorded and whole, without what is hidden."""
        paths = self.paths()
        hidden = {stem(path) for path in paths if path.endswith(TOMBSTONE_SUFFIX)}
        return {path for path in paths if "-full-" in path and stem(path) not in hidden}

    def contents(self) -> set[str]:
        """Give the hashes of that."""
        return {stem(path).rpartition("-full-")[2] for path in self.visible()}

    def flaws(self) -> list[str]:
        """Name the temps, and what is not what its name says."""
        return [
            str(path)
            for path, segment in self._segments()
            if segment.type is SegmentType.TEMP
            or content_hash(hashlib.sha256(path.read_bytes()).digest()) != segment.hash
        ]

    def _segments(self) -> Iterator[tuple[Path, Segment]]:
        for text in self.paths():
            path = self.store.base / text
            for segment in parse_names(parse_hour(path.parent.name), [path.name])[0]:
                yield path, segment


@dataclass(slots=True)
class Nodes:
    """Several of them, on one network, with one database."""

    network: Network
    all: list[RealNode]
    more: asyncio.Event

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something is so; that is looked at whenever one of the nodes has logged something."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not done():
                assert [died for node in self.all for died in node.died()] == []
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def real_nodes(network: Network, folder: Path, names: Sequence[str]) -> AsyncIterator[Nodes]:
    """Have a node of each name, on the machines from 1; nothing of them runs yet, and nothing is left of it."""
    more = asyncio.Event()
    nodes = []
    for machine, name in enumerate(names, start=1):
        base = folder / name / "segments"
        base.mkdir(parents=True)
        nodes.append(RealNode(name, machine, network, Store(base), {}, network.port(machine), more=more))
    try:
        yield Nodes(network, nodes, more)
    finally:
        for node in nodes:
            node.heal()
            await node.kill()
            lines = [f"{json.dumps(event)}\n" for event in node.events]
            (folder / f"{node.name}.log").write_text("".join(lines))  # for whoever looks into a failure
