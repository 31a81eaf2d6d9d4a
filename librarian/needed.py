"""What is still needed of the recordings, as the database tells it: by events that are not DONE, and by keeps."""

from contextlib import suppress

import asyncpg
import structlog

from common import db
from common.errors import UserError
from common.lifetimes import Protection

log = structlog.get_logger()

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0

# Whatever is not DONE may be cut again: what FINALIZING or TRANSCODING comes to nothing goes back, and of what is
# MODIFIED the thumbnail is made anew. Times beyond what Python knows become the ends of the calendar.
_NEEDED = """
    WITH needed AS (
        SELECT channel, quality, one.start, one."end", format('the event %s is %s', left(id, 40), state) AS why
        FROM events, unnest(ranges) AS one (start, "end") WHERE state <> 'DONE'
        UNION ALL
        SELECT channel, quality, thumbnail_time, thumbnail_time,
            format('the thumbnail of the event %s, which is %s', left(id, 40), state)
        FROM events WHERE state <> 'DONE' AND isfinite(thumbnail_time)
        UNION ALL
        SELECT channel, quality, start, "end", format('kept by %s', who) || coalesce(': ' || nullif(why, ''), '')
        FROM keeps
    )
    SELECT nullif(channel, '') AS channel, nullif(quality, '') AS quality, why,
        least(greatest(start, '1900-01-02Z'), '9000-01-01Z') AS start,
        least(greatest("end", '1900-01-02Z'), '9000-01-01Z') AS "end"
    FROM needed ORDER BY start, "end", why
"""


async def read_needed(connection: db.Connection) -> tuple[Protection, ...]:
    """Ask the database what is needed. Raises what asyncpg raises."""
    rows = await connection.fetch(_NEEDED)
    return tuple(Protection(row["channel"], row["quality"], row["start"], row["end"], row["why"]) for row in rows)


class Needs:
    """What the database at `dsn` last told; without one there are no events, and nothing is needed."""

    def __init__(self, dsn: str | None) -> None:
        """Have asked nothing yet."""
        self._dsn = dsn
        self._has_schema = False
        self._away = False

    async def ask(self) -> tuple[Protection, ...] | None:
        """Give what is needed now; None if the database does not tell, which is logged when it begins."""
        if self._dsn is None:
            return ()
        try:
            found = await self._read(self._dsn)
        except (UserError, asyncpg.PostgresError, OverflowError, ValueError, *db.AWAY) as error:
            if not self._away:
                log.warning("needs_not_known", database=db.describe(self._dsn), reason=_sentence(error))
            self._away = True
            return None
        if self._away:
            log.info("needs_known_again", database=db.describe(self._dsn))
        self._away = False
        return found

    async def _read(self, dsn: str) -> tuple[Protection, ...]:
        if not self._has_schema:
            await db.apply_schema(dsn, patience=0)
            self._has_schema = True
        connection = await asyncpg.connect(
            dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_READ_SECONDS,
            server_settings={"application_name": "respool librarian"},
        )
        try:
            return await read_needed(connection)
        finally:
            with suppress(TimeoutError, *db.AWAY):
                await connection.close(timeout=1.0)


def _sentence(error: BaseException) -> str:
    # the address may hold a password, and ValueErrors quote it
    return type(error).__name__ if isinstance(error, ValueError) else str(error) or type(error).__name__
