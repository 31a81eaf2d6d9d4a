"""Random faults at random moments, from a seed: then every event has one video, the right one, and nothing is left.

RESPOOL_SCHEDULES is how many are tried; a few by default, hundreds when something has changed that they are for.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from cutter.locations import LocationAwayError
from cutters import QUICK, House
from db_proxy import Proxy, proxied
from fate import Fate

SCHEDULES = int(os.environ.get("RESPOOL_SCHEDULES", "4"))
EVENTS = ("a", "b", "c")
NODES = ("one", "two")
FAULTS = 20
SHARE = 0.2
AWAY_MOMENTS = 6  # for so many moments the location stays away
OUTAGE_SECONDS = 0.2  # of the database

# Ranges in seconds, and the segments that rough cuts of them are made of.
EDITS = {(0.5, 1.5): (0,), (2.5, 3.5): (1,), (0.5, 3.5): (0, 1), (4.5, 5.5): (2,)}

TERMS = replace(
    QUICK,
    lease=timedelta(seconds=0.8),
    silence=timedelta(seconds=1.5),
    alive=timedelta(seconds=1.5),
    stall=timedelta(seconds=0.2),
)


class Schedule:
    """What happens to the cutters of a house, by the dice."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.dice = random.Random(seed)
        self.left = FAULTS
        self.back = 0
        self.happened: list[str] = []
        self.over = asyncio.Event()
        self.ways: dict[str, Proxy] = {}

    async def live(self, node: str) -> None:
        """Run a cutter, again whenever it dies."""
        async with proxied(self.house.dsn) as self.ways[node]:
            while not self.over.is_set():
                fate = Fate(self.nothing)
                fate.at = self.moments(node, fate)
                async with self.house.cutter(node, fate=fate, terms=TERMS, database=self.ways[node].dsn):
                    ends = [asyncio.ensure_future(each.wait()) for each in (fate.dead, self.over)]
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                    for end in ends:
                        end.cancel()

    async def nothing(self, _: str) -> None: ...

    def moments(self, node: str, fate: Fate) -> Callable[[str], Awaitable[None]]:
        async def at(name: str) -> None:
            step = name.split(maxsplit=1)[0]
            if step in {"SOMETHING_WAITS", "CANDIDATES", "UNSETTLED", "SPOOL_NAMES", "ANNOUNCE", "NAMESAKE"}:
                return
            self.back -= 1
            if self.back <= 0:
                self.house.place.away = self.house.place.find_away = False
            if not self.left or self.dice.random() > SHARE:
                return
            self.left -= 1
            lose = self.lose if step.isupper() else self.lose_location
            act = self.dice.choice([self.die, self.die, lose, self.operate, self.operate, *self.others])
            self.happened.append(f"{node} {name}: {act.__name__}")
            await act(fate)

        return at

    @property
    def others(self) -> list[Callable[[Fate], Awaitable[None]]]:
        return [self.fail, self.turn, self.break_off, self.be_out, self.lapse, self.damage]

    async def die(self, fate: Fate) -> None:
        fate.die()

    async def lose(self, _: Fate) -> None:
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def lose_location(self, _: Fate) -> None:
        raise LocationAwayError("The connection broke.")

    async def operate(self, _: Fate) -> None:
        """Let an operator cancel, edit, or give another title; what the database refuses is not done."""
        event = self.dice.choice(EVENTS)
        first, last = (self.house.recording.start + timedelta(seconds=each) for each in self.dice.choice([*EDITS]))
        ours = "id = $1 AND state IN ('UNEDITED', 'EDITED', 'CLAIMED')"
        ranges = f"ARRAY[ROW('{first.isoformat()}', '{last.isoformat()}')::video_range]"
        change = self.dice.choice(
            ["state = 'UNEDITED'", f"state = 'EDITED', ranges = {ranges}", "title = title || '!'"]
        )
        with suppress(asyncpg.CheckViolationError):
            await self.house.sql.execute(f"UPDATE events SET {change} WHERE {ours}", event)  # noqa: S608 - our own texts

    async def break_off(self, _: Fate) -> None:
        """Break a cutter's connections to the database, whatever is on its way there."""
        self.ways[self.dice.choice(NODES)].break_off()

    async def be_out(self, _: Fate) -> None:
        """Let the database be away from everybody for a moment, as when it is restarted."""
        for way in self.ways.values():
            way.cut()
            asyncio.get_running_loop().call_later(OUTAGE_SECONDS, way.mend)

    async def lapse(self, _: Fate) -> None:
        """Let a claim lapse although its owner works on."""
        sql = "UPDATE events SET lease_until = now() WHERE id = $1 AND state = 'CLAIMED'"
        await self.house.sql.execute(sql, self.dice.choice(EVENTS))

    async def damage(self, _: Fate) -> None:
        """Spoil or lose a finished file."""
        sql = "SELECT spool ->> 'name' FROM events WHERE id = $1"
        name = await self.house.sql.fetchval(sql, self.dice.choice(EVENTS))  # which may not be there yet
        for node in NODES:
            file = self.house.folder / node / (name or "none")
            if file.exists():
                if self.dice.choice([True, False]):
                    file.unlink()
                else:
                    os.truncate(file, 1000)

    async def fail(self, _: Fate) -> None:
        faults = ["away", "away after", "hang", "hang after", "lost", "crash after", "refuse"]
        self.house.place.faults.append(self.dice.choice(faults))

    async def turn(self, _: Fate) -> None:
        place, self.back = self.house.place, AWAY_MOMENTS
        place.away, place.find_away = self.dice.choice([(False, False), (True, True), (False, True)])

    async def settle(self) -> None:
        """Let all faults be over, operators send again whatever comes back to them, and all of it be made."""
        place = self.house.place
        self.left, place.away, place.find_away = 0, False, False
        place.faults.clear()
        for event in EVENTS:
            while (await self.house.until_any(event, "UNEDITED", "DONE"))["state"] == "UNEDITED":
                await self.house.sql.execute(
                    "UPDATE events SET state = 'EDITED' WHERE id = $1 AND state = 'UNEDITED'", event
                )
        for event in EVENTS:
            await self.house.until(event, state="DONE", spool=None)  # with a spool another title is still to be told
        for node in NODES:
            await self.house.until_empty(node)


@pytest.mark.parametrize("seed", range(SCHEDULES))
async def test_whatever_happens_each_event_has_its_video_once(house: House, seed: int) -> None:
    """After any deaths, losses, refusals and second thoughts there is one video of each event, of its last edit."""
    schedule = Schedule(house, seed)
    async with asyncio.TaskGroup() as lives:
        for node in NODES:
            lives.create_task(schedule.live(node))
        for event in EVENTS:
            await house.add(event, range=schedule.dice.choice([*EDITS]))
        for event in EVENTS:
            await house.until_any(event, "UNEDITED", "DONE")
        await schedule.settle()
        schedule.over.set()
    for event in EVENTS:
        row = await house.row(event)
        (span,) = row["ranges"]
        edit = tuple((each - house.recording.start).total_seconds() for each in (span["start"], span["end"]))
        content = b"".join(house.recording.path(index).read_bytes() for index in EDITS[edit])
        assert house.stored(event) == [content], schedule.happened
        number = row["video_id"]
        assert house.place.told[number].title == row["title"], schedule.happened
        assert (row["claim_token"], row["spool"], row["error"]) == (None, None, None), schedule.happened
