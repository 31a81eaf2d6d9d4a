"""Cutters that die, or lose the database or their location, at chosen moments: every call outwards is such a moment."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from cutter import statements
from cutter.locations import Delivered, Keep, Progress, Session, Video
from cutter.rows import Rows
from fake_location import FakeLocation

NAMES = {text: name for name, text in vars(statements).items() if re.fullmatch(r"[A-Z][A-Z_]+", name)}

Moment = Callable[[str], Awaitable[None]]


@dataclass
class Fate:
    """Is asked at each moment, such as `CLAIM before` or `deliver after`; may raise, wait, change things, or `die`."""

    at: Moment
    dead: asyncio.Event = field(default_factory=asyncio.Event)

    async def moment(self, name: str) -> None:
        """Live through a moment; the dead reach nobody any more."""
        if not self.dead.is_set():
            await self.at(name)
        if self.dead.is_set():
            raise ConnectionResetError("dead")

    def die(self) -> None:
        self.dead.set()


def dies_at(moment: str) -> Fate:
    """A fate that ends at the first such moment."""

    async def at(name: str) -> None:
        if name == moment:
            fate.die()

    fate = Fate(at)
    return fate


class MortalRows(Rows):
    """What a cutter says to the database, as far as fate lets it."""

    fate: Fate

    async def _fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - as Rows
        name = NAMES[sql]
        await self.fate.moment(f"{name} before")
        rows = await super()._fetch(sql, *args)
        await self.fate.moment(f"{name} after")
        return rows


class MortalLocation(FakeLocation):
    """A location that a cutter reaches as far as fate lets it."""

    fate: Fate

    async def begin(self, video: Video) -> Session | None:
        await self.fate.moment("begin before")
        session = await super().begin(video)
        await self.fate.moment("begin after")
        return session

    async def deliver(self, video: Video, session: Session | None, *, keep: Keep, progress: Progress) -> Delivered:
        await self.fate.moment("deliver before")
        delivered = await super().deliver(video, session, keep=keep, progress=progress)
        await self.fate.moment("deliver after")
        return delivered

    async def find(self, video: Video, session: Session | None) -> Delivered | None:
        await self.fate.moment("find before")
        found = await super().find(video, session)
        await self.fate.moment("find after")
        return found
