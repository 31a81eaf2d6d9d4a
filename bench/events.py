"""Events between operators, PostgreSQL and cutters: claims, idle cutters, how soon one begins, how soon it is out.

The server is the embedded one, as it comes, on this machine. What its processes take is read from /proc.

    python -m bench events [--seconds S]
"""

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from bench.claims import measure_claims
from bench.event_database import Database, database
from bench.idle_cutters import CUTTERS, LOCATIONS, measure_idle
from bench.recording import recording
from bench.store import START
from common import logs
from common.events import Event, Spooled
from common.service import tune
from common.store import Store
from cutter.locations.config import load
from cutter.main import CHANNEL, Config, serve
from cutter.rows import Claimed, Rows
from cutter.spool import opened

# How often, and how many seconds of 6.4 Mbit/s.
SMALL, LARGE = (15, 2), (5, 60)

Moments = dict[str, "asyncio.Future[float]"]


def main(options: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m bench events")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long idle cutters are watched, twice")
    logs.configure("error")
    tune()
    asyncio.run(_main(parser.parse_args(options).seconds))


async def _main(seconds: float) -> None:
    async with database(connections=20 + 5 * CUTTERS) as server:
        await measure_claims(server)
        await server.clear()
        print()
        await measure_idle(server, seconds)
        print("\n| beside those events | median s | worst s | floor s | target |")
        print("| --- | ---: | ---: | ---: | ---: |", flush=True)
        async with _cutter(server) as one:
            await _measure_way(one)
    print(f"\nLoad over the last minute: {os.getloadavg()[0]:.1f}.")


class TimedRows(Rows):
    """What a cutter says to the database, and when the first of each happened."""

    moments: Moments
    spool: Path

    async def claim(self, event: Event, lease: timedelta) -> Claimed | None:
        claimed = await super().claim(event, lease)
        if claimed is not None:
            self.moments["claimed"].set_result(time.perf_counter())
        return claimed

    async def spooled(self, claimed: Claimed, spooled: Spooled) -> None:
        # its name was given to the file when it was whole and synced, and before it was read for its checksum
        age = time.time() - (self.spool / spooled.name).stat().st_ctime
        self.moments["cut"].set_result(time.perf_counter() - age)
        await super().spooled(claimed, spooled)

    async def delivered(self, claimed: Claimed, state: str, video_id: str, link: str, said: str) -> None:
        await super().delivered(claimed, state, video_id, link, said)
        self.moments["done"].set_result(time.perf_counter())


@dataclass(slots=True)
class One:
    """A running cutter beside an operator, who hears of changes himself; `moments` are those of the present event."""

    operator: "asyncpg.Connection[asyncpg.Record]"
    folder: Path
    moments: Moments = field(default_factory=dict)

    def hear(self, *told: object) -> None:
        """Note when the operator himself has heard of the event."""
        if "EDITED" in str(told[-1]) and not self.moments["heard"].done():
            self.moments["heard"].set_result(time.perf_counter())

    async def make(self, seconds: int) -> tuple[float, dict[str, float]]:
        """Edit an event; gives when, and the moments of its way."""
        loop = asyncio.get_running_loop()
        self.moments.update({name: loop.create_future() for name in ("heard", "claimed", "cut", "done")})
        first, last = START + timedelta(seconds=31), START + timedelta(seconds=31 + seconds)
        began = time.perf_counter()
        await self.operator.execute(_EDIT, first, last)
        async with asyncio.timeout(60):
            return began, {name: await each for name, each in self.moments.items()}

    async def copy(self) -> float:
        """Copy the last video beside itself, as far as the disk; gives the seconds."""
        link = await self.operator.fetchval(
            "SELECT video_link FROM events ORDER BY upload_time DESC NULLS LAST LIMIT 1"
        )
        began = time.perf_counter()
        await asyncio.to_thread(_copy, Path(unquote(urlsplit(link).path)), self.folder / "copy")
        return time.perf_counter() - began


_EDIT = """
    INSERT INTO events (state, channel, quality, ranges, title, upload_location)
    VALUES ('EDITED', 'chan', 'source', ARRAY[ROW($1::timestamptz, $2::timestamptz)::video_range], 'One', 'videos')
"""


async def _measure_way(one: One) -> None:
    await one.make(1)
    for times, seconds in (SMALL, LARGE):
        begins, heard, ends, copies = [], [], [], []
        for _ in range(times):
            began, at = await one.make(seconds)
            begins.append(at["claimed"] - began)
            heard.append(at["heard"] - began)
            ends.append(at["done"] - at["cut"])
            copies.append(await one.copy())
        if (times, seconds) == SMALL:
            _print("EDITED to the begin of the cut (floor: a listener hears of it)", begins, median(heard), "≤ 0.3 s")
        size = (one.folder / "copy").stat().st_size / 1e6
        name = f"end of the cut to DONE, {size:.0f} MB (floor: a synced copy)"
        _print(name, ends, median(copies), "≤ 0.3 s + the floor")


def _print(name: str, seconds: list[float], floor: float, target: str) -> None:
    print(f"| {name} | {median(seconds):.3f} | {max(seconds):.3f} | {floor:.3f} | {target} |", flush=True)


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    for path in (target, target.parent):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


@asynccontextmanager
async def _cutter(server: Database) -> AsyncIterator[One]:
    """Run a cutter of the recording, and wait until it is ready."""
    base = await asyncio.to_thread(recording, 0)
    operator = await asyncpg.connect(server.dsn)
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as name:
        folder, stop = Path(name), asyncio.Event()
        one = One(operator, folder)
        await operator.add_listener(CHANNEL, one.hear)

        def rows(*args: Any) -> TimedRows:  # noqa: ANN401 - those of Rows
            made = TimedRows(*args)
            made.moments, made.spool = one.moments, folder / "spool"
            return made

        (folder / "locations.toml").write_text(LOCATIONS)
        config = Config(base, server.dsn, folder / "locations.toml", folder / "spool", "node", spool_reserve=0)
        with opened(config.spool) as spool:
            serving = serve(config, Store(base), spool, load(config.locations), stop, make_rows=rows)
            running = asyncio.create_task(serving)
            try:
                yield one
            finally:
                stop.set()
                await running
                await operator.close()
