"""What cutters that have nothing to do cost the database; they are one process, `python -m bench.idle_cutters`."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from bench.event_database import Database
from common import logs
from common.service import tune
from common.store import Store
from cutter.locations.config import load
from cutter.main import Config, serve
from cutter.spool import opened

CUTTERS = 100
EVENTS = 10_000

# They start one after the other, as a hundred machines do not start at the same moment.
_APART_SECONDS = 0.05
# So long it takes until each has looked, and its connection has planned its statements (anew, when much has changed).
_SETTLE_SECONDS = 15.0

LOCATIONS = """
[locations.videos]
type = "local"
folder = "videos"
create = true
cut = "rough"
"""


async def measure_idle(server: Database, seconds: float) -> None:
    """Print the table; the events stay in the database."""
    print(f"| {CUTTERS} idle cutters | PostgreSQL, of a core | target | the cutters themselves, of a core each |")
    print("| --- | ---: | ---: | ---: |", flush=True)
    async with _cutters(server) as pid:
        await _watch(server, pid, seconds, "no events")
        await server.fill("DONE", EVENTS)
        await server.fill("EDITED", EVENTS, ["another"])
        await _watch(server, pid, seconds, f"{EVENTS:,} DONE, {EVENTS:,} EDITED for another node")


async def _watch(server: Database, pid: int, seconds: float, name: str) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)
    cpu, own, began = server.cpu(), _cpu(pid), time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    share, own_share = (server.cpu() - cpu) / took, (_cpu(pid) - own) / took / CUTTERS
    print(f"| {name} | {share:.2%} | ≤ 1 % | {own_share:.3%} |", flush=True)


def _cpu(pid: int) -> float:
    times = os.sysconf("SC_CLK_TCK")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / times


@asynccontextmanager
async def _cutters(server: Database) -> AsyncIterator[int]:
    """Run the cutters; gives their process, when all of them are ready."""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
        command = [sys.executable, "-m", "bench.idle_cutters", server.dsn, str(CUTTERS), folder]
        process = subprocess.Popen(command)  # noqa: ASYNC220 - it returns at once
        try:
            connection = await asyncpg.connect(server.dsn)
            try:
                while await connection.fetchval("SELECT count(*) FROM cutters") < CUTTERS:
                    if process.poll() is not None:
                        raise RuntimeError("The cutters have ended.")
                    await asyncio.sleep(0.2)
            finally:
                await connection.close()
            yield process.pid
        finally:
            process.terminate()
            process.wait()


async def _run(dsn: str, count: int, folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    (folder / "store").mkdir()
    (folder / "locations.toml").write_text(LOCATIONS)
    locations = load(folder / "locations.toml")
    with ExitStack() as stack:
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                name = f"node{number}"
                config = Config(folder / "store", dsn, folder / "locations.toml", folder / name, name, spool_reserve=0)
                spool = stack.enter_context(opened(config.spool))
                group.create_task(serve(config, Store(config.base_dir), spool, locations, stop))
                await asyncio.sleep(_APART_SECONDS)


if __name__ == "__main__":
    logs.configure("warning")
    tune()
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
