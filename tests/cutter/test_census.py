"""What is said of all events: how many in which state, for how long, and what waits."""

import asyncio
import json
import re

from common import db, metrics
from common.events import State
from cutter import census
from cutters import House


def shown(name: str, label: str) -> dict[str, float]:
    found = re.findall(rf'^{name}{{{label}="(\w+)"}} (.+)', metrics.render().decode(), re.MULTILINE)
    return {value: float(number) for value, number in found}


async def take(pool: db.Pool, *locations: str) -> None:
    stop = asyncio.Event()
    stop.set()
    await census.take_forever(pool, locations, stop)


async def test_events_are_counted_by_state(house: House) -> None:
    """Every state has its number, 0 too; the age is that of the last change of state, of those that are under way."""
    for number in range(3):
        await house.add(f"edited-{number}", priority=number)
    await house.add("unedited", state="UNEDITED")
    await house.add("refused", state="UNEDITED", error="It cannot be.")
    await house.sql.execute("UPDATE event_history SET at = at - interval '1 hour' WHERE event = 'edited-1'")
    await house.sql.execute("UPDATE event_history SET at = at - interval '2 hours' WHERE event = 'unedited'")
    await house.sql.execute("UPDATE events SET title = 'Another' WHERE id = 'edited-1'")
    await take(house.sql)
    assert shown("respool_events", "state") == dict.fromkeys(State, 0.0) | {"EDITED": 3, "UNEDITED": 2}
    oldest = shown("respool_events_oldest_seconds", "state")
    assert oldest.keys() == {*State} - {"UNEDITED", "DONE"}
    assert 0 <= oldest.pop("EDITED") - 3600 < 600
    assert {*oldest.values()} == {0}
    assert "\nrespool_events_refused 1.0\n" in metrics.render().decode()


async def test_what_waits_is_counted_by_location(house: House) -> None:
    """A location has as many waiting as there are finished files for it; a name that no cutter knows makes no label."""
    spool = json.dumps({"node": "n", "folder": "f", "name": "x"})
    for event, location, file in (("a", "fake", spool), ("b", "fake", None), ("c", "whatever anybody writes", spool)):
        await house.add(event, upload_location=location, spool=file)
    await take(house.sql, "fake", "other")
    assert shown("respool_deliveries_waiting", "location") == {"fake": 1, "other": 0}
    assert "whatever" not in metrics.render().decode()


async def test_nothing_is_said_while_the_database_is_away(house: House) -> None:
    """Old numbers are not shown as if they were new ones."""
    await take(house.sql, "fake")
    assert shown("respool_events", "state")
    await house.sql.close()
    await take(house.sql, "fake")
    assert shown("respool_events", "state") == {}
    assert shown("respool_deliveries_waiting", "location") == {}
    assert "\nrespool_events_refused NaN\n" in metrics.render().decode()


async def test_the_look_is_in_nobodys_way(house: House) -> None:
    """With ten thousand events, the look takes no lock by which another transaction could come into conflict."""
    await house.sql.execute(
        "INSERT INTO events (id, state, channel, quality, ranges, title, upload_location) SELECT"
        " number::text, 'EDITED', 'c', 'q', ARRAY[ROW('2026-03-01', '2026-03-02')::video_range], 'title', 'local'"
        " FROM generate_series(1, 10000) AS number"
    )
    async with await db.pool(house.dsn) as pool, pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM nodes")  # as long as this one lasts, the locks of others are kept
        rows = await census.look(pool)
        locks = await other.fetchval(
            "SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' AND relation = 'events'::regclass"
        )
    assert [(row["state"], row["events"], row["refused"]) for row in rows] == [("EDITED", 10_000, False)]
    assert locks == 0
