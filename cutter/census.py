"""A look at all events now and then: how many there are in each state, for how long, and what waits for delivery.

Each cutter says the same of the whole database. The look takes no part in the serializable transactions of others.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from typing import Final

import asyncpg
import structlog

from common import db
from common.events import State
from common.metrics import gauge
from common.waits import pause
from cutter import statements

log = structlog.get_logger()

_EVERY_SECONDS: Final = 15.0

_EVENTS = gauge("events", "Events in the whole database, as each cutter sees it.", "state")
_OLDEST = gauge(
    "events_oldest_seconds", "How long the event that is longest in a state under way has been in it; 0: none.", "state"
)
_REFUSED = gauge("events_refused", "UNEDITED events with an error, which wait for an operator.")
_WAITING = gauge("deliveries_waiting", "Finished videos that wait for a location, in the whole database.", "location")

# The age of what operators have not edited, or is out, says nothing.
_UNDER_WAY: Final = [state for state in State if state not in {State.UNEDITED, State.DONE}]


async def take_forever(pool: db.Pool, locations: Collection[str], stop: asyncio.Event) -> None:
    """Look at the events until told to stop; while the database is away nothing is shown of them."""
    while True:
        try:
            _show(await look(pool), locations)
        except db.AWAY as error:
            log.info("events_not_counted", reason=str(error) or type(error).__name__)
            for each in (_EVENTS, _OLDEST, _WAITING):
                each.clear()
            _REFUSED.set(float("nan"))
        if await pause(stop, _EVERY_SECONDS):
            return


async def look(pool: db.Pool) -> list[asyncpg.Record]:
    """Count the events: see statements.CENSUS. Raises one of `db.AWAY`."""
    with db.measured("select"):
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            return await connection.fetch(statements.CENSUS, _UNDER_WAY)


def _show(rows: list[asyncpg.Record], locations: Collection[str]) -> None:
    events: Counter[str] = Counter(dict.fromkeys(State, 0))
    waiting: Counter[str] = Counter(dict.fromkeys(locations, 0))
    oldest: dict[str, float] = dict.fromkeys(_UNDER_WAY, 0.0)
    refused = 0
    for row in rows:
        events[row["state"]] += row["events"]
        refused += row["events"] if row["refused"] else 0
        if row["oldest"] is not None:
            oldest[row["state"]] = max(oldest[row["state"]], row["oldest"])
        if row["location"] in waiting:  # others are names that anybody may have written
            waiting[row["location"]] += row["events"]
    for gauge_, values in ((_EVENTS, events), (_OLDEST, oldest), (_WAITING, waiting)):
        for label, value in values.items():
            gauge_.labels(label).set(value)
    _REFUSED.set(refused)
