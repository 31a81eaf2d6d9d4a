"""A service as a real process, whose log is waited for in place of sleeping."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from log_events import PATIENCE_SECONDS


class Service:
    """A running process of ours, and the events that it has logged so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._read = 0

    async def next(self, event: str, **fields: object) -> dict[str, Any]:
        """Give the next such event in the log, each once; waits for it."""
        wanted = {"event": event, **fields}.items()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if self._read == len(self.events):
                    assert self.process.stderr is not None
                    line = await self.process.stderr.readline()
                    assert line, f"The process ended without {event}: {self.events}"
                    self.events.append(json.loads(line))
                self._read += 1
                found = self.events[self._read - 1]
                if wanted <= found.items():
                    return found

    async def end(self) -> int:
        """Wait for its end and give its exit code; the rest of its log is read."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, rest = await self.process.communicate()
        self.events += [json.loads(line) for line in rest.splitlines()]
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def service(package: str, *arguments: str, folder: Path) -> AsyncIterator[Service]:
    """Run `python -m PACKAGE` in `folder` while inside; it imports what the test imports, wheel or source."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RESPOOL_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", package, *arguments),
        cwd=folder,
        env=inherited | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    try:
        yield Service(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
