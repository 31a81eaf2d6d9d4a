"""All that a cutter says to the database about events; the statements are in `cutter.statements`."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from common import db
from common.events import Event, Spooled, State, event_of
from common.limits import Limits
from common.timed import timed
from common.waits import backoff
from cutter import statements

log = structlog.get_logger()

# A sentence for operators, whatever a library has put into it.
_LONGEST_ERROR = 1000

# Of a node that alone may cut an event, for format() of PostgreSQL.
_NOT_SEEN = "No cutter of the name %s runs."


class ClaimLostError(Exception):
    """The event is no longer ours: an operator or another cutter has it. Nothing of it may be written any more."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event that is ours, by its token; `said` is what was to be said of its video when it was claimed."""

    event: Event
    token: str
    said: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event that may be cut, and for how long (seconds) it has been so."""

    event: Event
    waited: float


class Rows:
    """The database as a cutter of a node sees it. Methods that write for a claim raise ClaimLostError.

    All of them raise one of `db.AWAY` while the database is away, unless they say that they wait for it.
    """

    def __init__(self, pool: db.Pool, light: db.Pool, node: str, folder: str) -> None:
        """Speak for the node whose spool has the name `folder`; `light`: see `db.pool`, for `statements.LIGHT`."""
        self._pool = pool
        self._light = light
        self.node = node
        self.folder = folder

    # What there is to do ------------------------------------------------------------------------------------------

    async def something_waits(self) -> bool:
        """Tell whether there may be something to do: see statements.SOMETHING_WAITS."""
        return bool((await self._fetch(statements.SOMETHING_WAITS, self.node))[0]["it_does"])

    async def candidates(
        self, *, cut: bool, closed: Sequence[str], silence: timedelta, without: Collection[str]
    ) -> list[Candidate]:
        """Give some of what may be begun, in order: see statements.CANDIDATES."""
        rows = await self._fetch(statements.CANDIDATES, self.node, self.folder, cut, closed, silence, [*without])
        return [Candidate(event_of(dict(row)), row["waited"] or 0.0) for row in rows]

    async def unsettled(self, *, patience: timedelta, without: Collection[str]) -> list[Event]:
        """Give some of what waits for anybody to see to it: see statements.UNSETTLED."""
        return [
            event_of(dict(row)) for row in await self._fetch(statements.UNSETTLED, self.folder, patience, [*without])
        ]

    @timed("event_claim", "Asking for an event.", results={"claimed": lambda claimed: claimed is not None})
    async def claim(self, event: Event, lease: timedelta) -> Claimed | None:
        """Claim an event as it was examined; None if somebody else has it or it has changed."""
        return _claimed(await self._fetch(statements.CLAIM, self.node, event.id, event.revision, lease))

    async def take(self, event: Event, lease: timedelta) -> Claimed | None:
        """See to an event in its state; None if somebody else does."""
        return _claimed(await self._fetch(statements.TAKE, event.id, event.state, lease))

    async def free_lapsed(self, attempts: int) -> dict[str, str]:
        """Free the events of cutters that are gone; gives their new states."""
        return {row["id"]: row["state"] for row in await self._fetch(statements.FREE_LAPSED, attempts)}

    async def recover(self) -> list[str]:
        """Let the claims lapse that an earlier process with our spool had; gives their events."""
        return [row["id"] for row in await self._fetch(statements.RECOVER, self.node, self.folder)]

    # For a claim --------------------------------------------------------------------------------------------------

    async def renew(self, claimed: Claimed, lease: timedelta) -> None:
        """Keep it for as long as `lease` from now."""
        _ours(await self._for(claimed, statements.RENEW, lease))

    async def progress(self, claimed: Claimed, share: float) -> None:
        """Show how much of the present step is done."""
        _ours(await self._for(claimed, statements.PROGRESS, min(1.0, max(0.0, share))))

    async def session(self, claimed: Claimed, session: str) -> None:
        """Keep what the location needs to go on, as JSON. Waits for the database."""
        _ours(await self._patiently(claimed, statements.SESSION, session))

    async def spooled(self, claimed: Claimed, spooled: Spooled) -> None:
        """Say that the cut is finished. Waits for the database."""
        _ours(await self._patiently(claimed, statements.SPOOLED, spooled.to_json(), spooled.made_as))

    async def finalize(self, claimed: Claimed, session: str | None, lease: timedelta, said: str) -> None:
        """Say that from now on the video may be out. With one of `db.AWAY`, it may have been heard or not."""
        _ours(await self._for(claimed, statements.FINALIZE, session, lease, said))

    async def delivered(self, claimed: Claimed, state: str, video_id: str, link: str, said: str) -> None:
        """Say that the location has it, and what it was told. Waits for the database."""
        _ours(await self._patiently(claimed, statements.DELIVERED, state, video_id, link, said))

    async def outdated(self) -> list[str]:
        """Have those videos MODIFIED of which another thing is to be said than was; gives their events."""
        return [row["id"] for row in await self._fetch(statements.OUTDATED)]

    async def modified(self, claimed: Claimed, error: str | None) -> bool:
        """Say that the location was told what was to be said; False if that is another thing by now. Waits."""
        rows = await self._patiently(
            claimed, statements.MODIFIED, claimed.said, None if error is None else plain(error)
        )
        return bool(rows)

    async def give_back(
        self, claimed: Claimed, error: str, pause: timedelta, *, counts: bool, anew: bool = False
    ) -> None:
        """Let it be tried again after a pause. Waits for the database."""
        _ours(await self._patiently(claimed, statements.GIVE_BACK, plain(error) or None, pause, counts, anew))

    async def refuse(self, claimed: Claimed, error: str) -> None:
        """Give it back to operators. Waits for the database."""
        _ours(await self._patiently(claimed, statements.REFUSE, plain(error)))

    async def park(self, claimed: Claimed, error: str | None, pause: timedelta) -> None:
        """Let somebody ask again after a pause. Waits for the database."""
        _ours(await self._patiently(claimed, statements.PARK, None if error is None else plain(error), pause))

    async def release(self, claimed: Claimed) -> None:
        """Give it up because we stop, which is no try."""
        await self._for(claimed, statements.RELEASE, claimed.event.state == State.CLAIMED)

    # For events that are nobody's ---------------------------------------------------------------------------------

    async def lacks(self, event: Event, reason: str) -> None:
        """Tell operators why this node does not cut it."""
        await self._fetch(statements.LACKING, self.node, event.id, event.revision, plain(reason))

    async def hopeless(self, event: Event, reason: str, *, alive: timedelta, patience: timedelta) -> bool:
        """Give it back to operators if no other node can cut it either; tells whether it was."""
        return bool(await self._fetch(statements.HOPELESS, event.id, event.revision, plain(reason), alive, patience))

    async def refuse_examined(self, event: Event, reason: str) -> bool:
        """Give an event that is not claimed back to operators; tells whether it was."""
        return bool(await self._fetch(statements.REFUSE_EXAMINED, event.id, event.revision, plain(reason)))

    async def waiting(self, location: str, error: str) -> None:
        """Tell operators why the finished files for a location wait."""
        await self._fetch(statements.WAITING, location, self.folder, plain(error))

    async def remark(self, event: Event, error: str) -> None:
        """Tell operators something of an event that nobody sees to."""
        await self._fetch(statements.REMARK, event.id, plain(error), event.state)

    # For the node -------------------------------------------------------------------------------------------------

    async def spool_names(self) -> set[str]:
        """Give the names of the files in our spool to which rows refer."""
        return {row["name"] for row in await self._fetch(statements.SPOOL_NAMES, self.folder)}

    async def announce(self, locations: Mapping[str, Limits], alive: timedelta) -> bool:
        """Say that this cutter lives, and what its locations take; tells whether no other was seen within `alive`.

        Also lets operators see which events wait for nodes of which none was.
        """
        limits = json.dumps({name: each.to_json() for name, each in locations.items()})
        rows = await self._fetch(statements.ANNOUNCE, self.node, self.folder, sorted(locations), alive, limits)
        if rows[0]["first"]:
            await self._fetch(statements.UNREACHED, alive, _NOT_SEEN)
        return bool(rows[0]["alone"])

    async def leave(self) -> None:
        """Say that it does no longer."""
        await self._fetch(statements.LEAVE, self.node, self.folder)

    async def has_namesake(self, alive: timedelta) -> bool:
        """Tell whether another cutter of the same name was seen within `alive`."""
        return bool(await self._fetch(statements.NAMESAKE, self.node, self.folder, alive))

    async def template(self, name: str) -> asyncpg.Record | None:
        """Give a template for thumbnails: image, crop, location. Waits for the database."""
        return next(iter(await self._until_heard(statements.TEMPLATE, name)), None)

    async def thumbnail_image(self, event: Event) -> bytes | None:
        """Give the custom image of an event. Waits for the database."""
        row = next(iter(await self._until_heard(statements.IMAGE, event.id)), None)
        return None if row is None else row["thumbnail_image"]

    async def _fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - what each statement takes
        return await db.fetch(self._light if sql in statements.LIGHT else self._pool, sql, *args)

    async def _for(self, claimed: Claimed, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - likewise
        return await self._fetch(sql, claimed.event.id, claimed.token, *args)

    async def _patiently(self, claimed: Claimed, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - likewise
        return await self._until_heard(sql, claimed.event.id, claimed.token, *args)

    async def _until_heard(self, sql: str, *args: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - likewise
        """As `_fetch`, but a database that is away is waited for: cancelled, it may have been done or not."""
        attempt = 0
        while True:
            try:
                return await self._fetch(sql, *args)
            except db.AWAY as error:
                if isinstance(error, ValueError):  # an argument that cannot be: asyncpg's class for it is one of both
                    raise
                attempt += 1
                log.warning("database_away", reason=str(error) or type(error).__name__)
                await asyncio.sleep(backoff(attempt, first=0.2, most=5.0))


def plain(text: str) -> str:
    """Make a sentence such that any database takes it."""
    return text.replace("\0", "")[:_LONGEST_ERROR]


def _ours(rows: list[asyncpg.Record]) -> asyncpg.Record:
    if not rows:
        raise ClaimLostError
    return rows[0]


def _claimed(rows: list[asyncpg.Record]) -> Claimed | None:
    return Claimed(event_of(dict(rows[0])), str(rows[0]["claim_token"]), rows[0]["said"]) if rows else None
