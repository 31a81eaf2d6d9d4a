"""Cutters with all that is real but the place to which videos go: a database, a store, ffmpeg, spools on disk."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from common.cuts import CutType
from common.db import Pool
from common.store import Store
from cutter.locations import Settings
from cutter.main import Config, serve
from cutter.spool import opened
from cutter.work import Terms
from fake_location import Place
from fate import Fate, MortalLocation, MortalRows
from log_events import PATIENCE_SECONDS
from source import Source

# Of one black pixel.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC")

QUICK = Terms(
    lease=timedelta(seconds=30),
    poll=timedelta(seconds=0.1),
    first=timedelta(seconds=0.02),
    most=timedelta(seconds=0.1),
    patience=timedelta(seconds=0),
    look_again=timedelta(seconds=0.02),
    sweep=timedelta(seconds=0.5),
)


async def _nothing_happens(_: str) -> None:
    """Let a cutter live."""


@dataclass
class House:
    """A database, a place, a store; and the cutters that are run there."""

    dsn: str
    sql: Pool
    recording: Source
    folder: Path
    place: Place = field(default_factory=Place)
    running: "list[asyncio.Task[None]]" = field(default_factory=list)

    async def add(self, event: str = "one", **columns: Any) -> None:  # noqa: ANN401 - as the columns are
        """Let an operator edit an event; times in seconds since the recording's start."""
        columns.setdefault("range", (0.5, 3.5))
        first, last = (self.recording.start + timedelta(seconds=each) for each in columns.pop("range"))
        values: dict[str, Any] = {
            "state": "EDITED",
            "channel": self.recording.channel,
            "quality": self.recording.quality,
            "title": f"The title of {event}",
            "upload_location": "fake",
            "cut_type": "rough",
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(f"${number}" for number in range(2, len(values) + 2))
        await self.sql.execute(
            f"INSERT INTO events (id, ranges, {names}) VALUES ($1, "  # noqa: S608 - our own names
            f"ARRAY[ROW('{first.isoformat()}', '{last.isoformat()}')::video_range], {places})",
            event,
            *values.values(),
        )

    async def row(self, event: str = "one") -> dict[str, Any]:
        """Give an event's row; JSON as values."""
        row = await self.sql.fetchrow("SELECT * FROM events WHERE id = $1", event)
        assert row is not None
        return dict(row) | {name: json.loads(row[name]) for name in ("spool", "lacking") if row[name] is not None}

    async def until(self, event: str = "one", **columns: object) -> dict[str, Any]:
        """Wait until an event's row has these values."""
        return await self._until(event, lambda row: all(row[name] == value for name, value in columns.items()))

    async def until_any(self, event: str, *states: str) -> dict[str, Any]:
        """Wait until an event has one of these states."""
        return await self._until(event, lambda row: row["state"] in states)

    async def until_lacking(self, node: str, event: str = "one") -> dict[str, Any]:
        """Wait until a node has said on an event's row why it cannot cut it."""
        return await self._until(event, lambda row: node in row["lacking"])

    async def until_empty(self, node: str = "node") -> None:
        """Wait until a node's spool holds nothing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(self.spooled(node)):  # noqa: ASYNC110 - a folder tells nobody
                await asyncio.sleep(0.01)

    async def _until(self, event: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            for running in self.running:
                if running.done():
                    await running
            row = await self.row(event)
            if condition(row):
                return row
            assert asyncio.get_running_loop().time() < deadline, (await self.path(event), row)
            await asyncio.sleep(0.01)

    async def path(self, event: str = "one") -> list[str]:
        """Give the states that an event went through."""
        rows = await self.sql.fetch(
            "SELECT after ->> 'state' AS state FROM event_history WHERE event = $1 AND after ? 'state' ORDER BY number",
            event,
        )
        return [row["state"] for row in rows]

    def spooled(self, node: str = "node") -> set[str]:
        """Give what lies in the spool of a node."""
        return {path.name for path in (self.folder / node).iterdir()} - {".lock", ".folder"}

    def config(self, node: str = "node", **changes: Any) -> Config:  # noqa: ANN401 - fields of Config
        config = Config(
            base_dir=self.recording.base,
            database=self.dsn,
            locations=Path("none"),
            spool=self.folder / node,
            name=node,
            spool_reserve=0,
            terms=QUICK,
        )
        return replace(config, **changes)

    def stored(self, event: str = "one") -> list[bytes]:
        """Give the contents of an event's videos at the place."""
        return [self.place.contents[sha256] for _, _, sha256 in self.place.of(event)]

    @asynccontextmanager
    async def cutter(
        self,
        node: str = "node",
        *,
        location: str = "fake",
        settings: Settings | None = None,
        fate: Fate | None = None,
        **changes: Any,  # noqa: ANN401 - fields of Config
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Run a cutter while inside; it is told to stop at the end."""
        fate = fate or Fate(_nothing_happens)
        door = MortalLocation(self.place, location, settings or Settings(cut=CutType.ROUGH))
        door.fate = fate

        def rows(*args: Any) -> MortalRows:  # noqa: ANN401 - those of Rows
            made = MortalRows(*args)
            made.fate = fate
            return made

        config, stop = self.config(node, **changes), asyncio.Event()
        with opened(config.spool, limit=config.spool_limit, reserve=config.spool_reserve) as spool:
            store = Store(config.base_dir)
            running = asyncio.create_task(serve(config, store, spool, {location: door}, stop, make_rows=rows))
            self.running.append(running)
            try:
                yield running
            finally:
                self.running.remove(running)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    if fate.dead.is_set():
                        running.cancel()
                        await asyncio.wait({running})
                    else:
                        stop.set()
                        await running
