"""Real cutters, one after the other in processes of their own, which kill themselves (SIGKILL) at a chosen moment.

`mortal_cutters.py CONFIG` imports all that a cutter needs, which is what starting one costs, and forks a cutter for
each line that it reads: the moment at which it is to die, or nothing. It tells each one's number, and how it has ended.
"""

import asyncio
import functools
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from common import service
from cutter import statements
from cutter.locations import local, s3, youtube
from cutter.main import Config, run
from cutter.rows import Rows
from cutters import QUICK, House
from log_events import PATIENCE_SECONDS

P = ParamSpec("P")
T = TypeVar("T")

NAMES = {text: name for name, text in vars(statements).items() if re.fullmatch(r"[A-Z][A-Z_]+", name)}
CALLS = ("begin", "deliver", "find", "finished", "modify")

SMALL_DISK = "disk is full"
_SMALL_BYTES = 50_000
_PIECE_BYTES = 64 << 10  # else what these tests deliver goes in one piece


class Lives:
    """The cutters of a house, as seen by a test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def die_at(self, moment: str) -> None:
        """Let a cutter live until a moment, which has to come: `CLAIM before`, `ffmpeg started`, `deliver progress`."""
        await self._begin(moment)
        assert await self._told() == -signal.SIGKILL, moment

    @asynccontextmanager
    async def live(self, moment: str = "") -> AsyncIterator[int]:
        """Let a cutter live while inside; gives its number. It is told to stop at the end, and does so in peace."""
        number = await self._begin(moment)
        yield number
        os.kill(number, signal.SIGTERM)
        assert await self._told() == 0

    async def _begin(self, moment: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{moment}\n".encode())
        return await self._told()

    async def _told(self) -> int:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            return int(await self._process.stdout.readline())


@asynccontextmanager
async def mortal_cutters(house: House, locations: Path, *, database: str = "") -> AsyncIterator[Lives]:
    """Give the cutters of a house with a file of locations."""
    config = {
        "base_dir": str(house.recording.base),
        "database": database or house.dsn,
        "locations": str(locations),
        "spool": str(house.folder / "node"),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, json.dumps(config)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        yield Lives(process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


# In the process ----------------------------------------------------------------------------------------------------


def main(config: Config) -> None:
    for line in sys.stdin:
        number = os.fork()
        if not number:
            _arm(line.strip())
            os.dup2(2, 1)
            os._exit(service.main(lambda stop: run(config, stop), name="cutter"))
        print(number, flush=True)  # noqa: T201 - to who waits for it
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)  # noqa: T201 - likewise


def _arm(moment: str) -> None:
    """Have this process die at a moment."""
    if moment == SMALL_DISK:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_SMALL_BYTES, _SMALL_BYTES))

    def come(name: str) -> None:
        if name == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    fetch = Rows._fetch

    async def fetched(self: Rows, sql: str, *args: Any) -> list[Any]:  # noqa: ANN401 - as Rows
        come(f"{NAMES[sql]} before")
        rows = await fetch(self, sql, *args)
        come(f"{NAMES[sql]} after")
        return rows

    Rows._fetch = fetched  # type: ignore[method-assign]
    for kind in (local.Local, s3.S3, youtube.YouTube):
        for call in CALLS:
            setattr(kind, call, _watched(getattr(kind, call), call, come))
    subprocess.Popen.__init__ = _started(subprocess.Popen.__init__, come)  # type: ignore[method-assign]
    local._COPY_BYTES = _PIECE_BYTES  # type: ignore[misc]
    s3._PART_BYTES, s3._PARTS_AT_ONCE = _PIECE_BYTES, 1  # type: ignore[misc]


def _started(start: Callable[..., None], come: Callable[[str], None]) -> Callable[..., None]:
    def started(*args: Any, **named: Any) -> None:  # noqa: ANN401 - those of Popen
        start(*args, **named)
        come("ffmpeg started")

    return started


def _watched(call: Callable[P, Awaitable[T]], name: str, come: Callable[[str], None]) -> Callable[P, Awaitable[T]]:
    """Make moments of a call: before, after, and when half of it is done."""

    @functools.wraps(call)
    async def watched(*args: P.args, **named: P.kwargs) -> T:
        come(f"{name} before")
        if callable(report := named.get("progress")):

            def progress(share: float) -> None:
                report(share)
                if 0 < share < 1:
                    come(f"{name} progress")

            named["progress"] = progress
        result = await call(*args, **named)
        come(f"{name} after")
        return result

    return watched


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    base_dir, locations, spool = (Path(told[name]) for name in ("base_dir", "locations", "spool"))
    main(Config(base_dir, told["database"], locations, spool, "node", spool_reserve=0, terms=QUICK))
